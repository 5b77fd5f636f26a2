package disk

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/ingot-image/ingot/disk/image"

	"github.com/ingot-image/ingot/disk/tool"
)

// Image names an image file and the format it has, or is to have.
type Image struct {
	Path   string
	Format Format
	// Unsynced leaves it to the caller to flush the file to disk (os.File.Sync) before it counts on it: destinations only. It can be done
	// beside other work on the file.
	Unsynced bool
}

// Progress is told how far an operation has come, from 0 to 1. It is called from another goroutine and must not block.
type Progress func(fraction float64)

// Convert copies the disk in src, with all images that it is an overlay on, into a new raw or qcow2 file dst with qemu-img; on file systems that
// share blocks between files (btrfs, XFS) a raw file is not copied but cloned. It is for images of the caller's own: for others, and for other
// formats, see [Open] and [Write]. Both formats are given to qemu-img explicitly. Holes stay holes. The file is flushed to disk and
// appears at dst.Path, replacing what was there, only when it is complete. progress may be nil.
//
// Errors: [MissingToolError], [NoSpaceError], [ToolError], or ctx's cause.
func Convert(ctx context.Context, src, dst Image, progress Progress) error {
	return convert(ctx, src, dst, progress, nil)
}

func convert(ctx context.Context, src, dst Image, progress Progress, extra []string) error {
	fail := func(err error) error { return fmt.Errorf("convert %s to %s: %w", src.Path, dst.Format, err) }
	if dst.Format != Raw && dst.Format != Qcow2 {
		return fail(errors.New("only raw and qcow2 images are made in this way"))
	}
	from, fromArgs, err := sourceArgs(src)
	if err != nil {
		return fail(err)
	}
	in, _, err := openRegular(src.Path)
	if err != nil {
		return fail(err)
	}
	defer in.Close()
	needed := allocated(in)
	out, err := Create(dst.Path)
	if err != nil {
		return fail(err)
	}
	defer out.Close()
	raw, err := image.NewFile(in)
	if err != nil {
		return fail(err)
	}
	if src.Format == Raw && dst.Format == Raw && raw.CloneTo(out.File) == nil {
		if progress != nil {
			progress(1)
		}
	} else {
		err = qemuConvert(ctx, from, fromArgs, dst.Format, out.File, progress, extra)
	}
	if err == nil && dst.Unsynced {
		err = out.commitUnsynced()
	} else if err == nil {
		err = out.Commit()
	}
	if err != nil {
		return fail(ExplainSpace(err, filepath.Dir(dst.Path), needed))
	}
	return nil
}

func qemuConvert(ctx context.Context, from string, fromArgs []string, format Format, out *os.File, progress Progress, extra []string) error {
	args := append([]string{"convert"}, fromArgs...)
	if progress != nil {
		args = append(args, "-p")
	}
	args = append(args, "-O", string(format))
	if format == Qcow2 {
		args = append(args, "-o", "compat=1.1")
	}
	args = append(args, extra...)
	args = append(args, from, FilePath(0))
	c := Command{Tool: qemuImg, Args: args, Files: []*os.File{out}}
	if progress != nil {
		c.Stdout = &progressParser{report: progress}
	}
	return Run(ctx, c)
}

// sourceArgs gives the file argument and the options that open an image as exactly what it is declared to be.
func sourceArgs(src Image) (file string, args []string, err error) {
	driver, err := driver(src.Format)
	if err != nil {
		return "", nil, err
	}
	// An absolute path cannot be taken for a protocol ("nbd:...", "json:{...}").
	path, err := filepath.Abs(src.Path)
	if err != nil {
		return "", nil, err
	}
	if src.Format == VHD {
		// By default qemu-img computes the size of some creators' disks from their geometry and cuts the end off.
		opts := "driver=vpc,force_size_calc=current_size,file.driver=file,file.filename=" + strings.ReplaceAll(path, ",", ",,")
		return opts, []string{"--image-opts"}, nil
	}
	return path, []string{"-f", driver}, nil
}

// CreateOverlay makes an empty qcow2 file at path whose backing file is backing: reads fall through to it, writes stay in the
// overlay. size is the virtual size in bytes, 0 for that of the backing file. The backing file's path is stored absolute.
func CreateOverlay(ctx context.Context, path string, backing Image, size int64) error {
	return createOverlay(ctx, path, backing, size)
}

// PrepareOverlay is CreateOverlay on an image that will only later be at its path. size must be given.
func PrepareOverlay(ctx context.Context, path string, backing Image, size int64) error {
	return createOverlay(ctx, path, backing, size, "-u")
}

// Rebase writes into a qcow2 image's header that backing is what it is an overlay on, as after a move. The image's content is not changed,
// and backing need not be there yet: it must become what the image was made on.
func Rebase(ctx context.Context, path string, backing Image) error {
	fail := func(err error) error { return fmt.Errorf("rebase %s: %w", path, err) }
	driver, err := driver(backing.Format)
	if err != nil {
		return fail(err)
	}
	base, err := filepath.Abs(backing.Path)
	if err != nil {
		return fail(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return fail(err)
	}
	defer f.Close()
	args := []string{"rebase", "-q", "-u", "-f", "qcow2", "-F", driver, "-b", base, FilePath(0)}
	if err := Run(ctx, Command{Tool: qemuImg, Args: args, Files: []*os.File{f}}); err != nil {
		return fail(err)
	}
	return nil
}

func createOverlay(ctx context.Context, path string, backing Image, size int64, options ...string) error {
	fail := func(err error) error { return fmt.Errorf("create overlay %s: %w", path, err) }
	driver, err := driver(backing.Format)
	if err != nil {
		return fail(err)
	}
	base, err := filepath.Abs(backing.Path)
	if err != nil {
		return fail(err)
	}
	out, err := Create(path)
	if err != nil {
		return fail(err)
	}
	defer out.Close()
	args := append([]string{"create", "-q", "-f", "qcow2", "-F", driver, "-b", base}, options...)
	args = append(args, FilePath(0))
	if size > 0 {
		args = append(args, strconv.FormatInt(size, 10))
	}
	if err := Run(ctx, Command{Tool: qemuImg, Args: args, Files: []*os.File{out.File}}); err != nil {
		return fail(ExplainSpace(err, filepath.Dir(path), 0))
	}
	if err := out.Commit(); err != nil {
		return fail(err)
	}
	return nil
}

// CheckError says what qemu-img found wrong with an image's metadata.
type CheckError struct {
	Path                            string
	Corruptions, Leaks, CheckErrors int64
}

func (e *CheckError) Error() string {
	return fmt.Sprintf("check %s: %d corruptions, %d leaked clusters, %d errors", e.Path, e.Corruptions, e.Leaks, e.CheckErrors)
}

// Check verifies the metadata of a qcow2, VMDK or VHD image with qemu-img; raw and fixed images have none and pass. The error
// is a [CheckError] when something is wrong; leaked clusters count.
func Check(ctx context.Context, img Image) error {
	if img.Format == Raw {
		return nil
	}
	file, args, err := sourceArgs(img)
	if err != nil {
		return fmt.Errorf("check %s: %w", img.Path, err)
	}
	var out bytes.Buffer
	args = append(append([]string{"check", "--output=json"}, args...), file)
	// 2: corruptions, 3: leaks, 63: the format has no checks.
	err = Run(ctx, Command{Tool: qemuImg, Args: args, Stdout: &out, AcceptExit: []int{2, 3, 63}})
	if err != nil {
		return fmt.Errorf("check %s: %w", img.Path, err)
	}
	if out.Len() == 0 {
		return nil
	}
	var r struct {
		Corruptions int64 `json:"corruptions"`
		Leaks       int64 `json:"leaks"`
		CheckErrors int64 `json:"check-errors"`
	}
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		return fmt.Errorf("check %s: read qemu-img's answer: %w", img.Path, err)
	}
	if r.Corruptions+r.Leaks+r.CheckErrors > 0 {
		return &CheckError{img.Path, r.Corruptions, r.Leaks, r.CheckErrors}
	}
	return nil
}

// DifferError says that two images do not hold the same disk.
type DifferError struct{ A, B, Detail string }

func (e *DifferError) Error() string {
	return fmt.Sprintf("%s and %s differ: %s", e.A, e.B, e.Detail)
}

// Compare compares the disks in two images, whatever their formats, with qemu-img in strict mode: sizes must be equal too.
// The error is a [DifferError] when they differ.
func Compare(ctx context.Context, a, b Image) error {
	spec := func(i Image) (string, error) {
		driver, err := driver(i.Format)
		if err != nil {
			return "", err
		}
		path, err := filepath.Abs(i.Path)
		if err != nil {
			return "", err
		}
		s := "driver=" + driver
		if i.Format == VHD {
			s += ",force_size_calc=current_size"
		}
		return s + ",file.driver=file,file.filename=" + strings.ReplaceAll(path, ",", ",,"), nil
	}
	sa, err := spec(a)
	if err != nil {
		return fmt.Errorf("compare %s: %w", a.Path, err)
	}
	sb, err := spec(b)
	if err != nil {
		return fmt.Errorf("compare %s: %w", b.Path, err)
	}
	out := tool.Tail{Limit: tool.TailLimit}
	err = Run(ctx, Command{Tool: qemuImg, Args: []string{"compare", "--image-opts", sa, sb}, Stdout: &out, AcceptExit: []int{1}})
	if err != nil {
		return fmt.Errorf("compare %s with %s: %w", a.Path, b.Path, err)
	}
	text := out.String()
	if strings.Contains(text, "Images are identical") && !strings.Contains(text, "Warning: Image size mismatch") {
		return nil
	}
	return &DifferError{a.Path, b.Path, text}
}

// progressParser reads the "    (12.34/100%)\r" of qemu-img -p.
type progressParser struct {
	report Progress
	rest   []byte
}

func (p *progressParser) Write(b []byte) (int, error) {
	p.rest = append(p.rest, b...)
	for {
		open := bytes.IndexByte(p.rest, '(')
		end := bytes.Index(p.rest, []byte("/100%)"))
		if open < 0 || end < open {
			break
		}
		if v, err := strconv.ParseFloat(string(p.rest[open+1:end]), 64); err == nil && v >= 0 && v <= 100 {
			p.report(v / 100)
		}
		p.rest = p.rest[end+6:]
	}
	if len(p.rest) > 256 {
		p.rest = p.rest[len(p.rest)-256:]
	}
	return len(b), nil
}

var _ io.Writer = (*progressParser)(nil)
