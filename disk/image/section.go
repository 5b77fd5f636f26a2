package image

import (
	"context"
	"errors"
	"io"
)

// Section is a part of a disk as a disk of its own, such as a partition. An extent that reaches beyond the disk is cut off.
func Section(src Source, e Extent) Source {
	e.Start = min(max(e.Start, 0), src.Size())
	e.Size = min(max(e.Size, 0), src.Size()-e.Start)
	return section{io.NewSectionReader(src, e.Start, e.Size), src, e}
}

type section struct {
	*io.SectionReader
	src Source
	at  Extent
}

var errBehind = errors.New("behind the section")

func (s section) Extents(ctx context.Context, f func(Extent) error) error {
	err := s.src.Extents(ctx, func(e Extent) error {
		if e.Start >= s.at.End() {
			return errBehind
		}
		start, end := max(e.Start, s.at.Start), min(e.End(), s.at.End())
		if start >= end {
			return nil
		}
		return f(Extent{start - s.at.Start, end - start})
	})
	if errors.Is(err, errBehind) {
		return nil
	}
	return err
}

// Unchanged asks the disk that the section is of.
func (s section) Unchanged() error {
	if u, ok := s.src.(Unchanged); ok {
		return u.Unchanged()
	}
	return nil
}
