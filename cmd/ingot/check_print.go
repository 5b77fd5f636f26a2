package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/ingot-image/ingot/export/preflight"
)

// printChecked prints what checks found for people: what failed with all that is known, then what could not be told, then how many passed.
func printChecked(w io.Writer, r *preflight.Report, all bool) error {
	for _, f := range r.Failed() {
		printFailed(w, f)
	}
	printUntold(w, r)
	if all {
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		for _, f := range r.Findings {
			if f.Status == preflight.Passed || f.Status == preflight.Skipped {
				row(t, strings.ToLower(string(f.Status)), f.ID, f.Title, f.Reason)
			}
		}
		t.Flush()
		fmt.Fprintln(w)
	}
	_, err := fmt.Fprintf(w, "%s by %s: %s\n", printable(r.Image), r.Path, tally(r))
	return err
}

// printFailed prints a finding, a line for each thing that is known of it.
func printFailed(w io.Writer, f preflight.Finding) {
	level := "warning"
	if f.Level == preflight.Fatal {
		level = "FATAL"
	}
	line := func(label, text string) { fmt.Fprintf(w, "%-14s%-10s%s\n", "", label, printable(text)) }
	fmt.Fprintf(w, "%-8s %-4s %s\n", level, f.ID, printable("not so: "+f.Title))
	line("where", f.Where)
	line("seen", f.Seen)
	line("prevents", f.Prevents)
	line("fix", f.Fix)
	line("build", inBuild(f))
	fmt.Fprintln(w)
}

// inBuild tells what mends a finding in a build.
func inBuild(f preflight.Finding) string {
	switch {
	case f.Component == "":
		return "no component: " + f.NoComponent
	case f.Parameter != "":
		return fmt.Sprintf("the component %s (parameter %s)", f.Component, f.Parameter)
	}
	return "the component " + f.Component
}

// printUntold prints which checks could not tell, with those of one reason in one place.
func printUntold(w io.Writer, r *preflight.Report) {
	ids := map[string][]string{}
	var reasons []string
	for _, f := range r.Findings {
		if f.Status != preflight.Unknown {
			continue
		}
		if ids[f.Reason] == nil {
			reasons = append(reasons, f.Reason)
		}
		ids[f.Reason] = append(ids[f.Reason], f.ID)
	}
	for _, reason := range reasons {
		fmt.Fprintf(w, "cannot tell   %s\n%-14s%-10s%s\n\n", strings.Join(ids[reason], ", "), "", "because", printable(reason))
	}
}

// tally counts what was found.
func tally(r *preflight.Report) string {
	var fatal, warnings, passed, unknown, skipped int
	for _, f := range r.Findings {
		switch {
		case f.Status == preflight.Failed && f.Level == preflight.Fatal:
			fatal++
		case f.Status == preflight.Failed:
			warnings++
		case f.Status == preflight.Passed:
			passed++
		case f.Status == preflight.Unknown:
			unknown++
		default:
			skipped++
		}
	}
	parts := []string{fmt.Sprintf("%d fatal", fatal), counted(warnings, "warning"), fmt.Sprintf("%d passed", passed)}
	if unknown > 0 {
		parts = append(parts, fmt.Sprintf("%d could not tell", unknown))
	}
	if skipped > 0 {
		parts = append(parts, fmt.Sprintf("%d skipped", skipped))
	}
	return strings.Join(parts, ", ")
}
