package diff

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// Bounds of a tree.
const (
	maxDepth   = 256
	maxEntries = 4 << 20
	maxPath    = 4096      // bytes of a path, as Linux's PATH_MAX
	maxMemory  = 512 << 20 // bytes that the lists of files take
	maxText    = 4 << 20   // bytes of a file that is read as text
	maxTexts   = 512 << 20 // bytes of all of them
)

// walk is a comparison of two trees under way.
type walk struct {
	a, b     *side
	all      bool
	noise    *noise
	pairs    chan pair
	entries  int
	files    Files
	problems []Problem

	mu       sync.Mutex // over changed and problems
	compared atomic.Int64
	memory   atomic.Int64 // of what was found, in bytes
}

// folderID tells a folder from all others of a tree.
type folderID struct {
	mount string
	id    uint64
}

// pair is a regular file of the same length in both.
type pair struct {
	name          string
	before, after File
}

// compare walks through both trees at once. Files of the same length are read by several goroutines meanwhile.
func compare(ctx context.Context, a, b *side, o Options) (*walk, error) {
	// The sides' own lists of problems are another goroutine's.
	w := &walk{a: walked("a", a.tree), b: walked("b", b.tree), all: o.All, noise: newNoise(), pairs: make(chan pair, 256)}
	w.files = Files{Added: []File{}, Removed: []File{}, Changed: []FileChange{}}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(w.pairs)
		return w.folder(ctx, ".", nil, nil, false, 0)
	})
	for range max(2, runtime.GOMAXPROCS(0)) {
		group.Go(func() error {
			buffers := [2][]byte{make([]byte, 256<<10), make([]byte, 256<<10)}
			for p := range w.pairs {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				w.contents(p, buffers)
				if n := w.compared.Add(1); o.Progress != nil && n%256 == 0 {
					o.Progress(int(n))
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	w.files.Compared = int(w.compared.Load())
	slices.SortFunc(w.files.Changed, func(x, y FileChange) int { return strings.Compare(x.Path, y.Path) })
	slices.SortFunc(w.problems, func(x, y Problem) int { return strings.Compare(x.Path, y.Path) })
	w.problems = append(append(w.problems, w.a.problems...), w.b.problems...)
	return w, nil
}

func walked(name string, tree Tree) *side {
	return &side{name: name, tree: tree, folders: map[folderID]string{}}
}

// twice tells whether a folder was walked through by another name. No file system's driver makes such folders, and a few of them have more paths
// than anybody could walk.
func (s *side) twice(name string, info fs.FileInfo) bool {
	if info == nil {
		return false
	}
	file, ok := info.Sys().(interface{ FileID() uint64 })
	if !ok {
		return false
	}
	id := folderID{id: file.FileID()}
	if m, ok := s.tree.(interface{ MountPoint(string) string }); ok {
		id.mount = m.MountPoint(name)
	}
	first, known := s.folders[id]
	if known {
		s.problem(name, fmt.Errorf("it is the folder %s by another name, which no sound file system has", first))
		return true
	}
	s.folders[id] = name
	return false
}

// list gives a folder's entries by name.
func (w *walk) list(s *side, name string, info fs.FileInfo) map[string]fs.FileInfo {
	if s.twice(name, info) {
		return nil
	}
	entries, err := s.tree.ReadDir(name)
	if err != nil {
		s.problem(name, err)
	}
	found := make(map[string]fs.FileInfo, len(entries))
	for _, e := range entries {
		if len(name)+1+len(e.Name()) > maxPath {
			s.problem(name, errors.New("the paths of files in it are longer than 4096 bytes"))
			continue
		}
		info, err := e.Info()
		if err != nil {
			s.problem(path.Join(name, e.Name()), err)
			continue
		}
		found[e.Name()] = info
	}
	return found
}

// folder compares a folder that is in both.
func (w *walk) folder(ctx context.Context, name string, old, now fs.FileInfo, volatile bool, depth int) error {
	if depth > maxDepth {
		return tooDeep(name)
	}
	before, after := w.list(w.a, name, old), w.list(w.b, name, now)
	names := make([]string, 0, len(before))
	for n := range before {
		names = append(names, n)
	}
	for n := range after {
		if _, both := before[n]; !both {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	for _, n := range names {
		if err := w.count(ctx); err != nil {
			return err
		}
		at := path.Join(name, n)
		if (volatile || w.noise.is(at)) && !w.all {
			w.files.Ignored++
			continue
		}
		old, inA := before[n]
		now, inB := after[n]
		var err error
		switch {
		case !inA:
			err = w.only(ctx, w.b, at, now, volatile, depth, &w.files.Added)
		case !inB:
			err = w.only(ctx, w.a, at, old, volatile, depth, &w.files.Removed)
		default:
			err = w.both(ctx, at, old, now, volatile, depth)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func tooDeep(name string) error {
	return fmt.Errorf("folders are nested more than %d deep: %s", maxDepth, path.Join("…", path.Base(name)))
}

// memory is about what a file takes in a list, in bytes.
func (f *File) memory() int64 { return int64(len(f.Path) + len(f.Target) + 128) }

func (w *walk) count(ctx context.Context) error {
	if w.entries++; w.entries > maxEntries {
		return fmt.Errorf("there are more than %d files", maxEntries)
	}
	if w.memory.Load() > maxMemory {
		return errors.New("there are too many differences for a list of them")
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// only takes what is on one side, with all that is below.
func (w *walk) only(ctx context.Context, s *side, at string, info fs.FileInfo, volatile bool, depth int, list *[]File) error {
	if depth > maxDepth {
		return tooDeep(at)
	}
	if (volatile || w.noise.is(at) || w.noise.below(at)) && !w.all {
		w.files.Ignored++
		return nil
	}
	f := s.describe(at, info)
	w.memory.Add(f.memory())
	*list = append(*list, f)
	if !info.IsDir() {
		return nil
	}
	volatile = volatile || w.noise.below(at)
	found := w.list(s, at, info)
	names := make([]string, 0, len(found))
	for n := range found {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		if err := w.count(ctx); err != nil {
			return err
		}
		below := path.Join(at, n)
		if err := w.only(ctx, s, below, found[n], volatile, depth+1, list); err != nil {
			return err
		}
	}
	return nil
}

// both compares what is in both trees. A folder in the place of a file is a change of its type, and what is below it was added.
func (w *walk) both(ctx context.Context, at string, old, now fs.FileInfo, volatile bool, depth int) error {
	before, after := w.a.describe(at, old), w.b.describe(at, now)
	var what []string
	if before.Type != after.Type {
		what = append(what, "type")
		if err := w.below(ctx, w.a, at, old, volatile, depth, &w.files.Removed); err != nil {
			return err
		}
		if err := w.below(ctx, w.b, at, now, volatile, depth, &w.files.Added); err != nil {
			return err
		}
		w.change(at, what, before, after)
		return nil
	}
	switch before.Type {
	case "folder":
		w.change(at, metadata(before, after, nil), before, after)
		return w.folder(ctx, at, old, now, volatile || w.noise.below(at), depth+1)
	case "file":
		if before.Size == after.Size && before.Size > 0 {
			select {
			case w.pairs <- pair{at, before, after}:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		if before.Size != after.Size {
			what = append(what, "content")
		}
		w.compared.Add(1)
	case "link":
		if before.Target != after.Target {
			what = append(what, "target")
		}
	}
	w.change(at, metadata(before, after, what), before, after)
	return nil
}

// below takes what is below a folder that is only on one side.
func (w *walk) below(ctx context.Context, s *side, at string, info fs.FileInfo, volatile bool, depth int, list *[]File) error {
	if !info.IsDir() {
		return nil
	}
	n := len(*list)
	if err := w.only(ctx, s, at, info, volatile, depth, list); err != nil {
		return err
	}
	*list = slices.Delete(*list, n, n+1) // the folder itself
	return nil
}

// metadata adds what changed beside content.
func metadata(before, after File, what []string) []string {
	if before.Mode != after.Mode && before.Type != "link" { // a link's mode says nothing
		what = append(what, "mode")
	}
	if before.UID != after.UID || before.GID != after.GID {
		what = append(what, "owner")
	}
	return what
}

func (w *walk) change(at string, what []string, before, after File) {
	if len(what) == 0 {
		return
	}
	w.memory.Add(before.memory() + after.memory())
	w.mu.Lock()
	w.files.Changed = append(w.files.Changed, FileChange{Path: at, What: what, Before: before, After: after})
	w.mu.Unlock()
}

// contents reads a file of both.
func (w *walk) contents(p pair, buffers [2][]byte) {
	var what []string
	same, problem := w.same(p.name, buffers)
	if problem != nil {
		w.mu.Lock()
		if len(w.problems) < maxProblems {
			w.problems = append(w.problems, *problem)
		}
		w.mu.Unlock()
	} else if !same {
		what = append(what, "content")
	}
	w.change(p.name, metadata(p.before, p.after, what), p.before, p.after)
}

func (w *walk) same(name string, buffers [2][]byte) (same bool, problem *Problem) {
	open := func(s *side) (fs.File, *Problem) {
		f, err := s.tree.Open(name)
		if err != nil {
			return nil, &Problem{s.name, name, reason(err)}
		}
		return f, nil
	}
	a, problem := open(w.a)
	if problem != nil {
		return false, problem
	}
	defer a.Close()
	b, problem := open(w.b)
	if problem != nil {
		return false, problem
	}
	defer b.Close()
	for {
		n, errA := io.ReadFull(a, buffers[0])
		m, errB := io.ReadFull(b, buffers[1])
		if errA != nil && errA != io.EOF && errA != io.ErrUnexpectedEOF {
			return false, &Problem{"a", name, reason(errA)}
		}
		if errB != nil && errB != io.EOF && errB != io.ErrUnexpectedEOF {
			return false, &Problem{"b", name, reason(errB)}
		}
		if !bytes.Equal(buffers[0][:n], buffers[1][:m]) {
			return false, nil
		}
		if errA != nil || errB != nil {
			return (errA == nil) == (errB == nil), nil
		}
	}
}

// readFile reads a regular file of at most maxText bytes.
func readFile(tree Tree, name string) ([]byte, error) {
	f, err := tree.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	data, err := io.ReadAll(io.LimitReader(f, maxText+1))
	if err == nil && len(data) > maxText {
		err = errors.New("larger than 4 MiB")
	}
	return data, err
}
