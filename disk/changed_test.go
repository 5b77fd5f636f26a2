package disk

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ingot-image/ingot/disk/image"
)

// readable is a file of every format that is read, in each way that it can be compressed, of the same disk.
func readable(t *testing.T) []string {
	t.Helper()
	need(t, qemuImg)
	dir := t.TempDir()
	var outputs []Output
	for _, f := range Formats() {
		outputs = append(outputs, Output{Path: filepath.Join(dir, "disk"+f.Extension()), Format: f})
	}
	if err := Write(t.Context(), openRaw(t, sampleDisk(t, 9<<20)), WriteOptions{}, outputs...); err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, o := range outputs {
		files = append(files, o.Path)
	}
	sparse := filepath.Join(dir, "sparse.vmdk")
	output(t, qemuImg, "convert", "-f", "raw", "-O", "vmdk", filepath.Join(dir, "disk.raw"), sparse)
	files = append(files, sparse)
	for program, extension := range map[string]string{"xz": ".xz", "bzip2": ".bz2", "zstd": ".zst"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Logf("without %s: it is not here", program)
			continue
		}
		for _, name := range []string{"disk.raw", "disk.qcow2"} {
			packed, err := exec.Command(program, "-c", filepath.Join(dir, name)).Output()
			if err != nil {
				t.Fatalf("%s: %v", program, err)
			}
			path := filepath.Join(dir, program+"-"+name+extension)
			if err := os.WriteFile(path, packed, 0o644); err != nil {
				t.Fatal(err)
			}
			files = append(files, path)
		}
	}
	return files
}

// sourceChanges are what others do to a file while it is read.
var sourceChanges = map[string]func(path string) error{
	"cut off": func(path string) error {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		return os.Truncate(path, info.Size()/2)
	},
	"overwritten in place": func(path string) error {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return err
		}
		b := make([]byte, 1)
		if _, err := f.ReadAt(b, info.Size()/2); err != nil {
			return err
		}
		_, err = f.WriteAt([]byte{b[0] ^ 1}, info.Size()/2)
		return err
	},
}

// tick is longer than the grain of files' times.
const tick = 20 * time.Millisecond

// TestSourceChanges changes files of every format between their opening and the last byte that is written of them: there is an error, and no file.
func TestSourceChanges(t *testing.T) {
	files := readable(t)
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for what, change := range sourceChanges {
			for _, when := range []string{"unused found", "writing"} {
				t.Run(filepath.Base(file)+" "+what+" "+when, func(t *testing.T) {
					path := filepath.Join(t.TempDir(), filepath.Base(file))
					if err := os.WriteFile(path, content, 0o644); err != nil {
						t.Fatal(err)
					}
					d, err := Open(t.Context(), path, OpenOptions{TempDir: t.TempDir()})
					if err != nil {
						t.Fatal(err)
					}
					defer d.Close()
					if err := d.Unchanged(); err != nil {
						t.Errorf("before anything: %v", err)
					}
					time.Sleep(tick)
					src := image.Source(d)
					if when == "unused found" {
						if src, _, err = Unused(t.Context(), d); err == nil {
							err = change(path)
						}
					}
					if err != nil {
						t.Fatal(err)
					}
					changed := when != "writing"
					o := WriteOptions{Progress: func(done, total int64) {
						if !changed {
							changed = true
							if err := change(path); err != nil {
								t.Error(err)
							}
						}
					}}
					dir := t.TempDir()
					err = Write(t.Context(), src, o, Output{Path: filepath.Join(dir, "a.raw"), Format: Raw}, Output{Path: filepath.Join(dir, "b.vmdk"), Format: VMDK})
					if err == nil || !changed {
						t.Errorf("%v, changed: %t", err, changed)
					}
					if left, _ := os.ReadDir(dir); len(left) > 0 {
						t.Errorf("left behind: %v", left)
					}
				})
			}
		}
	}
}

// TestSourceChangesWhileExpanded changes compressed files while they are expanded to be opened.
func TestSourceChangesWhileExpanded(t *testing.T) {
	expanded := 0
	for _, file := range readable(t) {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for what, change := range sourceChanges {
			path := filepath.Join(t.TempDir(), filepath.Base(file))
			if err := os.WriteFile(path, content, 0o644); err != nil {
				t.Fatal(err)
			}
			changed := false
			d, err := Open(t.Context(), path, OpenOptions{TempDir: t.TempDir(), Progress: func(int64) {
				if !changed {
					changed = true
					time.Sleep(tick)
					if err := change(path); err != nil {
						t.Error(err)
					}
				}
			}})
			if err == nil {
				d.Close()
			}
			if !changed {
				continue
			}
			expanded++
			if err == nil || !strings.Contains(err.Error(), "was changed while it was read") {
				t.Errorf("%s %s: %v", filepath.Base(file), what, err)
			}
		}
	}
	if expanded == 0 {
		t.Error("nothing was expanded")
	}
}

// cloneable gives its blocks to a raw file at once, and tells that it has changed since.
type cloneable struct {
	image.Source
	cloned bool
}

func (c *cloneable) CloneTo(out *os.File) error {
	c.cloned = true
	return out.Truncate(c.Size())
}

func (c *cloneable) Unchanged() error {
	if c.cloned {
		return os.ErrDeadlineExceeded
	}
	return nil
}

// TestClonedSourceChanges wants the source to be asked where nothing is copied, too.
func TestClonedSourceChanges(t *testing.T) {
	dir := t.TempDir()
	src := &cloneable{Source: openRaw(t, sampleDisk(t, 1<<20))}
	err := Write(t.Context(), src, WriteOptions{}, Output{Path: filepath.Join(dir, "a.raw"), Format: Raw})
	if err == nil || !strings.Contains(err.Error(), os.ErrDeadlineExceeded.Error()) {
		t.Error(err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// lastRead changes a file when the start of the disk is read for the last time.
type lastRead struct {
	*image.File
	t    *testing.T
	path string
	from int
}

func (l *lastRead) Extents(ctx context.Context, f func(image.Extent) error) error {
	if l.from--; l.from == 0 {
		if err := sourceChanges["overwritten in place"](l.path); err != nil {
			l.t.Error(err)
		}
	}
	return l.File.Extents(ctx, f)
}

// TestShrunkSourceChanges changes a disk when all but its start has been read.
func TestShrunkSourceChanges(t *testing.T) {
	need(t, mke2fs, e2fsck, resize2fs)
	path := shrinkable(t, dosScript, 4*mib, 300*mib, sampleTree(t), "-t", "ext4")
	counting := &lastRead{File: openRaw(t, path), t: t, path: path}
	folder := t.TempDir()
	smaller, _, err := Shrunk(t.Context(), counting, "counting", folder, ShrinkOptions{})
	if err != nil || smaller == nil {
		t.Fatal(smaller, err)
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	smaller.Close()
	time.Sleep(tick)
	changing := &lastRead{File: openRaw(t, path), t: t, path: path, from: -counting.from}
	if smaller, _, err = Shrunk(t.Context(), changing, "changing", folder, ShrinkOptions{}); err == nil {
		smaller.Close()
		t.Error("the change was not seen")
	}
	if now, err := os.ReadFile(path); err != nil || bytes.Equal(now, want) {
		t.Errorf("the disk was not changed: %v", err)
	}
}
