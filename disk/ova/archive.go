package ova

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/ingot-image/ingot/disk/image"
)

// Archive is an OVA that was opened.
type Archive struct {
	Machine Machine
	Members []Member // regular files, in their order
	disk    Member
	r       io.ReaderAt
}

// Member is a file of an archive.
type Member struct {
	Name        string
	Start, Size int64 // of its bytes in the archive
}

// Machine is what a descriptor says of its machine: untrusted text, empty or zero where it says nothing.
type Machine struct {
	Name           string
	Type           string // VirtualSystemType: "vmx-15"
	Firmware       string // "bios" or "efi"
	SecureBoot     bool
	OSID           int    // CIM_OperatingSystem.OSType
	GuestID        string // VMware's name of it: "debian12_64Guest"
	OSDescription  string
	CPUs           int
	MemoryMiB      int64
	Controller     string // of the disk: "VirtualSCSI", "lsilogic", "vmware.sata.ahci", ...
	NetworkAdapter string // "VmxNet3", "E1000", ...
	Disk           Disk
}

// Disk is what a descriptor says of its disk.
type Disk struct {
	Name      string // of the file
	Format    string // a URL: http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized
	Capacity  int64  // in bytes; 0 when it is not a number
	Populated int64  // in bytes, 0 when not stated
}

// Errors of descriptors that are right and that Open yet refuses. They come wrapped, with what is meant.
var (
	// ErrSeveralDisks is of a machine of more than one disk.
	ErrSeveralDisks = errors.New("more than one disk: take out of it with tar the one that is wanted")
	// ErrNoDisk is of a machine without a disk that has content.
	ErrNoDisk = errors.New("no disk with content")
	// ErrOutside is of a disk that is not in the archive.
	ErrOutside = errors.New("not a file of the archive, and nothing outside of it is opened")
	// ErrCompressed is of a disk that is compressed beside what its format does.
	ErrCompressed = errors.New("compressed as a whole: take it out with tar and expand it")
	// ErrChunked is of a disk that is in several files.
	ErrChunked = errors.New("in chunks: take them out with tar and join them")
)

const (
	maxMembers    = 1024
	maxHeaders    = 8 << 20 // bytes of tar headers, with extended ones
	maxDescriptor = 1 << 20 // a hundred times what machines of one disk have; decoded it is twenty times as large
	maxManifest   = 1 << 20
)

// Is tells whether a file begins, in its first 512 bytes or more, like an OVA: a tar archive whose first member is a descriptor. DSP0243 1.1, section 5.3.
func Is(head []byte) bool {
	if len(head) < 512 || string(head[257:262]) != "ustar" {
		return false
	}
	name, _, _ := strings.Cut(string(head[:100]), "\x00")
	return isDescriptor(name)
}

func isDescriptor(name string) bool { return strings.EqualFold(path.Ext(name), ".ovf") }

// Open reads the index and the descriptor of an OVA of size bytes. An [image.FormatError] says how it is damaged; other errors say what of it is not
// supported: [ErrSeveralDisks], [ErrNoDisk], [ErrOutside], [ErrCompressed], [ErrChunked].
func Open(r io.ReaderAt, size int64) (*Archive, error) {
	a := &Archive{r: r}
	var err error
	if a.Members, err = Members(r, size); err != nil {
		return nil, err
	}
	text, err := a.descriptor()
	if err != nil {
		return nil, err
	}
	e, err := parse(text)
	if err != nil {
		return nil, err
	}
	if a.Machine, err = e.machine(); err != nil {
		return nil, err
	}
	a.disk, err = a.find(e.disk())
	if err != nil {
		return nil, err
	}
	a.Machine.Disk.Name = a.disk.Name
	return a, nil
}

// Disk is the file of the disk, as it is in the archive: a VMDK but with writers of their own mind.
func (a *Archive) Disk() (io.ReaderAt, int64) {
	return io.NewSectionReader(a.r, a.disk.Start, a.disk.Size), a.disk.Size
}

// Members lists the files in a tar archive of size bytes, an OVA or a box: headers are read, and nothing else. Two of one name, which would let a
// manifest speak of one and a reader read the other, are an [image.FormatError], as is every damage.
func Members(r io.ReaderAt, size int64) (members []Member, err error) {
	s := &bounded{SectionReader: io.NewSectionReader(r, 0, max(size, 0)), left: maxHeaders}
	t := tar.NewReader(s)
	seen := map[string]bool{}
	for n := 0; ; n++ {
		h, err := t.Next()
		if err == io.EOF {
			return members, nil
		}
		if s.err != nil {
			return nil, fmt.Errorf("read the index of the archive: %w", s.err)
		}
		if errors.Is(err, errHeaders) || n == maxMembers {
			return nil, image.Damaged(image.OVA, "more than %d members or %d bytes of headers", maxMembers, maxHeaders)
		}
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, image.Damaged(image.OVA, "the archive is cut off")
		}
		if err != nil {
			return nil, image.Damaged(image.OVA, "%v", err)
		}
		if h.Typeflag != tar.TypeReg {
			continue // directories, links and devices: nothing may refer to them
		}
		if _, ok := h.PAXRecords["GNU.sparse.major"]; ok || h.PAXRecords["GNU.sparse.map"] != "" {
			return nil, image.Damaged(image.OVA, "member %q is sparse, which OVF does not allow", h.Name)
		}
		start, err := s.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, err
		}
		if h.Size > size-start {
			return nil, image.Damaged(image.OVA, "the archive is cut off in member %q", h.Name)
		}
		name := path.Clean(h.Name)
		if seen[name] {
			return nil, image.Damaged(image.OVA, "there are two members %q", name)
		}
		seen[name] = true
		members = append(members, Member{name, start, h.Size})
	}
}

// bounded reads no more than left bytes: headers only, as members are skipped by seeking.
type bounded struct {
	*io.SectionReader
	left int64
	err  error // of the file itself
}

var errHeaders = errors.New("too many headers")

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errHeaders
	}
	n, err := b.SectionReader.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	if err != nil && err != io.EOF {
		b.err = err
	}
	return n, err
}

// descriptor reads the one descriptor.
func (a *Archive) descriptor() ([]byte, error) {
	var found []Member
	for _, m := range a.Members {
		if isDescriptor(m.Name) {
			found = append(found, m)
		}
	}
	switch {
	case len(found) == 0:
		return nil, image.Damaged(image.OVA, "there is no .ovf in it")
	case len(found) > 1:
		return nil, image.Damaged(image.OVA, "there are several descriptors: %q, %q", found[0].Name, found[1].Name)
	}
	return a.read(found[0], maxDescriptor)
}

func (a *Archive) read(m Member, limit int64) ([]byte, error) {
	if m.Size > limit {
		return nil, image.Damaged(image.OVA, "%q has %d bytes, more than %d", m.Name, m.Size, limit)
	}
	b := make([]byte, m.Size)
	if _, err := io.ReadFull(io.NewSectionReader(a.r, m.Start, m.Size), b); err != nil {
		return nil, fmt.Errorf("read %q: %w", m.Name, err)
	}
	return b, nil
}
