package disk

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"syscall"

	"golang.org/x/sys/unix"
)

// Digest computes the SHA-256 of a file's bytes, as 64 lower-case hexadecimal digits, and its length. Holes are hashed as the
// zeros they are without being read. It stops when ctx ends.
func Digest(ctx context.Context, path string) (sha256hex string, size int64, err error) {
	f, size, err := openRegular(path)
	if err != nil {
		return "", 0, fmt.Errorf("digest: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	buf, zeros := make([]byte, 1<<20), make([]byte, 1<<20)
	for off := int64(0); off < size; {
		if err := context.Cause(ctx); err != nil {
			return "", 0, fmt.Errorf("digest %s: %w", path, err)
		}
		start, end := dataExtent(f, off, size)
		for ; off < start; off += min(int64(len(zeros)), start-off) {
			if err := context.Cause(ctx); err != nil {
				return "", 0, fmt.Errorf("digest %s: %w", path, err)
			}
			h.Write(zeros[:min(int64(len(zeros)), start-off)])
		}
		for off < end {
			if err := context.Cause(ctx); err != nil {
				return "", 0, fmt.Errorf("digest %s: %w", path, err)
			}
			n, err := f.ReadAt(buf[:min(int64(len(buf)), end-off)], off)
			h.Write(buf[:n])
			off += int64(n)
			if err != nil && !(errors.Is(err, io.EOF) && off == end) {
				return "", 0, fmt.Errorf("digest %s: %w", path, err)
			}
		}
	}
	return hex.EncodeToString(h.Sum(nil)), size, nil
}

// dataExtent finds the next range with data at or after off. Where the file system cannot tell, all is data.
func dataExtent(f *os.File, off, size int64) (start, end int64) {
	start, err := unix.Seek(int(f.Fd()), off, unix.SEEK_DATA)
	if errors.Is(err, syscall.ENXIO) {
		return size, size
	}
	if err != nil || start < off {
		return off, size
	}
	end, err = unix.Seek(int(f.Fd()), start, unix.SEEK_HOLE)
	if err != nil || end <= start || end > size {
		end = size
	}
	return min(start, size), end
}

// EachExtent calls f for every range of a file that holds data, in order; what lies between reads as zeros. Where the file
// system cannot tell, the whole file is one extent. size is the file's length in bytes.
func EachExtent(file *os.File, size int64, f func(Extent) error) error {
	for off := int64(0); off < size; {
		start, end := dataExtent(file, off, size)
		if start >= size {
			return nil
		}
		if err := f(Extent{Start: start, Size: end - start}); err != nil {
			return err
		}
		off = end
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
