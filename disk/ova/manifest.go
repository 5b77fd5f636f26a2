package ova

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"path"
	"regexp"
	"strings"

	"github.com/ingot-image/ingot/disk/image"
)

// ErrNoManifest is of an archive that has no digests to compare with.
var ErrNoManifest = errors.New("the OVA has no manifest (.mf)")

// entry is a line of a manifest: "SHA256(disk.ovf)= 0123…". DSP0243 1.1, section 5.1.
var entry = regexp.MustCompile(`^(SHA(?:1|256|512))\s*\((.+)\)\s*=\s*([0-9A-Fa-f]+)$`)

// maxFaults bounds what is reported of a manifest.
const maxFaults = 10

// Verify reads the whole archive and compares each file with its digest in the manifest: SHA-1, SHA-256 or SHA-512. An [image.FormatError] names those
// that differ, the first ten of them; digests of files that are not there; and a descriptor or disk without one. [ErrNoManifest]: there is nothing to compare with. It says nothing of who wrote them: signatures (.cert) are not looked at.
func (a *Archive) Verify(ctx context.Context) error {
	var manifest *Member
	members := map[string]Member{}
	for _, m := range a.Members {
		members[m.Name] = m
		if strings.EqualFold(path.Ext(m.Name), ".mf") && manifest == nil {
			manifest = &m
		}
	}
	if manifest == nil {
		return ErrNoManifest
	}
	text, err := a.read(*manifest, maxManifest)
	if err != nil {
		return err
	}
	var wrong []string
	fault := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	seen := map[string]bool{}
	for i, line := range strings.Split(string(text), "\n") {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		f := entry.FindStringSubmatch(line)
		if f == nil {
			fault("line %d is not a digest: want SHA256(FILE)= HEX", i+1)
			break // an archive of lines that are none would give as many errors
		}
		name := path.Clean(f[2])
		m, ok := members[name]
		switch {
		case !ok:
			fault("line %d: %q is not in the archive", i+1, f[2])
			continue
		case seen[name]:
			fault("line %d: %q is listed twice", i+1, f[2])
			continue
		}
		seen[name] = true
		sum, err := a.digest(ctx, f[1], m)
		if err != nil {
			return err
		}
		if !strings.EqualFold(sum, f[3]) {
			fault("%q has the %s digest %s, not %s", f[2], f[1], sum, f[3])
		}
		if len(wrong) >= maxFaults {
			break
		}
	}
	for _, m := range a.Members {
		if (isDescriptor(m.Name) || m == a.disk) && !seen[m.Name] {
			fault("there is no digest of %q", m.Name)
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	return image.Damaged(image.OVA, "%s: %s", manifest.Name, strings.Join(wrong[:min(len(wrong), maxFaults)], "; "))
}

func (a *Archive) digest(ctx context.Context, algorithm string, m Member) (string, error) {
	var h hash.Hash
	switch algorithm {
	case "SHA1":
		h = sha1.New()
	case "SHA256":
		h = sha256.New()
	case "SHA512":
		h = sha512.New()
	}
	buffer := make([]byte, 1<<20)
	for at := int64(0); at < m.Size; {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		n, err := a.r.ReadAt(buffer[:min(int64(len(buffer)), m.Size-at)], m.Start+at)
		if n == 0 && err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return "", fmt.Errorf("read %q: %w", m.Name, err)
		}
		h.Write(buffer[:n])
		at += int64(n)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
