package ova

import (
	"context"
	"io"
	"strconv"

	"github.com/ingot-image/ingot/disk/image"
)

// Survey is what an OVA consists of, whether [Open] takes it or not: for those who ask what a stricter reader would say of it.
type Survey struct {
	Members []Member    // regular files, in their order
	Files   []Reference // that the descriptor refers to
	Disks   []Disk      // of the descriptor that have content
	archive *Archive
}

// Reference is what a descriptor says of a file: untrusted text. DSP0243 1.1, section 7.1.
type Reference struct {
	Name        string
	Compression string // "gzip", "identity"; empty for none
	Chunked     bool   // it is in parts: NAME.000000000, NAME.000000001 …
}

// Look reads the index and the descriptor of an OVA of size bytes. An [image.FormatError] says how it is damaged: what can be read no further is in the
// survey all the same.
func Look(r io.ReaderAt, size int64) (*Survey, error) {
	a := &Archive{r: r}
	s := &Survey{archive: a}
	var err error
	if a.Members, err = Members(r, size); err != nil {
		return s, err
	}
	s.Members = a.Members
	text, err := a.descriptor()
	if err != nil {
		return s, err
	}
	e, err := parse(text)
	if err != nil {
		return s, err
	}
	names := map[string]string{}
	for _, f := range e.Files {
		n, err := strconv.ParseInt(f.ChunkSize, 10, 64)
		s.Files = append(s.Files, Reference{Name: f.Href, Compression: f.Compression, Chunked: f.ChunkSize != "" && (err != nil || n != 0)})
		names[f.ID] = f.Href
	}
	for _, d := range e.filled() {
		s.Disks = append(s.Disks, Disk{Name: names[d.File], Format: d.Format, Capacity: bytesOf(d.Capacity, d.Units), Populated: bytesOf(d.Populated, "")})
		if d.Parent != "" {
			return s, image.Damaged(image.OVA, "its disk %q is what changed of another one", d.ID)
		}
	}
	return s, nil
}

// DescriptorFirst tells whether the descriptor is the first file, as DSP0243 1.1, section 5.3 demands.
func (s *Survey) DescriptorFirst() bool { return len(s.Members) > 0 && isDescriptor(s.Members[0].Name) }

// Content gives the bytes of a file of the archive.
func (s *Survey) Content(m Member) *io.SectionReader {
	return io.NewSectionReader(s.archive.r, m.Start, m.Size)
}

// Verify compares each file with its digest, as [Archive.Verify] does.
func (s *Survey) Verify(ctx context.Context) error { return s.archive.Verify(ctx) }
