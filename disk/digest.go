package disk

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"sort"

	"github.com/ingot-image/ingot/disk/image"
)

// Digest computes the SHA-256 of a file's bytes, as 64 lower-case hexadecimal digits, and its length. Holes are hashed as the
// zeros they are without being read. It stops when ctx ends.
func Digest(ctx context.Context, path string) (sha256hex string, size int64, err error) {
	return DigestProgress(ctx, path, func(_, _ int64) {})
}

// DigestProgress is Digest that tells how many of how many bytes were hashed. Progress must not block.
func DigestProgress(ctx context.Context, path string, progress func(done, total int64)) (sha256hex string, size int64, err error) {
	fail := func(err error) (string, int64, error) { return "", 0, fmt.Errorf("digest %s: %w", path, err) }
	f, _, err := openRegular(path)
	if err != nil {
		return "", 0, fmt.Errorf("digest: %w", err)
	}
	defer f.Close()
	raw, err := image.NewFile(f)
	if err != nil {
		return fail(err)
	}
	h, at := told{sha256.New(), raw.Size(), progress, new(int64)}, int64(0)
	buf, zeros := make([]byte, mib), make([]byte, mib)
	err = raw.Extents(ctx, func(e Extent) error {
		if err := hashRange(ctx, h, nil, zeros, at, e.Start); err != nil {
			return err
		}
		at = e.End()
		return hashRange(ctx, h, raw, buf, e.Start, e.End())
	})
	if err == nil {
		err = hashRange(ctx, h, nil, zeros, at, raw.Size())
	}
	if err != nil {
		return fail(err)
	}
	return hex.EncodeToString(h.Sum(nil)), raw.Size(), nil
}

// told is a hash that tells how far it is.
type told struct {
	hash.Hash
	total    int64
	progress func(done, total int64)
	done     *int64
}

func (t told) Write(p []byte) (int, error) {
	const often = 16 << 20
	before := *t.done
	if *t.done += int64(len(p)); before/often != *t.done/often || *t.done == t.total {
		t.progress(*t.done, t.total)
	}
	return t.Hash.Write(p)
}

// hashRange hashes what r has from one place to another, or, of no r, what is in the buffer over and over.
func hashRange(ctx context.Context, h hash.Hash, r io.ReaderAt, buf []byte, from, to int64) error {
	for from < to {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		b := buf[:min(int64(len(buf)), to-from)]
		if r != nil {
			if n, err := r.ReadAt(b, from); n < len(b) {
				return errors.Join(errors.New("the file has become shorter"), err)
			}
		}
		h.Write(b)
		from += int64(len(b))
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
