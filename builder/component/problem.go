package component

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one mistake in a file written by the user.
type Problem struct {
	// File is the name of the file as it was given. Empty when the problem belongs to no file.
	File string `json:"file,omitempty"`
	// Line and Column are counted from 1; 0 means unknown.
	Line   int `json:"line,omitempty"`
	Column int `json:"column,omitempty"`
	// Field is the path of the field, such as "phases[0].steps[2].inputs.commands".
	Field string `json:"field,omitempty"`
	// Message says what is wrong, in lower case and without a full stop.
	Message string `json:"message"`
	// Hint says what to do about it. May be empty.
	Hint string `json:"hint,omitempty"`
}

// String returns "FILE:LINE:COLUMN: FIELD: message; hint", without the parts that are unknown.
func (p Problem) String() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File + ":")
	}
	if p.Line > 0 {
		fmt.Fprintf(&b, "%d:", p.Line)
		if p.Column > 0 {
			fmt.Fprintf(&b, "%d:", p.Column)
		}
	}
	if b.Len() > 0 {
		b.WriteByte(' ')
	}
	if p.Field != "" {
		b.WriteString(p.Field + ": ")
	}
	b.WriteString(p.Message)
	if p.Hint != "" {
		b.WriteString("; " + p.Hint)
	}
	return b.String()
}

// Problems is an error that holds everything wrong with one or more files. Use [errors.As] to get at the single problems.
type Problems []Problem

// Error returns one problem a line, sorted by file, line and column.
func (ps Problems) Error() string {
	var lines []string
	for _, p := range ps.Sorted() {
		lines = append(lines, p.String())
	}
	return strings.Join(lines, "\n")
}

// Sorted returns the problems in the order of file, line and column, without those that are there twice.
func (ps Problems) Sorted() Problems {
	sorted := slices.Clone(ps)
	slices.SortStableFunc(sorted, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return slices.Compact(sorted)
}

// Err returns the sorted problems as an error, or nil when there are none.
func (ps Problems) Err() error {
	if len(ps) == 0 {
		return nil
	}
	return ps.Sorted()
}
