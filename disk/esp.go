package disk

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path"
	"strconv"
)

// makeESP makes a FAT32 file system with the given files at an extent of a disk. mkfs.vfat and mtools write what fsck.vfat
// accepts; go-diskfs does not (its ".." entries point to cluster 2).
func makeESP(ctx context.Context, disk *os.File, at Extent, serial uint32, files map[string][]byte) error {
	err := Run(ctx, Command{Tool: mkfsVFAT, Files: []*os.File{disk}, Args: []string{
		// One sector per cluster: mkfs.vfat would choose by the length of the whole file and leave too few clusters for FAT32.
		"-F", "32", "-s", "1", "-n", "ESP", "-i", fmt.Sprintf("%08x", serial),
		"--offset", strconv.FormatInt(at.Start/sectorSize, 10), "-h", strconv.FormatInt(at.Start/sectorSize, 10),
		FilePath(0), strconv.FormatInt(at.Size/1024, 10)}})
	if err != nil {
		return err
	}
	image := fmt.Sprintf("%s@@%d", FilePath(0), at.Start)
	mtools := func(tool Tool, stdin []byte, args ...string) error {
		return Run(ctx, Command{Tool: tool, Files: []*os.File{disk}, Stdin: bytes.NewReader(stdin),
			Args: append([]string{"-i", image}, args...),
			Env:  []string{"MTOOLSRC=/dev/null"}})
	}
	made := map[string]bool{".": true}
	for _, name := range sortedKeys(files) {
		if clean := path.Clean("/" + name)[1:]; clean != name || clean == "" {
			return fmt.Errorf("path %q on the EFI system partition", name)
		}
		for _, dir := range parents(name) {
			if made[dir] {
				continue
			}
			if err := mtools(mmd, nil, "::/"+dir); err != nil {
				return err
			}
			made[dir] = true
		}
		if err := mtools(mcopy, files[name], "-Q", "-", "::/"+name); err != nil {
			return err
		}
	}
	return nil
}

// parents lists the folders above name, outermost first.
func parents(name string) []string {
	var out []string
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		out = append([]string{dir}, out...)
	}
	return out
}
