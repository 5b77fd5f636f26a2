package base

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// resolve fixes what a source means now.
func (s *Store) resolve(ctx context.Context, src Source) (*recipe, error) {
	if s.Dir == "" {
		return nil, errors.New("base store: no folder given")
	}
	given := 0
	for _, v := range []string{src.Debian, src.File, src.URL} {
		if v != "" {
			given++
		}
	}
	if given != 1 {
		return nil, errors.New("base: give exactly one of a Debian suite, a file and a URL")
	}
	src.SHA256 = strings.TrimPrefix(strings.ToLower(src.SHA256), "sha256:")
	if src.SHA256 != "" && !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(src.SHA256) {
		return nil, fmt.Errorf("base: %q is no SHA-256: it has 64 hexadecimal digits", src.SHA256)
	}
	switch {
	case src.File != "":
		return s.fileRecipe(ctx, src)
	case src.URL != "":
		return s.urlRecipe(src)
	}
	suite, ok, err := ParseSuite(src.Debian)
	if err != nil {
		return nil, fmt.Errorf("base: %w", err)
	}
	if !ok {
		return nil, fmt.Errorf("base: %q names no Debian suite: write debian-12 or debian-bookworm", src.Debian)
	}
	b, err := s.newBootstrap(suite)
	if err != nil {
		return nil, err
	}
	r := &recipe{name: suite.Name(), digest: b.digestHex, inputs: b.inputs(), make: b.make}
	if src.Name != "" {
		r.name = src.Name
	}
	return r, nil
}

// sha256Hex digests a list of strings, each with its length, so that no two lists give the same bytes.
func sha256Hex(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s,", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil))
}
