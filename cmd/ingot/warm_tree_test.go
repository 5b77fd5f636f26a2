package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ingot-image/ingot/disk"
)

// mayDiffer are the files in which two images of the same inputs may differ, as they would if both had been built cold: patterns. There is
// nothing to list: logs, seeds and ids go when an image is finished, and times are not compared.
var mayDiffer = []string{}

// compare wants two disks to have the same files, apart from mayDiffer, and the same of all else that decides how they boot.
func (w *warm) compare(how, warm, cold string) {
	w.t.Helper()
	a, b := imageTree(w.t, warm), imageTree(w.t, cold)
	if len(a) < 10000 {
		w.t.Errorf("the image has only %d files", len(a))
	}
	differ := regexp.MustCompile("^(" + strings.Join(mayDiffer, "|") + ")$")
	names := maps.Clone(a)
	maps.Copy(names, b)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if a[name] != b[name] && !differ.MatchString(name) {
			w.t.Errorf("%s: %s is %q, in a cold build %q", how, name, a[name], b[name])
		}
	}
	for name, want := range map[string]string{
		"/opt/warm/text": "final", "/opt/warm/object": "second object\n", "/opt/warm/parameter": "second-stored-parameter",
		"/opt/warm/mended": "mended\n", "/opt/warm/secret": fmt.Sprintf("%x  -\n", sha256.Sum256([]byte(w.secret))),
	} {
		if got := a[name]; got != fileText(0o644, 0, 0, []byte(want)) {
			w.t.Errorf("%s: %s is %q", how, name, got)
		}
	}
}

func fileText(mode fs.FileMode, uid, gid uint32, content []byte) string {
	return fmt.Sprintf("%v %d:%d %d %x", mode, uid, gid, len(content), sha256.Sum256(content))
}

// imageTree describes a raw disk: each file of the root file system by its type, mode, owner, size, and content or target, and each other
// partition by its place and content. Times and numbers of inodes and blocks are left out.
func imageTree(t *testing.T, image string) map[string]string {
	t.Helper()
	table, err := disk.Partitions(image)
	if err != nil {
		t.Fatal(err)
	}
	root, ok := disk.FindRoot(image, table)
	if !ok {
		t.Fatalf("%s has no root file system", image)
	}
	tree := map[string]string{}
	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range table.Partitions {
		text := fmt.Sprintf("%s at %d, %d bytes, %s", p.Type, p.Start, p.Size, p.Name)
		if p.Index != root.Index {
			h := sha256.New()
			if _, err := io.Copy(h, io.NewSectionReader(f, p.Start, p.Size)); err != nil {
				t.Fatal(err)
			}
			text += fmt.Sprintf(" %x", h.Sum(nil))
		}
		tree[fmt.Sprintf("partition %d", p.Index)] = text
	}
	e, err := disk.OpenExt(image, disk.Extent{Start: root.Start, Size: root.Size})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	inodes := map[uint32]string{} // of files with several links: the first name
	err = fs.WalkDir(e, ".", func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		full := path.Join("/", filepath.ToSlash(name))
		info, err := e.Lstat(name)
		if err != nil {
			return err
		}
		stat := info.Sys().(disk.ExtStat)
		text := fmt.Sprintf("%v %d:%d", info.Mode(), stat.UID, stat.GID)
		switch mode := info.Mode(); {
		case mode.IsRegular():
			if first, ok := inodes[stat.Inode]; ok && stat.Links > 1 {
				tree[full] = "link to " + first
				return nil
			}
			inodes[stat.Inode] = full
			file, err := e.Open(name)
			if err != nil {
				return err
			}
			defer file.Close()
			h := sha256.New()
			n, err := io.Copy(h, file)
			if err != nil {
				return err
			}
			text += fmt.Sprintf(" %d %x", n, h.Sum(nil))
		case mode&fs.ModeSymlink != 0:
			target, err := e.ReadLink(name)
			if err != nil {
				return err
			}
			text += " -> " + target
		}
		tree[full] = text
		return nil
	})
	if err != nil {
		t.Fatalf("read %s: %v", image, err)
	}
	return tree
}
