package layer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/cespare/xxhash/v2"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// ErrDamaged is wrapped by the errors about layers whose files are not what was saved.
var ErrDamaged = errors.New("damaged")

// Damage is a file of a layer that is not what was saved, and what that meant.
type Damage struct {
	ID     string `json:"id"`
	Layer  string `json:"layer"` // for people
	File   string `json:"file"`
	Reason string `json:"reason"`
	// Dropped are the IDs of the layers that are gone for it: the layer itself and all that are built on it. A damaged memory takes no layer
	// with it: nothing is built on a memory. It is removed, and the layer boots from its disk.
	Dropped []string `json:"dropped"`
}

func (d Damage) String() string {
	end := "it is booted from its disk from now on"
	if len(d.Dropped) > 0 {
		end = fmt.Sprintf("dropped, with %d built on it", len(d.Dropped)-1)
	}
	return fmt.Sprintf("layer %s: %s: %s; %s", d.Layer, d.File, d.Reason, end)
}

// DamageError tells of the damages that were found in a chain. It wraps ErrDamaged.
type DamageError struct{ Damages []Damage }

func (e *DamageError) Error() string {
	var texts []string
	for _, d := range e.Damages {
		texts = append(texts, d.String())
	}
	return strings.Join(texts, "; ")
}

// Is makes errors.Is(err, ErrDamaged) true.
func (e *DamageError) Is(target error) bool { return target == ErrDamaged }

// verified is the file of that name in a layer's folder: what its files were like when their hashes were found to be right. A power failure may
// tear files behind the back of these marks, so they hold only as long as the machine is up.
type verified struct {
	Boot  string              `json:"boot"`
	Files map[string]identity `json:"files"`
}

// identity changes whenever a file is written to or replaced, see inode(7).
type identity struct {
	Device uint64 `json:"device"`
	Inode  uint64 `json:"inode"`
	Size   int64  `json:"size"`
	MTime  int64  `json:"mtime"` // nanoseconds
	CTime  int64  `json:"ctime"`
}

func identityOf(f *os.File) (identity, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return identity{}, &os.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return identity{}, fmt.Errorf("%s is no file", f.Name())
	}
	return identity{uint64(st.Dev), st.Ino, st.Size, st.Mtim.Nano(), st.Ctim.Nano()}, nil
}

// bootID is different each time the machine starts; empty where the system does not tell.
func bootID() string {
	id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(id))
}

// sumFile hashes a file, unless its hash is known.
func sumFile(ctx context.Context, path, sum string) (File, identity, error) {
	f, err := openFile(path)
	if err != nil {
		return File{}, identity{}, err
	}
	defer f.Close()
	before, err := identityOf(f)
	if err != nil {
		return File{}, identity{}, err
	}
	if sum == "" {
		if sum, err = sumOf(ctx, f); err != nil {
			return File{}, identity{}, err
		}
	}
	if after, err := identityOf(f); err != nil || after != before {
		return File{}, identity{}, fmt.Errorf("%s was changed while it was read", path)
	}
	return File{Size: before.Size, XXH64: sum}, before, nil
}

func openFile(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
}

func sumOf(ctx context.Context, r io.Reader) (string, error) {
	hash, buffer := xxhash.New(), make([]byte, 1<<20)
	for {
		n, err := r.Read(buffer)
		hash.Write(buffer[:n])
		if errors.Is(err, io.EOF) {
			return sumText(hash), nil
		}
		if err == nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			return "", err
		}
	}
}

func sumText(h *xxhash.Digest) string { return fmt.Sprintf("%016x", h.Sum64()) }

// Verify compares every file that may be used with its hash: all but the memories of the layers below, and the last one's if the guest is to be
// booted from its disk. Files that were compared since the machine started, and not touched since, are not read again.
//
// What is damaged is dropped, with all that builds on it; then the chain is closed and the error is a [DamageError]. Call Find again.
func (c *Chain) Verify(ctx context.Context) error {
	var found []Damage
	var mutex sync.Mutex
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, l := range c.Layers {
		names := l.lasting()
		if i == len(c.Layers)-1 && !c.BootFromDisk {
			names = l.names()
		}
		group.Go(func() error {
			damages, err := c.store.verify(inner, l, names, false, nil)
			mutex.Lock()
			found = append(found, damages...)
			mutex.Unlock()
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("verify layers: %w", err)
	}
	if len(found) == 0 {
		return nil
	}
	c.Close()
	damages, err := c.store.drop(ctx, found)
	return errors.Join(&DamageError{damages}, err)
}

// verify compares files of a layer that is held. Unless all is set, it trusts what is in the file verified. progress may be nil.
func (s *Store) verify(ctx context.Context, l *Layer, names []string, all bool, progress func(bytes int64)) ([]Damage, error) {
	dir := s.path(l)
	var known verified
	if _, err := s.readSealed(dir, verifiedName, l.ID, &known, maxRecord); err != nil || known.Boot != bootID() || known.Boot == "" || known.Files == nil {
		known = verified{Boot: bootID(), Files: map[string]identity{}}
	}
	var found []Damage
	news := false
	for _, name := range names {
		damage := func(reason string) {
			found = append(found, Damage{ID: l.ID, Layer: l.describe(), File: name, Reason: reason})
		}
		want := l.Files[name]
		if progress != nil {
			progress(want.Size)
		}
		f, err := openFile(filepath.Join(dir, name))
		if err != nil {
			if errors.Is(err, os.ErrNotExist) && name == l.Memory {
				continue // removed to save space
			}
			if !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ELOOP) {
				return found, err
			}
			damage("it is missing")
			continue
		}
		now, err := identityOf(f)
		switch {
		case err != nil:
			damage("it is no file any more")
		case now.Size != want.Size:
			damage(fmt.Sprintf("it has %d bytes instead of %d", now.Size, want.Size))
		case !all && known.Files[name] == now:
		default:
			sum, err := sumOf(ctx, f)
			if err != nil && context.Cause(ctx) != nil {
				f.Close()
				return found, err
			}
			if err != nil {
				damage(err.Error()) // a bad sector
			} else if sum != want.XXH64 {
				damage("its content was changed")
			} else {
				known.Files[name], news = now, true
			}
		}
		f.Close()
	}
	if news {
		s.writeSealed(dir, verifiedName, l.ID, known, maxRecord) // without it the next one reads again
	}
	return found, nil
}

// VerifyAll compares every file of every layer with its hash, and drops what is damaged with all that builds on it. progress, which may be nil,
// gets the bytes that were done and those that there are.
func (s *Store) VerifyAll(ctx context.Context, progress func(done, total int64)) ([]Damage, error) {
	found, err := s.verifyAll(ctx, progress)
	if err != nil {
		return nil, fmt.Errorf("verify layers: %w", err)
	}
	return found, nil
}

func (s *Store) verifyAll(ctx context.Context, progress func(done, total int64)) ([]Damage, error) {
	all, err := s.load()
	if err != nil {
		return nil, err
	}
	var done, total int64
	layers := make([]*Layer, 0, len(all.layers))
	for _, l := range all.layers {
		layers = append(layers, l)
		for _, f := range l.Files {
			total += f.Size
		}
	}
	slices.SortFunc(layers, oldestFirst)
	var found []Damage
	for _, l := range layers {
		held, err := s.hold(ctx, l)
		if errors.Is(err, errGone) {
			continue
		}
		if err != nil {
			return nil, err
		}
		damages, err := s.verify(ctx, l, l.names(), true, func(bytes int64) {
			if done += bytes; progress != nil {
				progress(done, total)
			}
		})
		if err == nil {
			if err := s.readState(l); errors.Is(err, errInvalid) || errors.Is(err, os.ErrNotExist) {
				damages = append(damages, Damage{ID: l.ID, Layer: l.describe(), File: stateName, Reason: "it was changed"})
			}
		}
		held.Close()
		if err != nil {
			return nil, err
		}
		found = append(found, damages...)
	}
	return s.drop(ctx, found)
}

// drop removes damaged memories, and layers with damaged disks with all that are built on them. The record goes first, so that they are
// not used any more even where somebody holds them; those folders go later.
func (s *Store) drop(ctx context.Context, damages []Damage) ([]Damage, error) {
	if len(damages) == 0 {
		return nil, nil
	}
	unlock, err := s.lock(ctx, unix.LOCK_EX)
	if err != nil {
		return damages, err
	}
	all, err := s.load()
	if err != nil {
		unlock()
		return damages, err
	}
	var errs []error
	for i := range damages {
		d := &damages[i]
		d.Dropped = []string{}
		l := all.layers[d.ID]
		if l == nil { // somebody else was faster
			d.Dropped = []string{d.ID}
			continue
		}
		if d.File == l.Memory {
			errs = append(errs, os.RemoveAll(s.path(l, d.File)))
			continue
		}
		var visit func(l *Layer)
		visit = func(l *Layer) {
			d.Dropped = append(d.Dropped, l.ID)
			errs = append(errs, remove(s.path(l, recordName)))
			for _, id := range all.ids(l.ID) {
				if child := all.layers[id]; child != nil {
					visit(child)
				}
			}
		}
		visit(l)
	}
	unlock()
	p, err := s.plan(ctx)
	if err == nil {
		_, err = p.execute()
	}
	return damages, errors.Join(append(errs, err)...)
}

func remove(path string) error {
	if err := os.Remove(path); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
