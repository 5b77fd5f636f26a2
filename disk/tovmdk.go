package disk

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/ingot-image/ingot/disk/image"
	"github.com/ingot-image/ingot/disk/vmdk"
)

// writeVMDK writes the disk in a raw file as a streamOptimized VMDK of the given name.
func writeVMDK(ctx context.Context, out, raw *os.File, name string, progress Progress) error {
	src, err := image.NewFile(raw)
	if err != nil {
		return err
	}
	w, err := vmdk.NewWriter(out, src.Size(), vmdk.Options{Name: name})
	if err != nil {
		return err
	}
	var o image.CopyOptions
	if progress != nil {
		o.Progress = func(done, total int64) {
			if total > 0 {
				progress(float64(done) / float64(total))
			}
		}
	}
	return image.Copy(ctx, src, o, w)
}

// renameVMDKExtent puts the file's real name into the embedded descriptor. qemu-img wrote it by another name, and VMware's
// tools expect the extent line to name the file itself.
func renameVMDKExtent(f io.ReadWriteSeeker, name string) error {
	h := make([]byte, 512)
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if _, err := io.ReadFull(f, h); err != nil {
		return err
	}
	off, n := binary.LittleEndian.Uint64(h[28:]), binary.LittleEndian.Uint64(h[36:])
	if string(h[:4]) != "KDMV" || off == 0 || off > 1<<40 || n == 0 || n > 1<<20/512 {
		return fmt.Errorf("rename vmdk extent: no embedded descriptor")
	}
	area := make([]byte, n*512)
	if _, err := f.Seek(int64(off)*512, io.SeekStart); err != nil {
		return err
	}
	if _, err := io.ReadFull(f, area); err != nil {
		return err
	}
	text, _, _ := strings.Cut(string(area), "\x00")
	before, rest, ok := strings.Cut(text, `SPARSE "`)
	_, after, ok2 := strings.Cut(rest, `"`)
	if !ok || !ok2 {
		return fmt.Errorf("rename vmdk extent: no sparse extent in the descriptor")
	}
	name = strings.Map(func(r rune) rune {
		if r < ' ' || r == '"' {
			return '_'
		}
		return r
	}, name)
	text = before + `SPARSE "` + name + `"` + after
	if len(text) > len(area) {
		return fmt.Errorf("rename vmdk extent: the name is too long for the descriptor")
	}
	clear(area)
	copy(area, text)
	if _, err := f.Seek(int64(off)*512, io.SeekStart); err != nil {
		return err
	}
	_, err := f.Write(area)
	return err
}
