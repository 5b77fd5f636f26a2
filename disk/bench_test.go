package disk_test

import (
	"bytes"
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/flate"
	"golang.org/x/sys/unix"

	"github.com/ingot-image/ingot/disk/compress"
	"github.com/ingot-image/ingot/disk/image"
	"github.com/ingot-image/ingot/disk/vmdk"
)

var (
	benchProgram = flag.String("ingot", "", "BenchmarkConvert: the program")
	benchDisk    = flag.String("disk", os.Getenv("INGOT_BENCH_DISK"), "BenchmarkConvert: a raw disk; $INGOT_BENCH_DISK")
	benchRounds  = flag.Int("rounds", 5, "BenchmarkConvert: how often everything is measured")
	benchTable   = flag.String("table", "", "BenchmarkConvert: file for the table")
)

// BenchmarkConvert measures `ingot convert` beside qemu-img, pigz and zstd: each command is run on the same real disk, in turns, -rounds times,
// as a process of its own, so that its CPU time and the most memory it had are the kernel's figures. It fails if a goal is missed.
//
//	make bench-disk
func BenchmarkConvert(b *testing.B) {
	if *benchProgram == "" || *benchDisk == "" {
		b.Skip("-ingot and -disk do not name a program and a disk: use make bench-disk")
	}
	for _, tool := range []string{"qemu-img", "pigz", "zstd"} {
		if _, err := exec.LookPath(tool); err != nil {
			b.Skipf("%s is not installed", tool)
		}
	}
	bench := &convertBench{b: b, dir: b.TempDir(), runs: map[string][]cost{}, sizes: map[string]int64{}}
	bench.load()
	commands := bench.commands()
	for round := range *benchRounds {
		fmt.Fprintf(os.Stderr, "round %d of %d\n", round+1, *benchRounds)
		for _, c := range commands {
			bench.run(c)
		}
		bench.floors()
	}
	table := bench.table(commands)
	fmt.Fprintf(os.Stderr, "\n%s\n", table)
	if *benchTable != "" {
		if err := os.WriteFile(*benchTable, []byte(table), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	for _, missed := range bench.missed {
		b.Error("missed: " + missed)
	}
}

// cost is what one run of a command took.
type cost struct {
	wall, cpu time.Duration
	memory    int64 // most that was resident, in bytes
	read      int64 // bytes that were read from files, by rchar of /proc/PID/io; 0 if it is not told
}

// command is a row of the table: a program that makes files.
type command struct {
	name string
	args []string
	out  []string // files, in the benchmark's folder
}

type convertBench struct {
	b      *testing.B
	dir    string
	disk   string
	huge   string // a disk of 2 TiB with 1 GiB on it
	same   string // a disk of the 1 GiB alone
	held   int64  // bytes of the disk in extents
	size   int64
	pieces []image.Piece
	runs   map[string][]cost
	sizes  map[string]int64 // of what a command makes, in bytes
	missed []string
}

// Names of rows that goals are about.
const (
	vmdkDefault = "ingot: VMDK"
	vmdkFast    = "ingot: VMDK, fast"
	vmdkQEMU    = "qemu-img: VMDK streamOptimized"
	vhdIngot    = "ingot: VHD"
	vhdQEMU     = "qemu-img: VHD"
	rawIngot    = "ingot: raw"
	rawQEMU     = "qemu-img: raw"
	gzipIngot   = "ingot: raw+gzip"
	gzipPigz    = "pigz -6"
	zstdIngot   = "ingot: raw+zstd"
	zstdZstd    = "zstd -T0 -3"
	three       = "ingot: VMDK, raw+gzip and raw+zstd at once"
	hugeIngot   = "ingot: VMDK of 2 TiB that hold 1 GiB"
	sameIngot   = "ingot: VMDK of that 1 GiB alone"
	floorPrefix = "floor: deflate, level "
	ownVMDK     = "VMDK alone, memory to nowhere"
	ownGzip     = "raw+gzip alone, memory to nowhere"
	ownZstd     = "raw+zstd alone, memory to nowhere"
)

func (c *convertBench) path(name string) string { return filepath.Join(c.dir, name) }

func (c *convertBench) commands() []command {
	ingot := func(name, src string, level string, outs ...string) command {
		args := []string{*benchProgram, "convert", "--exact", "--force", "--level", level, src}
		for i, o := range outs {
			outs[i] = c.path(o)
		}
		return command{name, append(args, outs...), outs}
	}
	qemu := func(name, out string, args ...string) command {
		out = c.path(out)
		// -t writeback: what is written is flushed to the disk in the end, as ours is.
		return command{name, append(append([]string{"qemu-img", "convert", "-t", "writeback", "-f", "raw"}, args...), c.disk, out), []string{out}}
	}
	shell := func(name, out, script string) command {
		out = c.path(out)
		return command{name, []string{"sh", "-c", script + ` "$0" > "$1"`, c.disk, out}, []string{out}}
	}
	return []command{
		qemu(vmdkQEMU, "q.vmdk", "-O", "vmdk", "-o", "subformat=streamOptimized"),
		ingot(vmdkDefault, c.disk, "default", "i.vmdk"),
		ingot(vmdkFast, c.disk, "fast", "f.vmdk"),
		qemu(vhdQEMU, "q.vhd", "-O", "vpc"),
		ingot(vhdIngot, c.disk, "default", "i.vhd"),
		qemu(rawQEMU, "q.raw", "-O", "raw"),
		ingot(rawIngot, c.disk, "default", "i.raw"),
		shell(gzipPigz, "p.gz", "exec pigz -6 -c"),
		ingot(gzipIngot, c.disk, "default", "i.raw.gz"),
		shell(zstdZstd, "z.zst", "exec zstd -q -T0 -3 -c"),
		ingot(zstdIngot, c.disk, "default", "i.raw.zst"),
		ingot(three, c.disk, "default", "3.vmdk", "3.raw.gz", "3.raw.zst"),
		ingot(sameIngot, c.same, "default", "s.vmdk"),
		ingot(hugeIngot, c.huge, "default", "h.vmdk"),
	}
}

// load reads what the disk holds, which fills the page cache, too, and makes the disks that are mostly holes.
func (c *convertBench) load() {
	c.disk = *benchDisk
	raw, err := image.OpenFile(c.disk)
	if err != nil {
		c.b.Fatal(err)
	}
	defer raw.Close()
	c.size = raw.Size()
	w := &keeper{pieces: &c.pieces}
	if err := image.Copy(c.b.Context(), raw, image.CopyOptions{}, w); err != nil {
		c.b.Fatal(err)
	}
	raw.Extents(c.b.Context(), func(e image.Extent) error { c.held += e.Size; return nil })
	c.huge, c.same = c.path("huge"), c.path("same")
	const content = 1 << 30
	for path, size := range map[string]int64{c.huge: 2 << 40, c.same: content} {
		f, err := os.Create(path)
		if err != nil {
			c.b.Fatal(err)
		}
		defer f.Close()
		if err := f.Truncate(size); err != nil {
			c.b.Fatal(err)
		}
		r, step := rand.New(rand.NewPCG(1, 2)), size/(content/image.PieceSize)
		for i := range int64(content / image.PieceSize) { // the same pieces, the one disk's far from each other
			p := c.pieces[r.IntN(len(c.pieces))]
			if _, err := f.WriteAt(p.Data, i*step/image.PieceSize*image.PieceSize); err != nil {
				c.b.Fatal(err)
			}
		}
	}
}

// keeper is a writer that keeps pieces.
type keeper struct{ pieces *[]image.Piece }

func (k *keeper) Encode(p image.Piece) (func() error, error) {
	b := bytes.Clone(p.Data)
	return func() error { *k.pieces = append(*k.pieces, image.Piece{Start: p.Start, Data: b}); return nil }, nil
}

func (k *keeper) Finish() error { return nil }

// run runs a command once, with nothing of its last run there.
func (c *convertBench) run(cmd command) {
	for _, out := range cmd.out {
		os.Remove(out)
	}
	p := exec.Command(cmd.args[0], cmd.args[1:]...)
	var say bytes.Buffer
	p.Stdout, p.Stderr = &say, &say
	start := time.Now()
	if err := p.Start(); err != nil {
		c.b.Fatal(err)
	}
	watched := watch(p.Process.Pid)
	// Ended, but not yet forgotten: its figures can still be read.
	unix.Waitid(unix.P_PID, p.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
	took := time.Since(start)
	var read int64
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", p.Process.Pid)); err == nil {
		fmt.Sscanf(string(b), "rchar: %d", &read)
	}
	memory := watched()
	err := p.Wait()
	if err != nil {
		c.b.Fatalf("%s: %v: %s", strings.Join(cmd.args, " "), err, say.Bytes())
	}
	c.runs[cmd.name] = append(c.runs[cmd.name], cost{took, p.ProcessState.UserTime() + p.ProcessState.SystemTime(), memory, read})
	c.sizes[cmd.name] = 0
	for _, out := range cmd.out {
		st, err := os.Stat(out)
		if err != nil {
			c.b.Fatal(err)
		}
		c.sizes[cmd.name] += st.Size()
		os.Remove(out)
	}
}

// watch looks at the most memory that a process has had resident, until the function that it returns is called, which tells it. It is VmHWM of
// /proc/PID/status: the kernel's ru_maxrss counts in what this process had when it started the other one.
func watch(pid int) func() int64 {
	stop, result := make(chan struct{}), make(chan int64)
	go func() {
		most := int64(0)
		for {
			b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
			if _, rest, ok := strings.Cut(string(b), "VmHWM:"); ok {
				var kib int64
				fmt.Sscan(rest, &kib)
				if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); err == nil && exe != self() {
					most = max(most, kib<<10)
				}
			}
			select {
			case <-stop:
				result <- most
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	return func() int64 { close(stop); return <-result }
}

// self is this program, which a process is until it executes its own.
func self() string {
	exe, _ := os.Executable()
	return exe
}

// floors measures the least that the making of VMDKs takes: to deflate the same data, grain by grain, on all CPUs, from memory into none. And what
// the writers take alone, from memory into none, to compare with several of them at once.
func (c *convertBench) floors() {
	for _, level := range []int{1, 6} {
		c.measure(fmt.Sprint(floorPrefix, level), func() { c.deflate(level) })
	}
	discard := struct{ io.Writer }{io.Discard}
	for name, open := range map[string]func() (image.Writer, error){
		ownVMDK: func() (image.Writer, error) { return vmdk.NewWriter(discard, c.size, vmdk.Options{}) },
		ownGzip: func() (image.Writer, error) { return compress.NewGzipWriter(discard, c.size, image.Default) },
		ownZstd: func() (image.Writer, error) { return compress.NewZstdWriter(discard, c.size, image.Default) },
	} {
		c.measure(name, func() {
			w, err := open()
			if err == nil {
				err = image.Copy(c.b.Context(), kept{c}, image.CopyOptions{}, w)
			}
			if err != nil {
				c.b.Fatal(name, ": ", err)
			}
		})
	}
}

// measure has this process do something.
func (c *convertBench) measure(name string, do func()) {
	cpu := func() time.Duration {
		var u syscall.Rusage
		syscall.Getrusage(syscall.RUSAGE_SELF, &u)
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	runtime.GC()
	start, before := time.Now(), cpu()
	do()
	c.runs[name] = append(c.runs[name], cost{wall: time.Since(start), cpu: cpu() - before})
}

func (c *convertBench) deflate(level int) {
	work := make(chan []byte)
	var group sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() {
			var out bytes.Buffer
			w, _ := flate.NewWriter(&out, level)
			for p := range work {
				for grain := range slices.Chunk(p, 64<<10) {
					if image.IsZero(grain) {
						continue
					}
					out.Reset()
					w.Reset(&out)
					w.Write(grain)
					w.Close()
				}
			}
		})
	}
	for _, p := range c.pieces {
		work <- p.Data
	}
	close(work)
	group.Wait()
}

// kept is the disk in memory.
type kept struct{ *convertBench }

func (k kept) Size() int64 { return k.size }

func (k kept) Extents(_ context.Context, f func(image.Extent) error) error {
	for _, p := range k.pieces {
		if err := f(image.Extent{Start: p.Start, Size: int64(len(p.Data))}); err != nil {
			return err
		}
	}
	return nil
}

// ReadAt reads a whole piece.
func (k kept) ReadAt(b []byte, off int64) (int, error) {
	i, ok := slices.BinarySearchFunc(k.pieces, off, func(p image.Piece, off int64) int { return cmp.Compare(p.Start, off) })
	if !ok || len(b) != len(k.pieces[i].Data) {
		return 0, fmt.Errorf("no piece at %d", off)
	}
	return copy(b, k.pieces[i].Data), nil
}

// median of one figure of all runs of a command.
func median[T cmp.Ordered](runs []cost, figure func(cost) T) T {
	var list []T
	for _, r := range runs {
		list = append(list, figure(r))
	}
	slices.Sort(list)
	return list[len(list)/2]
}
