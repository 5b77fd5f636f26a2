package preflight

import (
	"flag"
	"os"
	"testing"
	"time"

	"github.com/ingot-image/ingot/disk"
)

var benchDisk = flag.String("disk", os.Getenv("INGOT_BENCH_DISK"), "BenchmarkPreflight: a raw disk with a system, of at most 10 GB; $INGOT_BENCH_DISK")

// BenchmarkPreflight carries out all checks of a system on a disk of 10 GB, as a raw file and as the VMDK that ImportSnapshot takes, opening the file
// included. It has to take less than two seconds.
func BenchmarkPreflight(b *testing.B) {
	if *benchDisk == "" {
		b.Skip("skipped: neither -disk nor INGOT_BENCH_DISK names a raw disk")
	}
	const size, limit = 10 << 30, 2 * time.Second
	raw := change(b, *benchDisk, func(*os.File, int64) {})
	if err := disk.Grow(raw, size); err != nil {
		b.Fatal(err)
	}
	named := raw + ".raw"
	if err := os.Rename(raw, named); err != nil {
		b.Fatal(err)
	}
	for _, run := range []struct {
		path Path
		file string
	}{{EBSDirect, named}, {ImportSnapshot, convert(b, named, disk.VMDK)}} {
		b.Run(string(run.path), func(b *testing.B) {
			checks := 0
			for b.Loop() {
				target, err := Open(b.Context(), run.file, Request{Path: run.path}, Options{})
				if err != nil {
					b.Fatal(err)
				}
				report, err := Run(b.Context(), target)
				if err != nil {
					b.Fatal(err)
				}
				if err := target.Close(); err != nil {
					b.Fatal(err)
				}
				if target.Report == nil || target.Report.System == nil || target.Disk.Size() != size {
					b.Fatalf("%s is no system on a disk of 10 GB", run.file)
				}
				checks = len(report.Findings)
			}
			each := b.Elapsed() / time.Duration(b.N)
			b.ReportMetric(each.Seconds(), "s/preflight")
			b.ReportMetric(float64(checks), "findings")
			if each > limit {
				b.Errorf("a preflight takes %v, and the limit is %v", each, limit)
			}
		})
	}
}
