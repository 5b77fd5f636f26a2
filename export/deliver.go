package export

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/ingot-image/ingot/disk"
)

// Deliver copies an image into the folder, which is made if it is missing. A file appears under its name when it is complete and on the disk; nothing of
// it is left if the process is killed before. A file of that name with the same content is left, one with another is never replaced: the error is
// fs.ErrExist. Copies share no blocks with the originals that writing to either could change; zeros become holes.
func (f Folder) Deliver(ctx context.Context, d Delivery, progress func(done, total int64)) (*Delivered, error) {
	items, err := d.items()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(f.Path, 0o755); err != nil {
		return nil, fmt.Errorf("deliver to %s: %w", f.Path, err)
	}
	return deliver(ctx, items, progress, func(ctx context.Context, i item, progress func(int64)) (at string, sent bool, err error) {
		at = filepath.Join(f.Path, i.Name)
		switch sent, err = f.there(ctx, at, i, progress); {
		case err != nil, !sent:
			return at, false, err
		case i.Name == d.checksumName():
			return at, true, f.bringChecksums(ctx, at, i)
		}
		return at, true, bringFile(ctx, at, i, progress)
	})
}

// there looks at what has an item's name, and tells whether the item is missing.
func (f Folder) there(ctx context.Context, at string, i item, progress func(int64)) (missing bool, err error) {
	info, err := os.Lstat(at)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	taken := &fs.PathError{Op: "deliver to", Path: at, Err: fmt.Errorf("it is another file: %w", fs.ErrExist)}
	if !info.Mode().IsRegular() {
		return false, taken
	}
	if i.Path == "" {
		return f.ownThere(at, i, taken)
	}
	if info.Size() != i.Size {
		return false, taken
	}
	c, err := openFile(at, i.Size)
	if err != nil {
		return false, err
	}
	defer c.Close()
	digest, err := copyTo(ctx, io.Discard, c, progress)
	if err == nil && digest != i.SHA256 {
		err = taken
	}
	return false, err
}

// ownThere is there for a checksum file, which may have to grow, and a manifest.
func (f Folder) ownThere(at string, i item, taken error) (missing bool, err error) {
	file, err := os.Open(at)
	if err != nil {
		return false, err
	}
	defer file.Close()
	there, err := io.ReadAll(io.LimitReader(file, max(i.Size, maxChecksums)+1))
	if err != nil || bytes.Equal(there, i.data) {
		return false, err
	}
	both, ok := i.added(there)
	if !ok {
		return false, taken
	}
	return !bytes.Equal(there, both.data), nil
}

// bringChecksums writes the checksum file, with the lines of one that is there.
func (f Folder) bringChecksums(ctx context.Context, at string, i item) error {
	there, err := os.ReadFile(at)
	if errors.Is(err, fs.ErrNotExist) {
		return bringFile(ctx, at, i, func(int64) {})
	}
	if err != nil {
		return err
	}
	both, _ := i.added(there)
	out, err := disk.Create(at)
	if err != nil {
		return err
	}
	defer out.Close()
	if _, err := out.Write(both.data); err != nil {
		return err
	}
	return out.Commit()
}

// bringFile copies an item, verifies it and gives it its name, unless that is taken by now.
func bringFile(ctx context.Context, at string, i item, progress func(int64)) error {
	in, err := i.open()
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := disk.Create(at)
	if err != nil {
		return err
	}
	defer out.Close()
	digest, err := copyTo(ctx, &sparse{file: out.File}, in, progress)
	if err == nil {
		err = out.Truncate(i.Size)
	}
	if err != nil {
		return err
	}
	if digest != i.SHA256 {
		return i.changed(digest)
	}
	return out.CommitNew()
}

func (i item) changed(digest string) error {
	return fmt.Errorf("%s is not what it was: its SHA-256 is %s, not %s", i.Path, digest, i.SHA256)
}

const copyBuffer = 256 << 10

// copyTo copies and gives the SHA-256 of what it copied.
func copyTo(ctx context.Context, w io.Writer, r io.Reader, progress func(int64)) (digest string, err error) {
	h := sha256.New()
	buf := make([]byte, copyBuffer)
	for done := int64(0); ; {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		n, err := r.Read(buf)
		h.Write(buf[:n])
		if _, err := w.Write(buf[:n]); err != nil {
			return "", err
		}
		done += int64(n)
		progress(done)
		if err == io.EOF {
			return hex.EncodeToString(h.Sum(nil)), nil
		}
		if err != nil {
			return "", err
		}
	}
}

// sparse writes a file and leaves holes for zeros. The file's length is the caller's to set.
type sparse struct {
	file *os.File
	at   int64
}

var zeros [64 << 10]byte

func (s *sparse) Write(p []byte) (int, error) {
	for block := range slices.Chunk(p, len(zeros)) {
		if !bytes.Equal(block, zeros[:len(block)]) {
			if _, err := s.file.WriteAt(block, s.at); err != nil {
				return 0, err
			}
		}
		s.at += int64(len(block))
	}
	return len(p), nil
}

// openFile opens a file that must have a size.
func openFile(path string, size int64) (source, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && info.Size() != size {
		err = fmt.Errorf("%s is not what it was: it has %d bytes, not %d", path, info.Size(), size)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
