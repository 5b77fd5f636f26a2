package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/ingot-image/ingot/disk/tool"
)

// UncleanError says that a file system in an image is not in order.
type UncleanError struct {
	Path      string
	Partition int    // index, 0 when the file system fills the disk
	Type      string // "ext4", ...
	Reason    string // "the journal needs recovery: ...", or what e2fsck found
}

func (e *UncleanError) Error() string {
	return fmt.Sprintf("%s: %s file system in partition %d is not clean: %s", e.Path, e.Type, e.Partition, e.Reason)
}

// CheckClean checks every ext2, ext3 and ext4 file system of a raw image: cleanly unmounted by its superblock, no journal to
// replay, and no complaint of "e2fsck -fn". Nothing is written. The error joins an [UncleanError] for each that is not in order.
// It returns how many file systems were checked.
func CheckClean(ctx context.Context, path string) (checked int, err error) {
	table, err := Partitions(path)
	if err != nil {
		return 0, fmt.Errorf("check file systems: %w", err)
	}
	f, _, err := openRegular(path)
	if err != nil {
		return 0, fmt.Errorf("check file systems: %w", err)
	}
	defer f.Close()
	var bad []error
	for _, p := range table.Partitions {
		if !p.FileSystem.IsExt() {
			continue
		}
		reason := ""
		switch {
		case p.FileSystem.NeedsRecovery:
			reason = "the journal needs recovery: the system was not shut down cleanly"
		case p.FileSystem.Unclean:
			reason = "marked as not cleanly unmounted or as having errors"
		default:
			if reason, err = e2fsckOutput(ctx, f, p.Start); err != nil {
				return checked, fmt.Errorf("check file systems: %w", err)
			}
		}
		checked++
		if reason != "" {
			bad = append(bad, &UncleanError{path, p.Index, p.FileSystem.Type, reason})
		}
	}
	return checked, errors.Join(bad...)
}

// e2fsckOutput returns what e2fsck complains about, or nothing.
func e2fsckOutput(ctx context.Context, image *os.File, offset int64) (string, error) {
	out := &tool.Tail{Limit: tool.TailLimit}
	err := Run(ctx, Command{Tool: e2fsck, Files: []*os.File{image}, Stdout: out,
		Args: []string{"-f", "-n", fmt.Sprintf("%s?offset=%d", FilePath(0), offset)}})
	var te *ToolError
	if !errors.As(err, &te) {
		return "", err
	}
	// Exit codes are bits: 4 is errors found and left, which may come with 8, gave up; 8 alone is that it could not check.
	if te.ExitCode < 0 || te.ExitCode&4 == 0 {
		return "", err
	}
	lines := bytes.Split([]byte(out.String()), []byte("\n"))
	var keep []string
	for _, l := range lines {
		s := string(l)
		if strings.HasPrefix(s, "Pass ") || strings.HasPrefix(s, "e2fsck ") || strings.TrimSpace(s) == "" || len(keep) == 10 {
			continue
		}
		keep = append(keep, s)
	}
	return "e2fsck: " + strings.Join(keep, "; "), nil
}
