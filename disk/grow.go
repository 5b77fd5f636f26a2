package disk

import (
	"fmt"
	"os"

	"github.com/diskfs/go-diskfs/partition/gpt"
)

// Grow makes a raw image with a GPT longer, to size bytes, and moves the backup table to its new end, where the UEFI
// specification (2.10, section 5.3.2) wants it. With size 0, or that of the file, only the table is put right: do so after a
// disk was enlarged by other means. Partitions stay as they are: growpart and resize2fs enlarge the last one at the next boot.
func Grow(path string, size int64) error {
	fail := func(err error) error { return fmt.Errorf("grow %s: %w", path, err) }
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return fail(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return fail(err)
	}
	if !st.Mode().IsRegular() {
		return fail(fmt.Errorf("is %s", kindOf(st.Mode())))
	}
	old := st.Size()
	if size == 0 {
		size = old
	}
	if size < old || size%sectorSize != 0 {
		return fail(fmt.Errorf("from %d to %d bytes: give a multiple of 512 that is not smaller", old, size))
	}
	if err := checkGPT(f, old); err != nil {
		return fail(err)
	}
	table, err := gpt.Read(f, sectorSize, sectorSize)
	if err != nil {
		return fail(err)
	}
	stale := int64(table.TotalSize()) - sectorSize // where the backup header is now
	if err := f.Truncate(size); err != nil {
		return fail(err)
	}
	if int64(table.TotalSize()) == size {
		return nil
	}
	table.Resize(uint64(size))
	// The old backup header would be found by tools that look for one.
	if stale > sectorSize && stale <= size-sectorSize {
		b := make([]byte, 8)
		if _, err := f.ReadAt(b, stale); err == nil && string(b) == "EFI PART" {
			if _, err := f.WriteAt(make([]byte, sectorSize), stale); err != nil {
				return fail(err)
			}
		}
	}
	if err := table.Write(f, size); err != nil {
		return fail(err)
	}
	return f.Close()
}
