package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ingot-image/ingot/builder"
	"github.com/ingot-image/ingot/builder/base"
)

var (
	benchProgram = flag.String("ingot", "ingot", "BenchmarkBuild: the program; by default that of the test")
	benchRounds  = flag.Int("rounds", 3, "BenchmarkBuild: how often everything is measured")
	benchPacker  = flag.Bool("packer", true, "BenchmarkBuild: measure Packer, too")
	benchTable   = flag.String("table", "", "BenchmarkBuild: file for the table")
)

// BenchmarkBuild measures what warm builds save, with the real program on testdata/recipes/five.yaml, and the same work in Packer's QEMU
// builder. Everything is measured in turns, -rounds times, and the medians are told as a table in Markdown; it fails if a goal is
// missed. All of it depends on what else the machine does meanwhile: compare only figures of one run.
//
//	make bench-build
func BenchmarkBuild(b *testing.B) {
	bench := newBuildBench(b)
	for round := range *benchRounds {
		fmt.Fprintf(os.Stderr, "round %d of %d\n", round+1, *benchRounds)
		bench.round(round)
	}
	table := bench.table()
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

// What is measured, in seconds. Stages of a build are "edited/boot" and so on.
const (
	coldUnsaved  = "cold, no layer saved"
	cold         = "cold"
	unchanged    = "unchanged"
	edited       = "edited"
	packerCold   = "Packer, cold"
	packerEdited = "Packer, edited"
)

// buildBench is one run of the benchmark.
type buildBench struct {
	b       *testing.B
	dir     string
	bases   string
	base    *base.Base
	recipe  string // a copy that may be edited
	edits   int
	noSave  bool    // the program can
	guests  string  // how large they are
	machine string  // this one
	packer  *packer // nil if it is not measured
	times   map[string][]float64
	missed  []string
}

func newBuildBench(b *testing.B) *buildBench {
	if testing.Short() {
		b.Skip("builds are not short")
	}
	for _, tool := range []string{"qemu-system-x86_64", "qemu-img", "mmdebstrap"} {
		if _, err := exec.LookPath(tool); err != nil {
			b.Skipf("%s is not installed", tool)
		}
	}
	dir, err := os.MkdirTemp("", "ingot-bench-") // not b.TempDir: paths of sockets are to be short
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	s := &buildBench{b: b, dir: dir, bases: sharedBases(b), times: map[string][]float64{}}
	if s.base, err = (&base.Store{Dir: s.bases}).Get(b.Context(), base.Source{Debian: "debian-12"}, nil); err != nil {
		b.Fatal(err)
	}
	// What is read of the base comes from memory, from the first build on.
	for _, path := range []string{s.base.Disk, s.base.Kernel, s.base.Initrd} {
		f, err := os.Open(path)
		if err != nil {
			b.Fatal(err)
		}
		io.Copy(io.Discard, f)
		f.Close()
	}
	recipes := filepath.Join(dir, "recipes")
	if err := os.CopyFS(recipes, os.DirFS(filepath.Join(repository, "testdata/recipes"))); err != nil {
		b.Fatal(err)
	}
	s.recipe = filepath.Join(recipes, "five.yaml")
	help, err := exec.Command(*benchProgram, "build", "--help").Output()
	if err != nil {
		b.Fatal(err)
	}
	s.noSave = bytes.Contains(help, []byte("--no-save"))
	plan, err := s.command(s.home(), "plan", s.recipe, "--json").Output()
	if err != nil {
		b.Fatal(err)
	}
	var planned struct {
		Machine struct{ VCPUs, Memory int } `json:"infrastructureConfiguration"`
	}
	if err := json.Unmarshal(plan, &planned); err != nil {
		b.Fatal(err)
	}
	s.guests = fmt.Sprintf("guests of %d vCPUs and %d MiB", planned.Machine.VCPUs, planned.Machine.Memory)
	if *benchPacker {
		b.Setenv("CHECKPOINT_DISABLE", "1") // it asks for newer versions otherwise
		s.packer = newPacker(s, planned.Machine.VCPUs, planned.Machine.Memory)
	}
	s.machine = s.host()
	return s
}

// home makes a home of its own, with the base in it and nothing else.
func (s *buildBench) home() string {
	home, err := os.MkdirTemp(s.dir, "home")
	if err == nil {
		err = os.Symlink(s.bases, filepath.Join(home, "bases"))
	}
	if err != nil {
		s.b.Fatal(err)
	}
	return home
}

func (s *buildBench) command(home string, args ...string) *exec.Cmd {
	cmd := exec.Command(*benchProgram, args...)
	cmd.Env = append(os.Environ(), "INGOT_HOME="+home)
	return cmd
}

// round measures everything once. Homes go as soon as they are not needed. What is compared takes turns in being first.
func (s *buildBench) round(n int) {
	parts := []func(){s.warm, s.unsaved}
	if n%2 == 1 {
		slices.Reverse(parts)
	}
	for _, part := range append(parts, s.other) {
		part()
	}
}

// warm builds cold, with nothing edited, and with the last component edited.
func (s *buildBench) warm() {
	home := s.home()
	defer os.RemoveAll(home)
	s.build(cold, home)
	s.build(unchanged, home)
	s.edit()
	s.build(edited, home)
}

// unsaved builds cold without saving layers.
func (s *buildBench) unsaved() {
	home := s.home()
	defer os.RemoveAll(home)
	if s.noSave {
		s.build(coldUnsaved, home, "--no-save")
	}
}

// other is the same work in Packer, which begins anew after an edit.
func (s *buildBench) other() {
	if s.packer != nil {
		s.add(packerCold, s.packer.build())
		s.edit()
		s.add(packerEdited, s.packer.build())
	}
}

var expires = regexp.MustCompile(`expires \d+m;`)

// edit changes a line of the last component.
func (s *buildBench) edit() {
	path := filepath.Join(filepath.Dir(s.recipe), "components/five/configuration.yaml")
	data, err := os.ReadFile(path)
	if err != nil {
		s.b.Fatal(err)
	}
	s.edits++
	changed := expires.ReplaceAll(data, fmt.Appendf(nil, "expires %dm;", 20+s.edits))
	if bytes.Equal(changed, data) {
		s.b.Fatal("there is nothing to edit in " + path)
	}
	if err := os.WriteFile(path, changed, 0o644); err != nil {
		s.b.Fatal(err)
	}
}

// build builds the recipe once, in a process of its own, and keeps the time of that and of its stages.
func (s *buildBench) build(name, home string, args ...string) {
	out := filepath.Join(home, "out")
	cmd := s.command(home, append([]string{"build", s.recipe, "--test=none", "--json", "-o", out}, args...)...)
	var events, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &events, &errs
	start := time.Now()
	err := cmd.Run()
	took := time.Since(start).Seconds()
	if err != nil {
		s.b.Fatalf("%s: %v\n%s", name, err, errs.String())
	}
	timings, err := builder.ReadTimings(&events)
	if err != nil {
		s.b.Fatal(err)
	}
	s.add(name, took)
	for _, stage := range timings.Stages {
		s.add(name+"/"+stage.Name, stage.Duration().Seconds())
	}
	fmt.Fprintf(os.Stderr, "  %-22s %7.2f s\n", name, took)
}

func (s *buildBench) add(name string, seconds float64) {
	s.times[name] = append(s.times[name], seconds)
}

// median is that of a thing measured, and whether it was.
func (s *buildBench) median(name string) (seconds float64, ok bool) {
	times := slices.Sorted(slices.Values(s.times[name]))
	n := len(times)
	if n == 0 {
		return 0, false
	}
	return (times[(n-1)/2] + times[n/2]) / 2, true
}

// table tells the medians, and what they come to beside the goals.
func (s *buildBench) table() string {
	var t strings.Builder
	fmt.Fprintf(&t, "Medians of %d rounds, %s. %s.\n\n", *benchRounds, time.Now().UTC().Format(time.DateOnly), s.machine)
	t.WriteString("| | Ingot | Packer | Ratio | Goal |\n| --- | ---: | ---: | ---: | --- |\n")
	row := func(name, ingot, packer, ratio, goal string) {
		fmt.Fprintf(&t, "| %s | %s | %s | %s | %s |\n", name, ingot, packer, ratio, goal)
	}
	goal := func(text string, met bool) string {
		if !met {
			s.missed = append(s.missed, text)
			return text + ": **missed**"
		}
		return text
	}
	times := func(a, b float64) string { return fmt.Sprintf("%.1f ×", a/b) }

	coldTime, _ := s.median(cold)
	boot, _ := s.median(cold + "/" + builder.StageBoot)
	beside, against := "", ""
	if p, ok := s.median(packerCold); ok {
		beside, against = seconds(p), "Packer / Ingot "+times(p, coldTime)
	}
	if plain, ok := s.median(coldUnsaved); ok {
		row("cold build, no layer saved", seconds(plain), "", "", "")
		overhead := (coldTime/plain - 1) * 100
		row("cold build", seconds(coldTime), beside, against, "")
		row("overhead of saving layers", fmt.Sprintf("%+.1f %%", overhead), "", "", goal("at most 10 %", overhead <= 10))
		boot, _ = s.median(coldUnsaved + "/" + builder.StageBoot)
	} else {
		row("cold build", seconds(coldTime), beside, against, "")
	}
	editedTime, _ := s.median(edited)
	beside, against = "", times(coldTime, editedTime)+" faster than cold"
	if p, ok := s.median(packerEdited); ok {
		beside = seconds(p)
		against += ", Packer / Ingot " + times(p, editedTime)
	}
	row("last component edited", seconds(editedTime), beside, against, goal("at most 1/8 of a cold build", editedTime*8 <= coldTime))
	none, _ := s.median(unchanged)
	row("nothing edited", seconds(none), "", "", goal("under 1 s", none < 1))
	row("boot to agent ready", seconds(boot), "", "", "")
	ready, _ := s.median(edited + "/" + builder.StageBoot)
	row("guest ready from a layer", seconds(ready), "", times(boot, ready)+" faster than a boot",
		goal("at most 1 s", ready <= 1)+"; "+goal("at least 15 × faster than a boot", ready*15 <= boot))

	t.WriteString("\n| Stage | cold | last component edited |\n| --- | ---: | ---: |\n")
	for _, stage := range []string{builder.StageResolve, builder.StageBase, builder.StageBoot, builder.StageApply, builder.StageFinalise, builder.StageFlatten, builder.StageDistribute} {
		a, _ := s.median(cold + "/" + stage)
		b, _ := s.median(edited + "/" + stage)
		fmt.Fprintf(&t, "| `%s` | %s | %s |\n", stage, seconds(a), seconds(b))
	}
	t.WriteString("\nAll figures, in seconds:\n\n")
	for _, name := range slices.Sorted(maps.Keys(s.times)) {
		if !strings.Contains(name, "/") {
			fmt.Fprintf(&t, "- %s: %.2f\n", name, s.times[name])
		}
	}
	return t.String()
}

func seconds(s float64) string {
	if s < 10 {
		return fmt.Sprintf("%.2f s", s)
	}
	return fmt.Sprintf("%.1f s", s)
}

// host describes the machine.
func (s *buildBench) host() string {
	first := func(file, pattern string) string {
		data, _ := os.ReadFile(file)
		if m := regexp.MustCompile("(?m)" + pattern).FindSubmatch(data); m != nil {
			return string(m[1])
		}
		return "?"
	}
	said := func(pattern string, args ...string) string {
		out, _ := exec.Command(args[0], args[1:]...).Output()
		if m := regexp.MustCompile(pattern).FindSubmatch(out); m != nil {
			return string(m[1])
		}
		return "?"
	}
	var kib int
	fmt.Sscan(first("/proc/meminfo", `^MemTotal: +(\d+)`), &kib)
	parts := []string{
		fmt.Sprintf("%d × %s", runtime.NumCPU(), first("/proc/cpuinfo", `^model name\s*: (.*)$`)),
		fmt.Sprintf("%d GiB", (kib+1<<19)>>20), first("/etc/os-release", `^PRETTY_NAME="(.*)"`),
		"QEMU " + said(`version ([0-9.]+)`, "qemu-system-x86_64", "--version") + " with TCG", s.guests,
		said(`^(ingot \S+)`, *benchProgram, "version"),
	}
	if s.packer != nil {
		parts = append(parts, said(`(Packer v?[0-9.]+)`, "packer", "version"))
	}
	parts = append(parts, "load average at the beginning "+first("/proc/loadavg", `^(\S+)`))
	return strings.Join(parts, ", ")
}
