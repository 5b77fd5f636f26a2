package base

import (
	"context"
	"errors"
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
	if src.Debian != "" {
		suite, ok, err := ParseSuite(src.Debian)
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, errors.New("base: " + src.Debian + " is no Debian suite: write debian-12 or debian-bookworm")
		}
		b, err := s.newBootstrap(suite)
		if err != nil {
			return nil, err
		}
		return &recipe{name: suite.Name(), digest: b.digestHex, inputs: b.inputs(), make: b.make}, nil
	}
	return nil, errors.New("files are not written yet")
}
