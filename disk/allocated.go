package disk

import (
	"errors"
	"io/fs"
	"path/filepath"
	"syscall"
)

// Allocated is what a file or folder takes on the disk, in bytes. Files that go meanwhile count for nothing.
func Allocated(path string) (int64, error) {
	var sum int64
	err := filepath.WalkDir(path, func(at string, e fs.DirEntry, err error) error {
		if err == nil {
			var info fs.FileInfo
			if info, err = e.Info(); err == nil {
				if st, ok := info.Sys().(*syscall.Stat_t); ok {
					sum += st.Blocks * 512
				}
			}
		}
		if errors.Is(err, fs.ErrNotExist) && at != path {
			return nil
		}
		return err
	})
	return sum, err
}
