package preflight

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ingot-image/ingot/disk"
	"github.com/ingot-image/ingot/disk/image"
)

// FixOptions are options of [Fix].
type FixOptions struct {
	Options // how the copy is looked at
	// Progress is told how much of the copy is written, in bytes. It must not block.
	Progress func(done, total int64)
}

// Fixed is what [Fix] did.
type Fixed struct {
	Path   string    `json:"path"`   // of the copy
	Mended []Finding `json:"mended"` // that the copy does not have any more
	Left   []Finding `json:"left"`   // that it still has; Reason says why, where it was tried
	Report *Report   `json:"report"` // of the copy
}

// mending is one kind of correction of a raw copy. It reports whether it can do anything for what was found by leaving the rest as it is.
type mending struct {
	ids  []string // of the checks whose findings it is for
	mend func(ctx context.Context, w *workpiece, f Finding) error
}

// diskMendings are those of the partition table and of file systems, in their order. A05 is mended by fill, and A01 to A04 by the format.
func diskMendings() []mending {
	return []mending{
		{[]string{"B01"}, moveBackupTable},
		{[]string{"B07", "R16"}, recoverFileSystem},
	}
}

// fileMendings are those of files.
func fileMendings() []mending {
	return []mending{
		{[]string{"C03"}, addFallbackLoader},
		{[]string{"D04"}, setKernelOptions},
		{[]string{"E01"}, correctFstab},
		{[]string{"E02"}, removeNetworkRules},
		{[]string{"F01"}, forgetIdentity},
	}
}

// workpiece is the raw copy that is mended, a file without a name.
type workpiece struct {
	*disk.PendingFile
	target *Target
	edits  *edits
}

// path is by which the file can be opened again in this program.
func (w *workpiece) path() string { return fmt.Sprintf("/proc/self/fd/%d", w.Fd()) }

// Fix writes a copy of an image to out in which what report found is mended, as far as that is safe without booting it: see [Finding].Fixable. The copy is in
// the image's format, or the path's best one if that was the trouble. It has no name until it is flushed to the disk and has been checked again as t was, and then
// replaces what was there. The image is not changed.
//
// Files are changed in ext2, ext3 and ext4 in a partition; what lies elsewhere is left, and told. Errors: what is wrong with out, [disk.NoSpaceError],
// [disk.MissingToolError], ctx's cause.
func Fix(ctx context.Context, t *Target, report *Report, out string, o FixOptions) (*Fixed, error) {
	cutOff := t.Disk == nil && t.Info.Format == disk.Raw && t.Info.FileSize%512 != 0 // which disk.Open refuses
	if t.Disk == nil && !cutOff {
		return nil, fmt.Errorf("fix: the image cannot be read: %w", t.DiskErr)
	}
	if a, err := os.Stat(out); err == nil {
		if b, err := os.Stat(t.File); err == nil && os.SameFile(a, b) {
			return nil, fmt.Errorf("fix: %s is the image itself: give the copy another name", out)
		}
	}
	format := t.FixedFormat(report)
	pending, err := disk.Create(out)
	if err != nil {
		return nil, fmt.Errorf("fix: %w", err)
	}
	defer pending.Close()
	w := &workpiece{PendingFile: pending, target: t}
	if err := w.fill(ctx, cutOff); err != nil {
		return nil, fmt.Errorf("fix: %w", disk.ExplainSpace(err, filepath.Dir(out), 0))
	}
	failed := map[string]string{} // by the place of a finding
	if err := w.mend(ctx, diskMendings(), report, failed); err != nil {
		return nil, fmt.Errorf("fix: %w", err)
	}
	// A journal may have held other files than those that were read before.
	request := t.Request
	request.Format = disk.Raw
	if w.target, err = Open(ctx, w.path(), request, o.Options); err != nil {
		return nil, fmt.Errorf("fix: %w", err)
	}
	defer w.target.Close()
	found, err := Run(ctx, w.target)
	if err != nil {
		return nil, fmt.Errorf("fix: %w", err)
	}
	if cutOff { // what could not be read before
		if err := w.mend(ctx, diskMendings(), found, failed); err != nil {
			return nil, fmt.Errorf("fix: %w", err)
		}
	}
	w.edits = newEdits(w)
	if err := w.mend(ctx, fileMendings(), found, failed); err != nil {
		return nil, fmt.Errorf("fix: %w", err)
	}
	if err := w.edits.apply(ctx); err != nil {
		return nil, fmt.Errorf("fix: %w", err)
	}
	src, err := disk.Open(ctx, w.path(), disk.OpenOptions{Format: disk.Raw})
	if err != nil {
		return nil, fmt.Errorf("fix: %w", err)
	}
	defer src.Close()
	var fixed *Fixed
	verify := func(file string) (err error) {
		fixed, err = checkedAgain(ctx, t, report, file, format, o.Options)
		return err
	}
	if err := disk.Write(ctx, src, disk.WriteOptions{Progress: o.Progress}, disk.Output{Path: out, Format: format, Verify: verify}); err != nil {
		return nil, fmt.Errorf("fix: %w", err)
	}
	for i, f := range fixed.Left {
		fixed.Left[i].Reason = failed[placeOf(f)]
	}
	fixed.Path, fixed.Report.Image = out, filepath.Base(out)
	return fixed, nil
}

// fill writes the disk into the file, and zeros behind a last sector that is not whole.
func (w *workpiece) fill(ctx context.Context, cutOff bool) error {
	var src image.Source = w.target.Disk
	if cutOff {
		file, err := image.NewFile(w.target.content)
		if err != nil {
			return err
		}
		src = file
	}
	raw, err := image.NewRawWriter(w.File, src.Size())
	if err != nil {
		return err
	}
	if err := image.Copy(ctx, src, image.CopyOptions{}, raw); err != nil {
		return err
	}
	return w.Truncate((src.Size() + 511) / 512 * 512)
}

// FixedFormat is the copy's: the image's own, but the path's best one where the check of the container has failed.
func (t *Target) FixedFormat(report *Report) disk.Format {
	for _, f := range report.Failed() {
		if strings.HasPrefix(f.ID, "A0") && f.ID != "A05" {
			if t.Request.Path == EBSDirect {
				return disk.Raw
			}
			return disk.VMDK
		}
	}
	if format := t.Info.Format; slices.Contains(disk.Formats(), format) {
		return format
	}
	return disk.Raw
}

// mend makes mendings of what was found. Why one could not be made goes to failed, by the place of its finding.
func (w *workpiece) mend(ctx context.Context, mendings []mending, report *Report, failed map[string]string) error {
	for _, m := range mendings {
		for _, f := range report.Failed() {
			if !f.Fixable || !slices.Contains(m.ids, f.ID) {
				continue
			}
			if err := m.mend(ctx, w, f); err != nil {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				failed[placeOf(f)] = err.Error()
			}
		}
	}
	return nil
}

func placeOf(f Finding) string { return f.ID + " " + f.Where + " " + f.Seen }

// checkedAgain carries out all checks of the copy.
func checkedAgain(ctx context.Context, t *Target, before *Report, file string, format disk.Format, o Options) (*Fixed, error) {
	request := t.Request
	request.Format = format
	copied, err := Open(ctx, file, request, o)
	if err != nil {
		return nil, err
	}
	defer copied.Close()
	report, err := Run(ctx, copied)
	if err != nil {
		return nil, err
	}
	fixed := &Fixed{Report: report, Left: report.Failed()}
	still := map[string]bool{}
	for _, f := range fixed.Left {
		still[placeOf(f)] = true
	}
	for _, f := range before.Failed() {
		if f.Fixable && !still[placeOf(f)] {
			fixed.Mended = append(fixed.Mended, f)
		}
	}
	return fixed, nil
}
