package ebs

import (
	"context"
	"crypto/sha256"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ingot-image/ingot/disk/image"
	store "github.com/ingot-image/ingot/export/internal/ec2sim/ebs"
)

var (
	benchRounds   = flag.Int("rounds", 5, "rounds of the benchmark")
	benchTable    = flag.String("table", "", "file that the benchmark's table is written to as well")
	benchDisk     = flag.String("disk", "", "raw disk that the benchmark uploads; none: one of 2 GiB that it makes, half of it holes")
	benchColdsnap = flag.String("coldsnap", "", "folder where coldsnap is built, or is already")
)

// coldsnapVersion is the one that is compared with.
const coldsnapVersion = "0.12.0"

const mostMemory = 300 << 20

// cost is what a process took.
type cost struct {
	wall, cpu time.Duration
	memory    int64 // the most, in bytes
	sent      int   // blocks
}

// ebsBench compares uploads of one disk to one server, each a process of its own, in turns.
type ebsBench struct {
	*testing.B
	store *store.Store
	url   string
	disk  string
	runs  map[string][]cost
}

// BenchmarkEBS uploads a disk to a server that verifies and counts blocks but does not keep them, beside coldsnap, and beside the hashing of its blocks alone.
func BenchmarkEBS(b *testing.B) {
	e := &ebsBench{B: b, disk: *benchDisk, runs: map[string][]cost{}}
	if e.disk == "" {
		e.disk = filepath.Join(b.TempDir(), "disk.raw")
		makeDisk(b, e.disk)
	}
	e.store = store.New(store.Options{Discard: true})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	server := &http.Server{Handler: e.store}
	go server.Serve(listener)
	defer server.Close()
	e.url = "http://" + listener.Addr().String()

	others := []string{"ingot", "hashing alone"}
	cold, why := coldsnap(b)
	if why == "" {
		others = append(others, "coldsnap", "coldsnap, zeros too")
	}
	for range b.N {
		for range *benchRounds {
			for _, name := range others {
				e.run(name, cold)
			}
		}
	}
	table := e.table(others, why) + e.incremental()
	fmt.Print("\n", table)
	if *benchTable != "" {
		if err := os.WriteFile(*benchTable, []byte(table), 0o666); err != nil {
			b.Fatal(err)
		}
	}
}

// makeDisk makes a disk with data of no pattern, in runs with holes between them.
func makeDisk(b *testing.B, path string) {
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(2 << 30); err != nil {
		b.Fatal(err)
	}
	r := rand.NewChaCha8([32]byte{1})
	data := make([]byte, 8<<20)
	for at := int64(0); at < 2<<30; at += 16 << 20 {
		r.Read(data)
		if _, err := f.WriteAt(data, at); err != nil {
			b.Fatal(err)
		}
	}
}

// coldsnap gives the program, built if there is cargo; else why there is none.
func coldsnap(b *testing.B) (program, why string) {
	dir := *benchColdsnap
	if dir == "" {
		dir = b.TempDir()
	}
	program = filepath.Join(dir, "bin", "coldsnap")
	if _, err := os.Stat(program); err == nil {
		return program, ""
	}
	cargo, err := exec.LookPath("cargo")
	if err != nil {
		return "", "coldsnap is not compared with: there is no cargo to build it"
	}
	b.Logf("building coldsnap %s, which takes minutes", coldsnapVersion)
	if out, err := exec.Command(cargo, "install", "coldsnap", "--version", coldsnapVersion, "--locked", "--root", dir).CombinedOutput(); err != nil {
		return "", fmt.Sprintf("coldsnap is not compared with: cargo cannot build it (%v: %s)", err, lastLine(out))
	}
	return program, ""
}

func lastLine(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1]
}

// run runs one of them and keeps what it took.
func (e *ebsBench) run(name, cold string) {
	cmd := exec.Command(os.Args[0])
	switch name {
	case "coldsnap":
		cmd = exec.Command(cold, "--region", "eu-west-1", "--endpoint", e.url, "upload", "--no-progress", "--omit-zero-blocks", e.disk)
	case "coldsnap, zeros too":
		cmd = exec.Command(cold, "--region", "eu-west-1", "--endpoint", e.url, "upload", "--no-progress", e.disk)
	}
	cmd.Env = append(os.Environ(), "INGOT_BENCH_EBS="+name, "INGOT_BENCH_EBS_URL="+e.url, "INGOT_BENCH_EBS_DISK="+e.disk,
		"AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=b", "AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE="+os.DevNull, "AWS_SHARED_CREDENTIALS_FILE="+os.DevNull)
	before, start := e.store.Calls("PutSnapshotBlock"), time.Now()
	out, err := cmd.CombinedOutput()
	wall := time.Since(start)
	if err != nil {
		e.Fatalf("%s: %v\n%s", name, err, out)
	}
	usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	e.runs[name] = append(e.runs[name], cost{wall, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), usage.Maxrss << 10, e.store.Calls("PutSnapshotBlock") - before})
	for _, s := range e.store.Snapshots() {
		if s.State != store.Completed {
			e.Fatalf("%s left snapshot %s %s", name, s.ID, s.State)
		}
		e.store.Delete(s.ID)
	}
}

// TestMain lets this test's binary be what the benchmark runs as a process of its own.
func TestMain(m *testing.M) {
	name := os.Getenv("INGOT_BENCH_EBS")
	if name == "" {
		os.Exit(m.Run())
	}
	if err := benchmarked(name); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// benchmarked uploads the benchmark's disk, or hashes its blocks alone.
func benchmarked(name string) error {
	if path := os.Getenv("INGOT_BENCH_EBS_PROFILE"); path != "" && name == "ingot" {
		f, err := os.Create(path)
		if err != nil {
			return err
		}
		pprof.StartCPUProfile(f)
		defer pprof.StopCPUProfile()
	}
	src, err := image.OpenFile(os.Getenv("INGOT_BENCH_EBS_DISK"))
	if err != nil {
		return err
	}
	defer src.Close()
	if name == "ingot" {
		_, err := Upload(context.Background(), clientOf(os.Getenv("INGOT_BENCH_EBS_URL")), src, Options{Describe: &completed{}})
		return err
	}
	return hashBlocks(src)
}

// hashBlocks reads and hashes a disk's blocks, one on each CPU, and does nothing else.
func hashBlocks(src image.Source) error {
	work := make(chan int64)
	var group sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() {
			buffer := make([]byte, BlockSize)
			for at := range work {
				src.ReadAt(buffer, at)
				if !image.IsZero(buffer) {
					sha256.Sum256(buffer)
				}
			}
		})
	}
	next := int64(0)
	err := src.Extents(context.Background(), func(e image.Extent) error {
		for next = max(next, e.Start/BlockSize*BlockSize); next < e.End(); next += BlockSize {
			work <- next
		}
		return nil
	})
	close(work)
	group.Wait()
	return err
}

func median[T int | int64 | time.Duration | float64](list []T) T {
	list = slices.Sorted(slices.Values(list))
	return list[len(list)/2]
}

// of picks something of all runs.
func of[T any](runs []cost, f func(cost) T) []T {
	var list []T
	for _, r := range runs {
		list = append(list, f(r))
	}
	return list
}

// ratio is the median of the rounds' own ratios, which are of the same minute.
func (e *ebsBench) ratio(a, b string) float64 {
	var list []float64
	for i := range e.runs[a] {
		list = append(list, e.runs[a][i].wall.Seconds()/e.runs[b][i].wall.Seconds())
	}
	return median(list)
}

func (e *ebsBench) table(names []string, why string) string {
	var t strings.Builder
	fmt.Fprintf(&t, "EBS direct on loopback, the server on the same %d CPUs; medians of %d rounds, in turns.\n\n", runtime.NumCPU(), *benchRounds)
	fmt.Fprintf(&t, "| what | seconds | CPU seconds | most memory, MiB | blocks sent |\n|---|---:|---:|---:|---:|\n")
	for _, name := range names {
		runs := e.runs[name]
		fmt.Fprintf(&t, "| %s | %.2f | %.2f | %d | %d |\n", name, median(of(runs, func(c cost) time.Duration { return c.wall })).Seconds(),
			median(of(runs, func(c cost) time.Duration { return c.cpu })).Seconds(), slices.Max(of(runs, func(c cost) int64 { return c.memory }))>>20,
			median(of(runs, func(c cost) int { return c.sent })))
	}
	fmt.Fprintf(&t, "\n| goal | wanted | measured | |\n|---|---:|---:|---|\n")
	goal := func(what, wanted string, measured float64, met bool) {
		verdict := "met"
		if !met {
			verdict = "**missed**"
			e.Errorf("missed: %s, %s wanted, %.2f measured", what, wanted, measured)
		}
		fmt.Fprintf(&t, "| %s | %s | %.2f | %s |\n", what, wanted, measured, verdict)
	}
	if why == "" {
		r := e.ratio("ingot", "coldsnap")
		goal("time of coldsnap, which omits zeros too", "at most 1", r, r <= 1)
	} else {
		fmt.Fprintf(&t, "| %s | | | |\n", why)
	}
	memory := slices.Max(of(e.runs["ingot"], func(c cost) int64 { return c.memory }))
	goal("memory, MiB", "at most 300", float64(memory)/(1<<20), memory <= mostMemory)
	fmt.Fprintf(&t, "| time of hashing the blocks alone | | %.2f | |\n", e.ratio("ingot", "hashing alone"))
	return t.String()
}

// incremental changes some bytes of the disk and uploads it again.
func (e *ebsBench) incremental() string {
	src, err := image.OpenFile(e.disk)
	if err != nil {
		e.Fatal(err)
	}
	defer src.Close()
	s := serve(e, store.Options{Discard: true})
	first := s.upload(e, src, Options{})
	r := rand.New(rand.NewPCG(1, 2))
	next := &patched{Source: src, at: map[int64]bool{}}
	changed := map[int32]bool{}
	for i := range first.Digests {
		if at := int64(i)*BlockSize + r.Int64N(BlockSize); len(changed) < 20 && at < src.Size() {
			next.at[at], changed[i] = true, true
		}
	}
	start := time.Now()
	second := s.upload(e, next, Options{Parent: &Parent{first.ID, first.Digests}})
	took := time.Since(start)
	if second.SentBlocks != len(changed) || s.Calls("PutSnapshotBlock") != first.Blocks+len(changed) {
		e.Errorf("%d blocks were sent of a disk with %d changed", second.SentBlocks, len(changed))
	}
	return fmt.Sprintf("\nThe next build, with %d of %d blocks changed: %d sent, in %.2f s.\n", len(changed), first.Blocks, second.SentBlocks, took.Seconds())
}

// patched is a disk with some bytes changed.
type patched struct {
	image.Source
	at map[int64]bool
}

func (p *patched) ReadAt(b []byte, off int64) (int, error) {
	n, err := p.Source.ReadAt(b, off)
	for at := range p.at {
		if at >= off && at < off+int64(n) {
			b[at-off] ^= 0xff
		}
	}
	return n, err
}
