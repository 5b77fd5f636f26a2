package disk

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"

	"github.com/ingot-image/ingot/disk/qemuimg"
	"github.com/ingot-image/ingot/disk/tool"
)

// What package tool has, under the names it has here.
type (
	// Tool is a program of the host.
	Tool = tool.Tool
	// Command is one run of a host program.
	Command = tool.Command
	// MissingToolError says that a program of the host is not installed, and which package has it.
	MissingToolError = tool.MissingError
	// ToolError is the failure of a program of the host.
	ToolError = tool.Error
)

// Run runs a host program: see [tool.Run].
func Run(ctx context.Context, c Command) error { return tool.Run(ctx, c) }

// FilePath is the path of the i-th file given to a host program: see [tool.FilePath].
func FilePath(i int) string { return tool.FilePath(i) }

// Tools returns the host programs that this package runs. None is needed before the function that uses it is called.
func Tools() []Tool {
	own := []Tool{qemuImg, mke2fs, e2fsck, resize2fs, mkfsVFAT, mcopy, mmd}
	for _, t := range qemuimg.Tools() {
		if !slices.Contains(own, t) {
			own = append(own, t)
		}
	}
	return own
}

var (
	qemuImg   = Tool{Name: "qemu-img", Package: "qemu-utils"}
	mke2fs    = Tool{Name: "mke2fs", Package: "e2fsprogs"}
	e2fsck    = Tool{Name: "e2fsck", Package: "e2fsprogs"}
	resize2fs = Tool{Name: "resize2fs", Package: "e2fsprogs"}
	mkfsVFAT  = Tool{Name: "mkfs.vfat", Package: "dosfstools"}
	mcopy     = Tool{Name: "mcopy", Package: "mtools"}
	mmd       = Tool{Name: "mmd", Package: "mtools"}
)

// NoSpaceError says that a file system is full.
type NoSpaceError struct {
	Dir    string // folder that was written to
	Needed int64  // rough estimate in bytes, 0 when unknown
	Free   int64  // bytes free in Dir for this user
}

func (e *NoSpaceError) Error() string {
	if e.Needed == 0 {
		return fmt.Sprintf("no space left on device: %s free in %s", formatBytes(e.Free), e.Dir)
	}
	return fmt.Sprintf("no space left on device: needs about %s, %s free in %s", formatBytes(e.Needed), formatBytes(e.Free), e.Dir)
}

// Is makes errors.Is(err, syscall.ENOSPC) true.
func (e *NoSpaceError) Is(target error) bool { return target == syscall.ENOSPC }

// ExplainSpace turns a failure for lack of space, of the operating system or of a tool, into a [NoSpaceError] for the folder dir;
// needed is an estimate in bytes, 0 when unknown. Other errors, nil too, come back as they are.
func ExplainSpace(err error, dir string, needed int64) error {
	if err == nil {
		return nil
	}
	free := int64(-1)
	var st syscall.Statfs_t
	if syscall.Statfs(dir, &st) == nil {
		free = int64(st.Bavail) * st.Bsize
	}
	var te *ToolError
	full := errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
	if errors.As(err, &te) {
		// qemu-img's VMDK writer says "Invalid argument" when the disk is full.
		full = strings.Contains(te.Stderr, "No space left on device") || strings.Contains(te.Stderr, "Disk quota exceeded") || free >= 0 && free < 1<<20
	}
	if !full {
		return err
	}
	return &NoSpaceError{Dir: dir, Needed: needed, Free: max(free, 0)}
}

func formatBytes(n int64) string {
	switch {
	case n >= 10<<40:
		return fmt.Sprintf("%.0f TiB", float64(n)/(1<<40))
	case n >= 10<<30:
		return fmt.Sprintf("%.0f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.0f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%d bytes", n)
}
