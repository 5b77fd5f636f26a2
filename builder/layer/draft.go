package layer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ingot-image/ingot/disk"
)

// ErrNoRoom is wrapped by the errors of saving a layer for which the budget or the disk has no room. The build is none the worse for it.
var ErrNoRoom = errors.New("there is no room for a layer")

// Draft is a layer being saved. It becomes one by Commit, or goes by Abort. It is for one goroutine.
type Draft struct {
	store  *Store
	id     string
	dir    string   // hidden
	held   *os.File // the shared lock on dir, which the layer keeps
	parent *Chain
	price  price
	memory *memoryWriter
	disks  []adopted
	over   bool
}

// adopted is a disk that AddDisk has moved.
type adopted struct{ name, from string }

// Begin starts a layer on top of a chain, or a root if parent is nil. The chain must not be closed before the draft is over. need is about how
// many bytes the layer will take: room for it is made by removing layers, least recently used first, and at last memories of the chain's own
// layers, but not that of its last one. The error wraps ErrNoRoom if there is no way to get as much; then nothing is removed.
func (s *Store) Begin(ctx context.Context, parent *Chain, need int64) (*Draft, error) {
	d, err := s.begin(ctx, parent, need)
	if err != nil {
		return nil, fmt.Errorf("begin a layer: %w", err)
	}
	return d, nil
}

func (s *Store) begin(ctx context.Context, parent *Chain, need int64) (*Draft, error) {
	price, err := s.makeRoom(ctx, parent, max(need, 0), 0)
	if err != nil {
		return nil, err
	}
	d := &Draft{store: s, parent: parent, price: price}
	for d.held == nil {
		d.id = randomID()
		d.dir = filepath.Join(s.dir, "."+d.id+makingSuffix)
		if err := os.Mkdir(d.dir, 0o700); err != nil {
			return nil, noRoom(err, s.dir, need)
		}
		// Whoever clears away leftovers may have taken it for one, before it had its lock.
		d.held, err = tryFolder(d.dir, unix.LOCK_SH)
		if err != nil && !errors.Is(err, errGone) && !errors.Is(err, os.ErrNotExist) {
			os.Remove(d.dir)
			return nil, err
		}
	}
	if s.o.Making != nil {
		if err := s.o.Making(d.dir); err != nil {
			d.Abort()
			return nil, err
		}
	}
	return d, nil
}

// Folder is where the layer's files belong until Commit: its disks, and whatever else the caller puts there. It is hidden, and in the file
// system of the store.
func (d *Draft) Folder() string { return d.dir }

// FinalPath is where a file of the folder will be after Commit.
func (d *Draft) FinalPath(name string) string { return filepath.Join(d.store.dir, d.folder(), name) }

// folder is the name of the folder after Commit.
func (d *Draft) folder() string {
	if d.parent == nil {
		return folder("", d.id)
	}
	return folder(d.parent.Last().ID, d.id)
}

// AddDisk moves a disk into the folder, by rename, so whoever has it open is not disturbed, and makes it the topmost of the layer's
// disks. It returns its name there. Abort moves it back.
func (d *Draft) AddDisk(path string) (string, error) {
	name := fmt.Sprintf("disk-%d.qcow2", len(d.disks))
	path, err := filepath.Abs(path)
	if err == nil {
		err = os.Rename(path, filepath.Join(d.dir, name))
	}
	if err != nil {
		return "", fmt.Errorf("add a disk to a layer: %w", err)
	}
	d.disks = append(d.disks, adopted{name, path})
	return name, nil
}

// Memory is where the guest's memory goes. Whether it is compressed is decided after the first megabytes, see price.compress. A failed
// write loses the draft and nothing else; its error wraps ErrNoRoom if the disk is full, or nearly so: a layer never takes the last bytes,
// which the running guest may need. Close it before Commit.
func (d *Draft) Memory() (io.WriteCloser, error) {
	if d.over || d.memory != nil {
		return nil, errors.New("save memory: there is one already")
	}
	d.memory = &memoryWriter{dir: d.dir, price: d.price, store: d.store}
	return d.memory, nil
}

// Commit makes the draft a layer, and gives the parent's chain with the layer on top, held on its own: close both. What is wrong with l or the
// files loses the draft, and so does a layer that turns out to be too large for the budget, whatever else goes for it: the error wraps
// ErrNoRoom then. See [Layer] for what l must have; Disks may be left out if all came by AddDisk.
func (d *Draft) Commit(ctx context.Context, l Layer) (*Chain, error) {
	if d.over {
		return nil, errors.New("commit a layer: it is over")
	}
	c, err := d.commit(ctx, l)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("commit a layer: %w", noRoom(err, d.store.dir, 0)), d.Abort())
	}
	d.over = true
	return c, nil
}

func (d *Draft) commit(ctx context.Context, l Layer) (_ *Chain, err error) {
	s := d.store
	if l.Disks == nil {
		for _, a := range d.disks {
			l.Disks = append(l.Disks, a.name)
		}
	}
	if d.memory != nil {
		if err := d.memory.Close(); err != nil {
			return nil, err
		}
		l.Memory, l.MemoryCompressed = d.memory.name, d.memory.compressed
	}
	// Only now it is known what the disks and the memory take. The records are still to come.
	there, err := disk.Allocated(d.dir)
	if err != nil {
		return nil, err
	}
	if _, err := s.makeRoom(ctx, d.parent, there+int64(len(l.State)+len(l.Guest))+recordsSize, there); err != nil {
		return nil, err
	}
	c := &Chain{store: s}
	defer func() {
		if err != nil {
			c.Close()
		}
	}()
	if err := d.place(ctx, &l, c); err != nil {
		return nil, err
	}
	if err := d.finish(ctx, &l); err != nil {
		return nil, err
	}
	unlock, err := s.lock(ctx, unix.LOCK_SH)
	if err != nil {
		return nil, err
	}
	defer unlock()
	for _, below := range c.Layers { // one may have been found to be damaged meanwhile
		if _, err := os.Lstat(s.path(below, recordName)); err != nil {
			return nil, fmt.Errorf("the layer %s below: %w", below.describe(), err)
		}
	}
	if err := os.Rename(d.dir, d.FinalPath("")); err != nil {
		return nil, err
	}
	c.Layers, c.holds = append(c.Layers, &l), append(c.holds, d.held)
	return c, nil
}

// place fills in what follows from the layers below, and holds those.
func (d *Draft) place(ctx context.Context, l *Layer, c *Chain) error {
	s := d.store
	l.ID, l.Created = d.id, s.o.Now().UTC()
	l.Used, l.Reads = l.Created, sortedReads(l.Reads)
	l.ParentID, l.Depth, l.Position, l.Total, l.Oldest = "", 0, len(l.Steps), l.Cost, time.Time{}
	if d.parent != nil {
		below := d.parent.Last()
		if l.Root == (Root{}) {
			l.Root = below.Root
		}
		if l.Root.Disk != below.Root.Disk {
			return errors.New("its root is not that of the layer below")
		}
		if l.Base == "" {
			l.Base = below.Base
		}
		l.ParentID, l.Depth, l.Position, l.Total = below.ID, below.Depth+1, below.Position+len(l.Steps), below.Total+l.Cost
		l.Oldest = below.Oldest
		c.Layers = append(c.Layers, d.parent.Layers...)
	}
	// The clock may have gone back since.
	if l.Position > 0 && (l.Oldest.IsZero() || l.Created.Before(l.Oldest)) {
		l.Oldest = l.Created.Add(-l.Cost)
	}
	var above []*Layer
	if len(c.Layers) > 0 {
		above = append(append(above, c.Layers[1:]...), l)
	}
	l.Key, l.DiskKey = s.keys(l.Root, above)
	for _, below := range c.Layers {
		held, err := s.hold(ctx, below)
		if err != nil {
			return fmt.Errorf("the layer %s below: %w", below.describe(), err)
		}
		c.holds = append(c.holds, held)
	}
	return nil
}

// finish hashes the files, makes them read-only and writes the records.
func (d *Draft) finish(ctx context.Context, l *Layer) error {
	if err := d.others(l); err != nil {
		return err
	}
	l.Files = map[string]File{}
	seen := verified{Boot: bootID(), Files: map[string]identity{}}
	for _, name := range l.names() {
		if !fileName.MatchString(name) || reserved(name) {
			return fmt.Errorf("%q is not the name of a file of a layer", name)
		}
		path := filepath.Join(d.dir, name)
		if err := os.Chmod(path, 0o400); err != nil {
			return err
		}
		sum := ""
		if name == l.Memory {
			sum = d.memory.sum()
		}
		f, id, err := sumFile(ctx, path, sum)
		if err != nil {
			return err
		}
		l.Files[name], seen.Files[name] = f, id
	}
	if err := l.check(l.ParentID, l.ID); err != nil {
		return fmt.Errorf("the layer %w", err)
	}
	s := d.store
	if err := s.writeSealed(d.dir, stateName, l.ID, state{l.State, l.Guest}, maxState); err != nil {
		return err
	}
	if err := s.writeSealed(d.dir, verifiedName, l.ID, seen, maxRecord); err != nil {
		return err
	}
	l.SizeBytes, _ = disk.Allocated(d.dir)
	l.SizeBytes += 4096 // the record that comes last
	if err := s.writeSealed(d.dir, recordName, l.ID, l, maxRecord); err != nil {
		return err
	}
	return os.Chtimes(filepath.Join(d.dir, recordName), time.Time{}, l.Used)
}

// others are the files of the folder that are neither disks nor memory.
func (d *Draft) others(l *Layer) error {
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		return err
	}
	l.Others = nil
	for _, e := range entries {
		if name := e.Name(); name != l.Memory && !slices.Contains(l.Disks, name) {
			l.Others = append(l.Others, name)
		}
	}
	return nil
}

// Abort gives the draft up. It may be called again, and after Commit, when it does nothing.
func (d *Draft) Abort() error {
	if d.over {
		return nil
	}
	d.over = true
	var errs []error
	if d.memory != nil {
		d.memory.abort()
	}
	for _, a := range d.disks {
		errs = append(errs, os.Rename(filepath.Join(d.dir, a.name), a.from), os.Chmod(a.from, 0o600))
	}
	errs = append(errs, os.RemoveAll(d.dir), d.held.Close())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("give a layer up: %w", err)
	}
	return nil
}

// noRoom makes ErrNoRoom of failures for lack of space.
func noRoom(err error, dir string, need int64) error {
	err = disk.ExplainSpace(err, dir, need)
	if errors.Is(err, syscall.ENOSPC) && !errors.Is(err, ErrNoRoom) {
		return fmt.Errorf("%w: %w", ErrNoRoom, err)
	}
	return err
}

// leftover tells whether a name is of a folder that is being made or removed.
func leftover(name string) bool {
	id, hidden := strings.CutPrefix(name, ".")
	if !hidden {
		return false
	}
	for _, suffix := range []string{makingSuffix, goneSuffix} {
		if id, ok := strings.CutSuffix(id, suffix); ok && layerID.MatchString(id) {
			return true
		}
	}
	return false
}
