// Package preflight finds, in a disk image that nobody has booted, what would make its import to AWS fail, or its AMI come up deaf: before
// the upload instead of forty minutes after it.
//
//	target, err := preflight.Open(ctx, "web.vmdk", preflight.Request{Path: preflight.ImportSnapshot}, preflight.Options{})
//	defer target.Close()
//	report, err := preflight.Run(ctx, target)
//	for _, f := range report.Failed() {
//		fmt.Println(f.ID, f.Level, f.Where, f.Seen, f.Prevents, f.Fix)
//	}
//
// Each rule is a [Check] in a file of its own, named after its id: a03_vhd_footers.go. [Checks] lists them. Levels differ by the path that the image takes:
// AWS looks into an image and changes it on ImportImage only, and an image that cannot boot becomes an AMI that cannot boot on the other two without a word.
// Nothing is changed and nothing is booted by a check.
package preflight

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/ingot-image/ingot/disk"
)

// Path is the way an image gets to AWS.
type Path string

// The paths, in the words of package distribution.
const (
	ImportSnapshot Path = "import-snapshot"
	EBSDirect      Path = "ebs-direct"
	ImportImage    Path = "import-image"
)

// Level is how bad it is that a check fails.
type Level string

// The levels. A check without one for a path is not run there.
const (
	Fatal   Level = "fatal"   // the import fails, or the AMI does not come up
	Warning Level = "warning" // it may, or something will be missing
	None    Level = ""
)

// Levels are a check's levels by path.
type Levels struct{ ImportImage, ImportSnapshot, EBSDirect Level }

// On gives the level for a path.
func (l Levels) On(p Path) Level {
	switch p {
	case ImportImage:
		return l.ImportImage
	case EBSDirect:
		return l.EBSDirect
	}
	return l.ImportSnapshot
}

// Check is one rule.
type Check struct {
	ID     string // "A03"
	Title  string // what is right when it passes: "both footers of a VHD agree"
	Looks  string // at what it looks, for docs/check.md: "the VHD's footer, and the copy of it at the file's start"
	Levels Levels
	// Prevents is AWS's own message that failing leads to, verbatim, or, where AWS says nothing, what happens then.
	Prevents string
	Fix      string // one line: what to do
	// Fixable: Fix writes a corrected copy. Component is a managed component that mends it in a build, and Parameter the parameter of it that says how, "" if
	// none does. Without a component NoComponent says why there is none: each check has one of both.
	Fixable     bool
	Component   string
	Parameter   string
	NoComponent string
	// Needs says what has to have been read for the check to be able to tell.
	Needs Need
	// look gives what was seen to be wrong, nothing if the check passes. An error means that it could not tell, a meaningless one that there is
	// nothing to be looked at.
	look func(ctx context.Context, t *Target) ([]Seen, error)
}

// Need is what a check looks at.
type Need int

// The needs, each including those before it.
const (
	NeedFile    Need = iota // the file and its container format
	NeedContent             // the disk in it as bytes
	NeedDisk                // its partition table and file systems
	NeedSystem              // an installed system whose files can be read
)

// Seen is one thing that is wrong.
type Seen struct {
	Where string // "partition 1", "/etc/fstab:3", "offset 0x1fe"
	What  string // what was seen there, with its value
	// Level replaces the check's for this one thing, if given.
	Level Level
	// Prevents and Fix replace the check's, if given. NotFixable: this one thing cannot be mended in a copy.
	Prevents, Fix string
	NotFixable    bool
	Fixable       bool // in a check whose other things cannot be mended
	// Component and NoComponent replace the check's, if one of them is given.
	Component, NoComponent string
}

// meaningless is an error of a look at what is not there: a check of VHDs has nothing to say of a raw disk. The text says why.
type meaningless string

func (m meaningless) Error() string { return string(m) }

// Status is how a check ended.
type Status string

// The statuses.
const (
	Passed  Status = "PASSED"
	Failed  Status = "FAILED"
	Skipped Status = "SKIPPED" // it means nothing for this path or format; Reason says why
	Unknown Status = "UNKNOWN" // it could not tell; Reason says why
)

// Finding is what a check found: one for each thing that is wrong, or one that says that it passed, was skipped or could not tell.
type Finding struct {
	ID       string `json:"id"`
	Title    string `json:"title"`
	Status   Status `json:"status"`
	Level    Level  `json:"level,omitempty"` // that it has if it fails
	Where    string `json:"where,omitempty"`
	Seen     string `json:"seen,omitempty"`
	Reason   string `json:"reason,omitempty"`
	Prevents string `json:"prevents,omitempty"`
	Fix      string `json:"fix,omitempty"`
	Fixable  bool   `json:"fixable,omitempty"` // ingot check --fix mends it
	// Component mends it in a build, as its Parameter says; or NoComponent says why none does.
	Component   string `json:"component,omitempty"`
	Parameter   string `json:"parameter,omitempty"`
	NoComponent string `json:"noComponent,omitempty"`
}

// Request says what an image is to become.
type Request struct {
	Path         Path
	Architecture string      // x86_64, arm64; "": whatever the disk's is
	BootMode     string      // legacy-bios, uefi, uefi-preferred; "": what the disk can
	Format       disk.Format // that the file is declared to have, one of disk.Formats; "": what its name says
	// Shared: others than the owner will launch it, which makes secrets in it fatal.
	Shared bool
	// Converted: the disk in the file is brought into the path's format on its way, so that any format that Ingot reads will do.
	Converted bool
}

// Report is what all checks found.
type Report struct {
	Image    string    `json:"image"`
	Path     Path      `json:"path"`
	Findings []Finding `json:"findings"`
}

// Failed lists the failed findings, fatal ones first.
func (r *Report) Failed() []Finding {
	var fatal, warnings []Finding
	for _, f := range r.Findings {
		switch {
		case f.Status == Failed && f.Level == Fatal:
			fatal = append(fatal, f)
		case f.Status == Failed:
			warnings = append(warnings, f)
		}
	}
	return append(fatal, warnings...)
}

// Fatal tells whether the image must not be imported by the report's path.
func (r *Report) Fatal() bool {
	failed := r.Failed()
	return len(failed) > 0 && failed[0].Level == Fatal
}

// Run carries out all checks.
func Run(ctx context.Context, t *Target) (*Report, error) {
	report := &Report{Image: t.Name, Path: t.Request.Path}
	for _, c := range Checks() {
		findings, err := c.run(ctx, t)
		if err != nil {
			return nil, fmt.Errorf("preflight: %w", err)
		}
		report.Findings = append(report.Findings, findings...)
	}
	return report, nil
}

func (c Check) run(ctx context.Context, t *Target) ([]Finding, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	f := Finding{ID: c.ID, Title: c.Title, Status: Passed, Level: c.Levels.On(t.Request.Path)}
	if f.Level == None {
		f.Status, f.Reason = Skipped, "not looked at by "+string(t.Request.Path)
		return []Finding{f}, nil
	}
	if missing := t.lacks(c.Needs); missing != "" {
		f.Status, f.Reason = Unknown, missing
		return []Finding{f}, nil
	}
	seen, err := c.look(ctx, t)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	var nothing meaningless
	if err != nil {
		f.Status, f.Reason = Unknown, err.Error()
		if errors.As(err, &nothing) {
			f.Status = Skipped
		}
		return []Finding{f}, nil
	}
	if len(seen) == 0 {
		return []Finding{f}, nil
	}
	var findings []Finding
	for _, s := range seen {
		f := f
		f.Status, f.Where, f.Seen, f.Prevents, f.Fix = Failed, s.Where, s.What, c.Prevents, c.Fix
		f.Fixable, f.Component, f.Parameter, f.NoComponent = (c.Fixable || s.Fixable) && !s.NotFixable, c.Component, c.Parameter, c.NoComponent
		if s.Component != "" || s.NoComponent != "" {
			f.Component, f.Parameter, f.NoComponent = s.Component, "", s.NoComponent
		}
		if s.Level != None {
			f.Level = s.Level
		}
		f.Prevents, f.Fix = cmp.Or(s.Prevents, f.Prevents), cmp.Or(s.Fix, f.Fix)
		findings = append(findings, f)
	}
	return findings, nil
}
