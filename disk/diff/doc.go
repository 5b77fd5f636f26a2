// Package diff tells what is different between two installed systems: packages, files, users and groups, services, ports that sockets listen
// on, kernels. It is what a person reads before an image is promoted.
//
//	a, err := inspect.OpenRoot(ctx, old, inspect.Options{})
//	b, err := inspect.OpenRoot(ctx, new, inspect.Options{})
//	…
//	report, err := diff.Diff(ctx, a, b, diff.Options{})
//	…
//	report.Text(os.Stdout, diff.TextOptions{})
//
// The systems are trees of files, as [fs.FS]: where they come from is the caller's. Contents are compared and never shown; of a password only
// whether there is one, and whether it is another one.
//
// # What is left out
//
// Some files differ between any two systems and tell nothing: see [Volatile]. They are counted, and only reported with Options.All. Times of
// modification are not compared.
package diff

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sync/errgroup"
)

// Tree is a system's files: slash-separated names without a leading slash, from its root. ReadDir and Lstat do not follow the last link.
// The Sys of its [fs.FileInfo]s may have the methods Owner() (uid, gid uint32) and FileID() uint64, which is different for all files of a file
// system. It must be safe for several goroutines at once. What packages are installed is known of trees that have the method Packages of
// [inspect.Root], and which file system a folder is in of those with its MountPoint.
type Tree interface {
	fs.StatFS
	fs.ReadDirFS
	fs.ReadLinkFS
}

// Options are options of [Diff].
type Options struct {
	// All reports volatile files, too.
	All bool
	// Progress is told how many files were compared. It must not block.
	Progress func(files int)
}

// Report is what is different. All lists are sorted, and empty rather than nil.
type Report struct {
	// Different tells whether anything in the report is.
	Different bool     `json:"different"`
	Packages  Packages `json:"packages"`
	Files     Files    `json:"files"`
	Users     Users    `json:"users"`
	Groups    Groups   `json:"groups"`
	Services  Services `json:"services"`
	Ports     Ports    `json:"ports"`
	Kernels   Kernels  `json:"kernels"`
	// Problems tell what could not be compared.
	Problems []Problem `json:"problems"`
}

// Problem is something that could not be read.
type Problem struct {
	Side string `json:"side"` // "a" or "b"
	Path string `json:"path"`
	What string `json:"what"`
}

const maxProblems = 1000

// Diff compares two systems: what is only in b was added. A file that cannot be read is a problem in the report, not an error; the error is
// that of ctx, or of a root that cannot be read at all.
func Diff(ctx context.Context, a, b Tree, o Options) (*Report, error) {
	r, err := diff(ctx, a, b, o)
	if err != nil {
		return nil, fmt.Errorf("compare systems: %w", err)
	}
	return r, nil
}

func diff(ctx context.Context, a, b Tree, o Options) (*Report, error) {
	before, after := &side{name: "a", tree: a}, &side{name: "b", tree: b}
	group, ctx := errgroup.WithContext(ctx)
	for _, s := range []*side{before, after} {
		group.Go(func() error { return s.read(ctx) })
	}
	var files Files
	var compared *walk
	group.Go(func() (err error) {
		compared, err = compare(ctx, before, after, o)
		return err
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}
	files = compared.files
	files.attribute(before, after)
	r := &Report{
		Packages: diffPackages(before.packages, after.packages),
		Files:    files,
		Users:    diffUsers(before.users, after.users),
		Groups:   diffGroups(before.groups, after.groups),
		Services: diffServices(before.units, after.units),
		Ports:    diffPorts(before.ports, after.ports),
		Kernels:  diffKernels(before.kernels, after.kernels),
		Problems: append(append([]Problem{}, before.problems...), after.problems...),
	}
	r.Problems = append(r.Problems, compared.problems...)
	r.Different = !r.Packages.empty() || !r.Files.empty() || !r.Users.empty() || !r.Groups.empty() || !r.Services.empty() || !r.Ports.empty() || !r.Kernels.empty()
	return r, nil
}

// side is one of the systems, and what was read of it.
type side struct {
	name     string
	tree     Tree
	packages []Package
	users    map[string]User
	groups   map[string]Group
	units    map[string]Unit
	ports    []Port
	kernels  []Kernel
	problems []Problem
	folders  map[folderID]string // those walked through, by name
	texts    int64               // bytes of texts that were read
}

func (s *side) problem(path string, err error) {
	if errors.Is(err, fs.ErrNotExist) || len(s.problems) >= maxProblems {
		return
	}
	s.problems = append(s.problems, Problem{s.name, path, reason(err)})
}

// reason is an error without the path, which is told beside it.
func reason(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}

// read reads what is known of a system beside its files.
func (s *side) read(ctx context.Context) error {
	if _, err := s.tree.ReadDir("."); err != nil {
		return err
	}
	s.readPackages(ctx)
	if err := s.readAccounts(ctx); err != nil {
		return err
	}
	if err := s.readUnits(ctx); err != nil {
		return err
	}
	s.readKernels()
	return ctx.Err()
}

// text reads a whole file of at most 4 MiB as text. One that is not there is empty, and so are all when too much was read.
func (s *side) text(path string) string {
	if s.texts > maxTexts {
		return ""
	}
	data, err := readFile(s.tree, path)
	if err != nil {
		s.problem(path, err)
	}
	if s.texts += int64(len(data)) + 4096; s.texts > maxTexts {
		s.problem(path, errors.New("more than 512 MiB of units and lists of packages were read, the rest is passed over"))
	}
	if err != nil {
		return ""
	}
	return string(data)
}
