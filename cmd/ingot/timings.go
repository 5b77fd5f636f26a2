package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/ingot-image/ingot/builder"
	"github.com/ingot-image/ingot/disk"
)

// timing gathers where a build's time goes, tells it at the end, and writes it to files if asked to.
type timing struct {
	timeline builder.Timeline
	output   string // folder of the finished files
	logs     string // of the failed build
}

// event takes one event of the build.
func (t *timing) event(e builder.Event) {
	t.timeline.Add(e)
	if e.Folder != "" {
		t.output = e.Folder
	}
	if e.Type == builder.BuildEnded && e.Failure != nil {
		t.logs = e.Failure.Log
	}
}

// print writes the table of stages. A build that ended before it had a number has none.
func (t *timing) print(w io.Writer) error {
	timings := t.timeline.Timings()
	if timings.Image == "" {
		return nil
	}
	fmt.Fprintln(w)
	return printTimings(w, timings)
}

// write writes NAME-VERSION-BUILD.timings.json and .trace.json: beside the finished files, or to the logs of a build that failed.
func (t *timing) write() error {
	timings := t.timeline.Timings()
	folder := t.output
	if timings.Failed {
		folder = t.logs
	}
	if timings.Image == "" || folder == "" {
		return nil
	}
	stem := filepath.Join(folder, strings.ReplaceAll(timings.Image, "/", "-"))
	return errors.Join(
		writeFile(stem+".timings.json", func(w io.Writer) error { return printJSON(w, timings) }),
		writeFile(stem+".trace.json", timings.WriteTrace),
	)
}

// writeFile writes a file that appears when it is complete, in the place of an earlier one.
func writeFile(path string, write func(io.Writer) error) error {
	f, err := disk.Create(path)
	if err != nil {
		return fmt.Errorf("write the timings: %w", err)
	}
	defer f.Close()
	err = write(f)
	if err == nil {
		err = f.Commit()
	}
	if err != nil {
		return fmt.Errorf("write the timings: %w", err)
	}
	return nil
}

// printTimings prints the stages with their parts: time, and what came from where.
func printTimings(w io.Writer, t *builder.Timings) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, time, note string) {
		fmt.Fprintln(table, strings.TrimRight(printable(name)+"\t"+fmt.Sprintf("%6s", time)+"\t"+printable(note), "\t "))
	}
	row("stage", "time", "")
	for _, s := range t.Stages {
		row(s.Name, elapsed(s.Duration()), stageNote(t, s))
		for _, c := range s.Components {
			switch {
			case c.Cached:
				row("  "+c.Name, "-", "cached")
			case c.After != "":
				row("  "+c.Name, elapsed(c.Duration()), "cached up to step "+c.After)
			default:
				row("  "+c.Name, elapsed(c.Duration()), "")
			}
		}
		saved, took := 0, builder.Span{}
		for _, l := range t.Saved {
			if l.Stage == s.Name {
				saved, took.DurationMS = saved+1, took.DurationMS+l.DurationMS
			}
		}
		if saved > 0 {
			row("  layers", elapsed(took.Duration()), fmt.Sprintf("%d saved", saved))
		}
		for _, test := range s.Tests {
			note := "" // stopped
			if test.Status != "" {
				note = strings.ToLower(test.Status)
			}
			row("  "+test.Name, elapsed(test.Duration()), note)
		}
	}
	row("total", elapsed(builder.Span{DurationMS: t.DurationMS}.Duration()), "")
	return table.Flush()
}

func stageNote(t *builder.Timings, s builder.StageTiming) string {
	switch l := t.Layer; {
	case s.Failed:
		return "failed"
	case s.Name == builder.StageBoot && l != nil && l.Memory:
		return "cached"
	case s.Name == builder.StageBoot && l != nil:
		return strings.TrimRight("from the disk of a layer: "+l.Why, ": ")
	case s.Cached:
		return "cached"
	}
	return ""
}
