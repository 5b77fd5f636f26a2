package s3_test

import (
	"crypto/sha256"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ingot-image/ingot/export/s3"
)

var (
	benchRounds = flag.Int("rounds", 3, "BenchmarkUpload: how often everything is measured")
	benchMiB    = flag.Int("mib", 1024, "BenchmarkUpload: size of the file in MiB")
	benchTable  = flag.String("table", "", "BenchmarkUpload: file for the table")
)

// debianAWS is the aws command line of Debian's package, whatever else is in PATH.
const debianAWS = "/usr/bin/aws"

// memoryLimit is what an upload may take, in MiB.
const memoryLimit = 300

// BenchmarkUpload uploads the same file to the same server with ours and with `aws s3 cp` as it comes, in turn, each in a process of its own.
func BenchmarkUpload(b *testing.B) {
	if _, err := os.Stat(debianAWS); err != nil {
		b.Skipf("the aws command line is not installed: apt-get install awscli (%v)", err)
	}
	server, client := start(b)
	file := filepath.Join(b.TempDir(), "web.vmdk")
	out, err := os.Create(file)
	for n := 0; n < *benchMiB && err == nil; n++ {
		_, err = out.Write(random(MiB, byte(n)))
	}
	if err != nil {
		b.Fatal(err)
	}
	out.Close()

	ours, theirs := s3.Object{Bucket: "images", Key: "ours"}, s3.Object{Bucket: "images", Key: "theirs"}
	rows := []*benchRow{
		{name: "ingot", start: func() *exec.Cmd { return job{File: file, Object: ours}.command(b) }},
		{name: "aws s3 cp", start: func() *exec.Cmd { return awsCommand(b, "s3", "cp", "--quiet", file, theirs.String()) }},
		{name: "aws s3 ls (its start alone)", start: func() *exec.Cmd { return awsCommand(b, "s3", "ls", "s3://images") }},
	}
	var hashing []float64
	for b.Loop() {
		for range *benchRounds {
			for _, r := range rows {
				r.run(b)
			}
			begin := time.Now()
			if f, err := os.Open(file); err == nil {
				io.Copy(sha256.New(), f)
				f.Close()
			}
			hashing = append(hashing, time.Since(begin).Seconds())
			for _, o := range []s3.Object{ours, theirs} {
				if stored := server.Object(o.Bucket, o.Key); stored == nil || stored.Size() != int64(*benchMiB)*MiB {
					b.Fatalf("%s is not there as a whole", o)
				}
				if err := s3.Delete(b.Context(), client, o); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
	text := benchText(rows, median(hashing))
	fmt.Fprintf(os.Stderr, "\n%s\n", text)
	if *benchTable != "" {
		if err := os.WriteFile(*benchTable, []byte(text), 0o644); err != nil {
			b.Error(err)
		}
	}
	if own, other := median(rows[0].seconds), median(rows[1].seconds); own > other {
		b.Errorf("ingot takes %.2f s, aws s3 cp %.2f s", own, other)
	}
	if rows[0].memory > memoryLimit {
		b.Errorf("ingot takes %d MiB of memory, at most %d are allowed", rows[0].memory, memoryLimit)
	}
}

func awsCommand(b *testing.B, args ...string) *exec.Cmd {
	c := exec.CommandContext(b.Context(), debianAWS, append(args, "--endpoint-url", os.Getenv("AWS_ENDPOINT_URL"))...)
	c.Stderr = os.Stderr
	return c
}

type benchRow struct {
	name    string
	start   func() *exec.Cmd
	seconds []float64
	cpu     []float64 // seconds of user and system
	memory  int64     // most, in MiB
}

func (r *benchRow) run(b *testing.B) {
	b.Helper()
	c := r.start()
	begin := time.Now()
	if err := c.Run(); err != nil {
		b.Fatalf("%s: %v", r.name, err)
	}
	r.seconds = append(r.seconds, time.Since(begin).Seconds())
	r.cpu = append(r.cpu, (c.ProcessState.UserTime() + c.ProcessState.SystemTime()).Seconds())
	r.memory = max(r.memory, c.ProcessState.SysUsage().(*syscall.Rusage).Maxrss>>10)
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

func benchText(rows []*benchRow, hashing float64) string {
	var t strings.Builder
	fmt.Fprintf(&t, "Upload of %d MiB over http to a server on loopback that verifies every byte, medians of %d rounds\n\n", *benchMiB, len(rows[0].seconds))
	fmt.Fprintf(&t, "| | s | MiB/s | CPU s | MiB of memory | times ingot's |\n| --- | --- | --- | --- | --- | --- |\n")
	for _, r := range rows[:2] {
		s := median(r.seconds)
		fmt.Fprintf(&t, "| %s | %.2f | %.0f | %.2f | %d | %.2f |\n", r.name, s, float64(*benchMiB)/s, median(r.cpu), r.memory, s/median(rows[0].seconds))
	}
	fmt.Fprintf(&t, "| %s | %.2f | | | | |\n| SHA-256 of the file alone | %.2f | | | | |\n", rows[2].name, median(rows[2].seconds), hashing)
	return t.String()
}
