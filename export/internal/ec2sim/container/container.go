// Package container reads the files that VM Import takes (VMDK, VHD, VHDX, OVA, raw) as AWS reads them: strictly, with AWS's own messages for
// what is wrong, and sharing no code with the writers that are tested against it.
//
//	disks, err := container.Expand(ctx, container.VMDK, file, size, dir)
//	var refused *container.Refusal
//	if errors.As(err, &refused) { … refused.Message is what AWS says }
//
// Where no wording of AWS is known, its form is kept: ClientError: Disk validation failed [REASON].
package container

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// The formats, as EC2 calls them.
const (
	RAW  = "RAW"
	VMDK = "VMDK"
	VHD  = "VHD"
	VHDX = "VHDX"
	OVA  = "OVA"
)

// maxDisk is how large a volume may be, in bytes.
const maxDisk = 16 << 40

const sector = 512

// Refusal is what AWS says of a file that it does not take.
type Refusal struct{ Message string }

func (r *Refusal) Error() string { return r.Message }

// invalid makes a Refusal of the form that most have.
func invalid(format string, a ...any) error {
	return &Refusal{"ClientError: Disk validation failed [" + fmt.Sprintf(format, a...) + "]"}
}

// Disk is a disk of a file.
type Disk struct {
	File *os.File // raw, sparse, without a name; the caller closes it
	Size int64    // virtual size in bytes
}

// Expand writes each disk of a file into a sparse file in dir. Files other than OVAs have one.
func Expand(ctx context.Context, format string, src io.ReaderAt, size int64, dir string) ([]Disk, error) {
	if format = strings.ToUpper(format); format == OVA {
		return expandOVA(ctx, src, size, dir)
	}
	expand := map[string]func(context.Context, io.ReaderAt, int64, *os.File) (int64, error){
		RAW: expandRaw, VMDK: expandVMDK, VHD: expandVHD, VHDX: expandVHDX}[format]
	if expand == nil {
		return nil, invalid("Unsupported file format %s", format)
	}
	f, err := temporary(dir)
	if err != nil {
		return nil, err
	}
	virtual, err := expand(ctx, src, size, f)
	if err == nil && (virtual <= 0 || virtual > maxDisk) {
		err = invalid("The disk size %d is not supported", virtual)
	}
	if err == nil {
		err = f.Truncate(virtual)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return []Disk{{f, virtual}}, nil
}

// temporary makes a file without a name.
func temporary(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, "disk-*")
	if err != nil {
		return nil, err
	}
	return f, os.Remove(f.Name())
}

func expandRaw(ctx context.Context, src io.ReaderAt, size int64, dst *os.File) (int64, error) {
	if size%sector != 0 {
		return 0, invalid("The disk size %d is not a multiple of %d", size, sector)
	}
	return size, spread(ctx, src, size, dst, 0)
}

// spread copies what is not zeros to a place in a sparse file.
func spread(ctx context.Context, src io.ReaderAt, size int64, dst *os.File, to int64) error {
	buffer, zeros := make([]byte, 1<<20), make([]byte, 1<<20)
	for at := int64(0); at < size; at += int64(len(buffer)) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		piece := buffer[:min(int64(len(buffer)), size-at)]
		if n, err := src.ReadAt(piece, at); n < len(piece) {
			if errors.Is(err, io.EOF) {
				return invalid("The file ends at byte %d", at+int64(n))
			}
			return err
		}
		if bytes.Equal(piece, zeros[:len(piece)]) {
			continue
		}
		if _, err := dst.WriteAt(piece, to+at); err != nil {
			return err
		}
	}
	return nil
}

// read reads a piece of a file that must be there.
func read(src io.ReaderAt, at, n, size int64) ([]byte, error) {
	if at < 0 || n < 0 || at > size || n > size-at || n > 1<<28 {
		return nil, invalid("The file of %d bytes has nothing at byte %d", size, at)
	}
	b := make([]byte, n)
	if got, err := src.ReadAt(b, at); got < len(b) {
		return nil, fmt.Errorf("read byte %d: %w", at, err)
	}
	return b, nil
}
