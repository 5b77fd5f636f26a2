package disk_test

import (
	"fmt"
	"runtime"
	"strings"
	"time"
)

// Goals of the benchmark.
const (
	mostMemory  = 200 << 20 // of any conversion, in bytes
	alikeSize   = 1.01      // what "at its size" allows
	alikeSpeed  = 1.0       // what "at least the speed" wants
	hugeAllowed = 1.25      // of the time of a disk without holes
)

// table is all medians in Markdown, and which goals are missed.
func (c *convertBench) table(commands []command) string {
	var t strings.Builder
	fmt.Fprintf(&t, "A disk of %d MiB, %d MiB of it in extents; %d CPUs; medians of %d, in turns.\n\n",
		c.size>>20, c.held>>20, runtime.NumCPU(), *benchRounds)
	fmt.Fprintf(&t, "| what | seconds | CPU seconds | MiB | most memory, MiB | read, MiB |\n|---|---:|---:|---:|---:|---:|\n")
	for _, cmd := range commands {
		fmt.Fprintf(&t, "| %s | %.2f | %.2f | %.1f | %d | %d |\n", cmd.name, c.wall(cmd.name), c.cpu(cmd.name), float64(c.sizes[cmd.name])/(1<<20),
			c.memory(cmd.name)>>20, median(c.runs[cmd.name], func(r cost) int64 { return r.read })>>20)
	}
	for _, name := range []string{floorPrefix + "1", floorPrefix + "6", ownVMDK, ownGzip, ownZstd} {
		fmt.Fprintf(&t, "| %s | %.2f | %.2f | | | |\n", name, c.wall(name), c.cpu(name))
	}

	fmt.Fprintf(&t, "\n| goal | wanted | measured | |\n|---|---:|---:|---|\n")
	goal := func(what string, least bool, want, got float64) {
		sign, ok := "at most", got <= want
		if least {
			sign, ok = "at least", got >= want
		}
		verdict := "met"
		if !ok {
			verdict = "**missed**"
			c.missed = append(c.missed, fmt.Sprintf("%s: %.2f; wanted: %s %.2f", what, got, sign, want))
		}
		fmt.Fprintf(&t, "| %s | %s %.2f | %.2f | %s |\n", what, sign, want, got, verdict)
	}
	faster := func(what, ours, theirs string, want float64) { goal(what, true, want, c.wall(theirs)/c.wall(ours)) }
	size := func(what, ours, theirs string, want float64) {
		goal(what, false, want, float64(c.sizes[ours])/float64(c.sizes[theirs]))
	}
	faster("VMDK: times qemu-img's speed", vmdkDefault, vmdkQEMU, 6)
	size("VMDK: times qemu-img's size", vmdkDefault, vmdkQEMU, 1.05)
	faster("VMDK, fast: times qemu-img's speed", vmdkFast, vmdkQEMU, 10)
	faster("VHD: times qemu-img's speed", vhdIngot, vhdQEMU, alikeSpeed)
	faster("raw: times qemu-img's speed", rawIngot, rawQEMU, alikeSpeed)
	faster("raw+gzip: times pigz's speed", gzipIngot, gzipPigz, 3)
	size("raw+gzip: times pigz's size", gzipIngot, gzipPigz, 1.06)
	goal("raw+zstd: times zstd's time", false, 1.10, c.wall(zstdIngot)/c.wall(zstdZstd))
	size("raw+zstd: times zstd's size", zstdIngot, zstdZstd, alikeSize)

	// The slowest alone, and of the others what they compress: they share the reading.
	whole := map[string]string{vmdkDefault: ownVMDK, gzipIngot: ownGzip, zstdIngot: ownZstd}
	slowest := vmdkDefault
	for name := range whole {
		if c.cpu(name) > c.cpu(slowest) {
			slowest = name
		}
	}
	sum := c.cpu(slowest)
	for name, own := range whole {
		if name != slowest {
			sum += c.cpu(own)
		}
	}
	goal("three formats at once: CPU time, times the slowest and the others' compression", false, 1.15, c.cpu(three)/sum)
	read := func(name string) float64 {
		return float64(median(c.runs[name], func(r cost) int64 { return r.read }))
	}
	if read(vmdkDefault) > 0 {
		goal("three formats at once: bytes read, times those for one", false, 1.01, read(three)/read(vmdkDefault))
	}
	goal("2 TiB that hold 1 GiB: time, times that of the 1 GiB alone", false, hugeAllowed, c.wall(hugeIngot)/c.wall(sameIngot))
	most, who := int64(0), ""
	for _, cmd := range commands {
		if m := c.memory(cmd.name); strings.HasPrefix(cmd.name, "ingot:") && m > most {
			most, who = m, cmd.name
		}
	}
	goal("memory, MiB, of "+who, false, mostMemory>>20, float64(most)/(1<<20))

	fmt.Fprintf(&t, "\nHow near the limit, which is the time to deflate the same grains on all CPUs from memory into none: VMDK %.2f times, fast %.2f times it.\n",
		c.wall(vmdkDefault)/c.wall(floorPrefix+"6"), c.wall(vmdkFast)/c.wall(floorPrefix+"1"))
	return t.String()
}

func (c *convertBench) wall(name string) float64 {
	return median(c.runs[name], func(r cost) time.Duration { return r.wall }).Seconds()
}

func (c *convertBench) cpu(name string) float64 {
	return median(c.runs[name], func(r cost) time.Duration { return r.cpu }).Seconds()
}

// memory is the most of all runs.
func (c *convertBench) memory(name string) int64 {
	most := int64(0)
	for _, r := range c.runs[name] {
		most = max(most, r.memory)
	}
	return most
}
