package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/ingot-image/ingot/builder"
)

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// printPlan prints a plan for people.
func printPlan(w io.Writer, plan *builder.Plan) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "image\t%s %s\t\n", plan.Name, plan.Version)
	fmt.Fprintf(t, "parent image\t%s\t%s\n", plan.ParentImage.Name, short(plan.ParentImage.Digest))
	for i, c := range plan.Components {
		fmt.Fprintf(t, "component %d\t%s\t%s\t%s\n", i+1, c.Name, short(c.Digest), strings.Join(c.Phases, ", "))
	}
	in := plan.Infrastructure
	fmt.Fprintf(t, "machine\t%d vCPUs, %d MiB, accelerator %s\t\n", in.VCPUs, in.MemoryMiB, in.Accelerator)
	tests := "none"
	if plan.Tests.ImageTestsEnabled {
		tests = "full"
	}
	fmt.Fprintf(t, "tests\t%s\t\n", tests)
	formats := make([]string, len(plan.Distribution.Formats))
	for i, f := range plan.Distribution.Formats {
		formats[i] = string(f)
	}
	fmt.Fprintf(t, "files\t%s in %s\t\n", strings.Join(formats, ", "), plan.Distribution.Folder)
	return t.Flush()
}

// short is a digest as people need it.
func short(digest string) string {
	hex := strings.TrimPrefix(digest, "sha256:")
	return hex[:min(12, len(hex))]
}

// size is a number of bytes in binary units, to three digits.
func size(n int64) string {
	const units = "KMGT"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n)/1024, 0
	for value >= 1024 && unit < len(units)-1 {
		value, unit = value/1024, unit+1
	}
	if value < 10 {
		return fmt.Sprintf("%.1f %ciB", value, units[unit])
	}
	return fmt.Sprintf("%.0f %ciB", value, units[unit])
}

// onDisk is how many bytes a file takes, which is less than its length if it has holes.
func onDisk(path string, length int64) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return length
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Blocks * 512
	}
	return length
}

// elapsed is a duration as people read it: 0.4s, 12s, 3m05s.
func elapsed(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%.0fs", d.Seconds())
	}
	d = d.Round(time.Second)
	return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
}
