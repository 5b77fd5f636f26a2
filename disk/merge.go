package disk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/ingot-image/ingot/disk/image"
)

// Merge writes into a raw file what overlays on its disk have changed. The file is a copy of the image that the lowest overlay lies on, as
// Convert makes it; overlays are qcow2 files, topmost first, each of which names the next one as its backing file. What they hold is
// written, what they discard becomes a hole, and the file becomes as long as the topmost overlay's disk. So the copy of all that lies below,
// which is nearly everything, can be made while the topmost is still written to.
//
// The file is changed in place and not flushed to disk: after an error it is worth nothing.
//
// Errors: [MissingToolError], [NoSpaceError], [ToolError], or ctx's cause.
func Merge(ctx context.Context, raw string, overlays ...string) (err error) {
	if len(overlays) == 0 {
		return nil
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("merge %s into %s: %w", overlays[0], raw, ExplainSpace(err, filepath.Dir(raw), 0))
		}
	}()
	m := merge{}
	defer m.close()
	for _, path := range overlays {
		f, _, err := openRegular(path)
		if err != nil {
			return err
		}
		m.overlays = append(m.overlays, f)
	}
	info, err := Probe(overlays[0])
	if err != nil {
		return err
	}
	if m.raw, err = os.OpenFile(raw, os.O_RDWR, 0); err != nil {
		return err
	}
	st, err := m.raw.Stat()
	if err != nil {
		return err
	}
	if st.Size() > info.VirtualSize {
		return fmt.Errorf("the overlay's disk has %d bytes, fewer than the %d of the file", info.VirtualSize, st.Size())
	}
	if err := m.raw.Truncate(info.VirtualSize); err != nil {
		return err
	}
	m.size = info.VirtualSize
	return m.run(ctx, overlays[0])
}

type merge struct {
	raw      *os.File
	size     int64
	overlays []*os.File
	buffer   []byte
}

func (m *merge) close() {
	for _, f := range m.overlays {
		f.Close()
	}
	if m.raw != nil {
		m.raw.Close()
	}
}

// mapEntry is one range of the disk as "qemu-img map --output=json" tells it.
type mapEntry struct {
	Start, Length int64
	Depth         int // of the image in the chain that the range comes from, 0 for the topmost
	Zero, Data    bool
	Compressed    bool
	Offset        *int64 // of the data in that image's file
}

// run merges while qemu-img tells what there is, which is in the order of the disk.
func (m *merge) run(ctx context.Context, top string) error {
	path, args, err := sourceArgs(Image{Path: top, Format: Qcow2})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	out, in := io.Pipe()
	merged := make(chan error, 1)
	go func() {
		err := m.entries(ctx, json.NewDecoder(out))
		if err != nil {
			stop(err) // there is no use in more of them
		}
		out.CloseWithError(err)
		merged <- err
	}()
	err = Run(ctx, Command{Tool: qemuImg, Args: append(append([]string{"map", "--output=json"}, args...), path), Stdout: in})
	in.CloseWithError(err)
	if failed := <-merged; err == nil {
		err = failed
	}
	return err
}

func (m *merge) entries(ctx context.Context, d *json.Decoder) error {
	if _, err := d.Token(); err != nil { // [
		return fmt.Errorf("read qemu-img's map: %w", err)
	}
	for d.More() {
		var e mapEntry
		if err := d.Decode(&e); err != nil {
			return fmt.Errorf("read qemu-img's map: %w", err)
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err := m.apply(ctx, e); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil { // ]
		return fmt.Errorf("read qemu-img's map: %w", err)
	}
	_, err := io.Copy(io.Discard, d.Buffered())
	return err
}

func (m *merge) apply(ctx context.Context, e mapEntry) error {
	switch {
	case e.Depth >= len(m.overlays):
		return nil // it is in the copy
	case e.Start < 0 || e.Length < 0 || e.Start > m.size || e.Length > m.size-e.Start:
		return fmt.Errorf("qemu-img's map has %d bytes at %d, beyond the end of the disk", e.Length, e.Start)
	case e.Zero:
		return m.zero(e.Start, e.Length)
	case !e.Data:
		return nil
	case e.Offset == nil || e.Compressed:
		return errors.New("the overlay has compressed clusters")
	}
	return m.copy(ctx, e)
}

// mergePiece is how much is copied at once, in bytes.
const mergePiece = 64 << 10

// copy copies a range of an overlay. Pieces of zeros become holes.
func (m *merge) copy(ctx context.Context, e mapEntry) error {
	if m.buffer == nil {
		m.buffer = make([]byte, mergePiece)
	}
	for done := int64(0); done < e.Length; {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		piece := m.buffer[:min(int64(len(m.buffer)), e.Length-done)]
		// The last cluster of a file may be cut off where the rest of it is zeros.
		n, err := m.overlays[e.Depth].ReadAt(piece, *e.Offset+done)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		clear(piece[n:])
		if image.IsZero(piece) {
			err = m.zero(e.Start+done, int64(len(piece)))
		} else {
			_, err = m.raw.WriteAt(piece, e.Start+done)
		}
		if err != nil {
			return err
		}
		done += int64(len(piece))
	}
	return nil
}

// zero makes a hole, or writes zeros where the file system has no holes.
func (m *merge) zero(at, length int64) error {
	if length == 0 {
		return nil
	}
	err := unix.Fallocate(int(m.raw.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, at, length)
	if !errors.Is(err, syscall.EOPNOTSUPP) && !errors.Is(err, syscall.ENOSYS) {
		return err
	}
	zeros := make([]byte, min(mergePiece, length))
	for done := int64(0); done < length; done += mergePiece {
		if _, err := m.raw.WriteAt(zeros[:min(mergePiece, length-done)], at+done); err != nil {
			return err
		}
	}
	return nil
}
