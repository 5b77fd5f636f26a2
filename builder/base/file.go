package base

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"sort"
	"strings"

	"github.com/ingot-image/ingot/disk"
	"github.com/ingot-image/ingot/disk/image"
)

// DigestError says that a file is not the one that was asked for.
type DigestError struct{ Name, Want, Got string }

func (e *DigestError) Error() string {
	return fmt.Sprintf("%s has the SHA-256 %s, expected %s: the file changed or was tampered with", e.Name, e.Got, e.Want)
}

// fileRecipe plans a base from a disk image on this machine.
func (s *Store) fileRecipe(ctx context.Context, src Source) (*recipe, error) {
	file, err := filepath.Abs(src.File)
	if err != nil {
		return nil, err
	}
	format, err := s.check(file, src.Format)
	if err != nil {
		return nil, fmt.Errorf("parent image: %w", err)
	}
	digest, _, err := disk.Digest(ctx, file)
	if err != nil {
		return nil, fmt.Errorf("parent image: %w", err)
	}
	if src.SHA256 != "" && digest != src.SHA256 {
		return nil, fmt.Errorf("parent image: %w", &DigestError{file, src.SHA256, digest})
	}
	r := &recipe{name: src.Name, digest: fileDigest(digest, format), inputs: map[string]string{"sha256": digest, "format": string(format)}}
	if r.name == "" {
		r.name = filepath.Base(file)
	}
	r.make = func(ctx context.Context, dir string, progress Progress) (*Base, error) {
		return s.fromFile(ctx, disk.Image{Path: file, Format: format}, digest, dir, progress)
	}
	return r, nil
}

// fileDigest is the key of a file's base. The same bytes read as another format are another disk.
func fileDigest(sha256hex string, f disk.Format) string {
	return sha256Hex("file", fileLayoutVersion, string(f), sha256hex)
}

// fileLayoutVersion is part of every file base's digest: raise it when what is taken from files changes.
const fileLayoutVersion = "1"

// check refuses unsafe images and settles the format.
func (s *Store) check(file string, format disk.Format) (disk.Format, error) {
	info, err := disk.CheckSafe(file, format, s.Limits)
	return info.Format, err
}

// fromFile makes a base from an image file. The file may be changed by others meanwhile: what is kept is a private copy that is
// verified, checked and only then converted.
func (s *Store) fromFile(ctx context.Context, src disk.Image, sha256hex, dir string, progress Progress) (*Base, error) {
	private := disk.Image{Path: filepath.Join(dir, "source"), Format: src.Format}
	if src.Format == disk.Raw {
		private.Path = filepath.Join(dir, "disk.raw")
	}
	if src.Path != private.Path {
		report := func(done, total int64) { progress("copy", done, total) }
		if err := copySparse(ctx, private.Path, src.Path, report); err != nil {
			return nil, fmt.Errorf("copy parent image: %w", disk.ExplainSpace(err, dir, 0))
		}
	}
	got, _, err := disk.Digest(ctx, private.Path)
	if err != nil {
		return nil, err
	}
	if got != sha256hex {
		return nil, &DigestError{src.Path, sha256hex, got}
	}
	if _, err := disk.CheckSafe(private.Path, private.Format, s.Limits); err != nil {
		return nil, err
	}
	return convertAndInspect(ctx, private, dir, progress)
}

// convertAndInspect makes disk.raw from a private, checked copy, and takes out what a direct boot needs.
func convertAndInspect(ctx context.Context, src disk.Image, dir string, progress Progress) (*Base, error) {
	raw := filepath.Join(dir, "disk.raw")
	if src.Format != disk.Raw {
		// Corrupt tables show here, with a better message than a read error in the guest.
		if err := disk.Check(ctx, src); err != nil {
			var ce *disk.CheckError
			if !errors.As(err, &ce) || ce.Corruptions+ce.CheckErrors > 0 {
				return nil, err
			}
		}
		report := func(f float64) { progress("convert", int64(f*1000), 1000) }
		if err := disk.Convert(ctx, src, disk.Image{Path: raw, Format: disk.Raw}, report); err != nil {
			return nil, err
		}
		if err := os.Remove(src.Path); err != nil {
			return nil, err
		}
	}
	info, err := disk.Probe(raw)
	if err != nil {
		return nil, err
	}
	// The converted disk is opened as raw from here on; its content must not be another format's header.
	if info.Format != disk.Raw {
		return nil, &disk.UnsafeError{Path: src.Path, Reason: fmt.Sprintf("the disk in it starts with the signature of a %s file", info.Format), Hint: "check where the file comes from"}
	}
	b := &Base{Size: info.VirtualSize, Inputs: map[string]string{"format": string(src.Format)}}
	progress("inspect", 0, 0)
	if err := inspect(ctx, raw, dir, b); err != nil {
		return nil, fmt.Errorf("inspect parent image: %w", err)
	}
	return b, nil
}

// Inspect takes out of the raw image of a disk what boots its kernel directly, into the folder dir: Kernel, Initrd and Append of the base
// that a file parent of this content would be, and its OS. Kernel is empty when the disk must be booted by firmware.
func Inspect(ctx context.Context, raw, dir string) (*Base, error) {
	info, err := disk.Probe(raw)
	if err != nil {
		return nil, err
	}
	b := &Base{Name: filepath.Base(raw), Disk: raw, Size: info.VirtualSize}
	if err := inspect(ctx, raw, dir, b); err != nil {
		return nil, fmt.Errorf("inspect %s: %w", raw, err)
	}
	if b.Append != "" {
		b.Kernel, b.Initrd = filepath.Join(dir, "vmlinuz"), filepath.Join(dir, "initrd.img")
	}
	return b, nil
}

// inspect looks for an ext root file system with an initramfs-tools initrd, and copies kernel and initrd beside the disk. A disk
// without one is no error: it is booted by its firmware.
func inspect(ctx context.Context, raw, dir string, b *Base) error {
	table, err := disk.Partitions(raw)
	if errors.Is(err, disk.ErrNoPartitionTable) {
		return errors.New("no partition table and no file system found: this is no bootable disk")
	}
	if err != nil {
		return err
	}
	root, ok := disk.FindRoot(raw, table)
	if !ok {
		return nil
	}
	e, err := disk.OpenExt(raw, disk.Extent{Start: root.Start, Size: root.Size})
	if err != nil {
		return nil
	}
	defer e.Close()
	if b.OS = readOSRelease(e, "etc/os-release"); b.OS == (OS{}) {
		b.OS = readOSRelease(e, "usr/lib/os-release")
	}
	if st, err := e.Stat("usr/share/initramfs-tools"); err != nil || !st.IsDir() || root.FileSystem.UUID == "" {
		return nil
	}
	version, ok := newestKernel(e)
	if !ok {
		return nil
	}
	for from, to := range map[string]string{"boot/vmlinuz-" + version: "vmlinuz", "boot/initrd.img-" + version: "initrd.img"} {
		if err := e.Dump(ctx, from, filepath.Join(dir, to), maxBootFile); err != nil {
			os.Remove(filepath.Join(dir, "vmlinuz"))
			os.Remove(filepath.Join(dir, "initrd.img"))
			if cause := context.Cause(ctx); cause != nil {
				return cause
			}
			return nil
		}
	}
	b.Append = "root=UUID=" + root.FileSystem.UUID + " ro " + kernelAppend
	return nil
}

// maxBootFile bounds a kernel or an initramfs taken out of a parent image.
const maxBootFile = 512 << 20

// newestKernel finds the highest version in /boot that has both a kernel and an initrd.
func newestKernel(fsys fs.ReadDirFS) (version string, ok bool) {
	entries, err := fsys.ReadDir("boot")
	if err != nil {
		return "", false
	}
	have := map[string]bool{}
	for _, e := range entries {
		have[e.Name()] = true
	}
	var versions []string
	for name := range have {
		if v, isKernel := strings.CutPrefix(name, "vmlinuz-"); isKernel && have["initrd.img-"+v] {
			versions = append(versions, v)
		}
	}
	if len(versions) == 0 {
		return "", false
	}
	sort.Slice(versions, func(i, j int) bool { return versionLess(versions[i], versions[j]) })
	return versions[len(versions)-1], true
}

// versionLess compares kernel versions: runs of digits by value, all else by character.
func versionLess(a, b string) bool {
	split := regexp.MustCompile(`[0-9]+|[^0-9]+`).FindAllString
	x, y := split(a, -1), split(b, -1)
	for i := 0; i < len(x) && i < len(y); i++ {
		if x[i] == y[i] {
			continue
		}
		p, q := strings.TrimLeft(x[i], "0"), strings.TrimLeft(y[i], "0")
		if isDigit(x[i][0]) && isDigit(y[i][0]) && len(p) != len(q) {
			return len(p) < len(q)
		}
		return p < q
	}
	return len(x) < len(y)
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// copySparse copies the data of a regular file and leaves its holes.
func copySparse(ctx context.Context, dst, src string, report func(done, total int64)) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	st, err := in.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", src)
	}
	out, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	if err := out.Truncate(st.Size()); err != nil {
		return err
	}
	raw, err := image.NewFile(in)
	if err != nil {
		return err
	}
	err = raw.Extents(ctx, func(e disk.Extent) error {
		for off, end := e.Start, e.Start+e.Size; off < end; {
			if err := context.Cause(ctx); err != nil {
				return err
			}
			n := min(int64(16<<20), end-off)
			if _, err := in.Seek(off, io.SeekStart); err != nil {
				return err
			}
			if _, err := out.Seek(off, io.SeekStart); err != nil {
				return err
			}
			if _, err := io.CopyN(out, in, n); err != nil { // copy_file_range
				return err
			}
			off += n
			report(off, st.Size())
		}
		return nil
	})
	if err != nil {
		return err
	}
	return out.Close()
}

// urlName is the last element of a URL's path.
func urlName(u *url.URL) string {
	if name := path.Base(u.Path); name != "." && name != "/" {
		return name
	}
	return u.Host
}
