package base

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/ingot-image/ingot/disk"
)

// Store is a folder of bases. Any number of processes may use it at once. The zero values of the other fields are good defaults.
//
// In Dir, a base is the folder <digest> with disk.raw, base.json and, where the kernel can be booted directly, vmlinuz and
// initrd.img. It is made in a hidden folder under a lock, and appears complete, by rename.
type Store struct {
	// Dir is the folder, "$INGOT_HOME/bases". It is made when needed.
	Dir string
	// Mirror is the URI of a Debian mirror to bootstrap from. Empty: the machine's own apt sources.
	Mirror string
	// DiskSize is the virtual size in bytes of a bootstrapped disk; default 4 GiB.
	DiskSize int64
	// Limits bounds what parent image files may be.
	Limits disk.Limits
	// DownloadLimit bounds the length of a download in bytes; default 64 GiB.
	DownloadLimit int64
	// Making, if given, is told of the folder that a base is about to be made in. A caller that may be killed can see to it
	// that somebody removes the folder then; without that, it stays until the next Get.
	Making func(dir string) error
	// Client downloads; default: a client that refuses to leave https.
	Client *http.Client
}

// recipe is a base that is planned: what it is called, what its digest is, and how to make it into an empty folder.
type recipe struct {
	name   string
	digest string // hexadecimal
	inputs map[string]string
	make   func(ctx context.Context, dir string, progress Progress) (*Base, error)
}

// Plan tells what Get would do, without making or fetching anything. For a file without a given digest it reads the file.
func (s *Store) Plan(ctx context.Context, src Source) (*Plan, error) {
	r, err := s.resolve(ctx, src)
	if err != nil {
		return nil, err
	}
	_, err = s.load(r.digest)
	return &Plan{Name: r.name, Digest: "sha256:" + r.digest, Cached: err == nil, Inputs: r.inputs}, nil
}

// Get returns the base of a source, making it first when the store does not have it. Two that ask for the same base at once
// make it once. Cancelling ctx, and killing the process, leave no half-made base: what a killed process left is removed by the
// next that makes the same base. progress may be nil.
//
// A Debian suite needs mmdebstrap and a package mirror, and takes about a minute. An ordinary user needs the package uidmap and
// a range of subordinate IDs (see [CheckNamespace]). Files need qemu-img, raw ones too.
func (s *Store) Get(ctx context.Context, src Source, progress Progress) (*Base, error) {
	if progress == nil {
		progress = func(string, int64, int64) {}
	}
	r, err := s.resolve(ctx, src)
	if err != nil {
		return nil, err
	}
	if b, err := s.load(r.digest); err == nil {
		b.Name = r.name
		return b, nil
	}
	if err := os.MkdirAll(s.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("base %s: %w", r.name, err)
	}
	s.sweep(ctx)
	unlock, err := lock(ctx, s.lockPath(r.digest), func() {
		progress("waiting for another build to make this base", 0, 0)
	})
	if err != nil {
		return nil, fmt.Errorf("base %s: %w", r.name, err)
	}
	defer unlock()
	if b, err := s.load(r.digest); err == nil {
		b.Name = r.name
		return b, nil
	}
	return s.make(ctx, r, progress)
}

// make makes a base. The lock on its digest is held.
func (s *Store) make(ctx context.Context, r *recipe, progress Progress) (b *Base, err error) {
	final := s.path(r.digest)
	if err := removeTree(ctx, final); err != nil { // a damaged one
		return nil, fmt.Errorf("base %s: %w", r.name, err)
	}
	// A name of its own: whoever clears away after a killed maker does not meet the next one.
	work, err := os.MkdirTemp(s.Dir, "."+r.digest+".*"+makingSuffix)
	if err == nil && s.Making != nil {
		err = s.Making(work)
	}
	if err != nil {
		return nil, fmt.Errorf("base %s: %w", r.name, err)
	}
	defer func() {
		if err != nil {
			// Also after a cancellation.
			clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
			defer cancel()
			err = errors.Join(err, removeTree(clean, work))
		}
	}()
	if b, err = r.make(ctx, work, progress); err != nil {
		return nil, fmt.Errorf("base %s: %w", r.name, err)
	}
	b.Name, b.Digest, b.Created = r.name, "sha256:"+r.digest, time.Now().UTC().Truncate(time.Second)
	if err := finish(work, b); err != nil {
		return nil, fmt.Errorf("base %s: %w", r.name, disk.ExplainSpace(err, s.Dir, 0))
	}
	if err := os.Rename(work, final); err != nil {
		return nil, fmt.Errorf("base %s: %w", r.name, err)
	}
	return s.load(r.digest)
}

func (s *Store) path(digest string) string     { return filepath.Join(s.Dir, digest) }
func (s *Store) lockPath(digest string) string { return filepath.Join(s.Dir, "."+digest+".lock") }

const makingSuffix = ".making"

// sweep removes what killed processes left: unfinished bases that nobody holds the lock of. It does what it can.
func (s *Store) sweep(ctx context.Context) {
	entries, _ := os.ReadDir(s.Dir)
	for _, e := range entries {
		digest, _, _ := strings.Cut(strings.TrimPrefix(e.Name(), "."), ".")
		if !strings.HasSuffix(e.Name(), makingSuffix) {
			continue
		}
		if unlock, err := tryLock(s.lockPath(digest)); err == nil && unlock != nil {
			removeTree(ctx, filepath.Join(s.Dir, e.Name()))
			unlock()
		}
	}
}

// record is base.json: the base, and the lengths of its files.
type record struct {
	Base
	Files map[string]int64 `json:"files"`
}

// finish flushes the base's files, makes them read-only and writes base.json.
func finish(dir string, b *Base) error {
	rec := record{Base: *b, Files: map[string]int64{}}
	for _, name := range []string{"disk.raw", "vmlinuz", "initrd.img"} {
		f, err := os.Open(filepath.Join(dir, name))
		if isNotExist(err) && name != "disk.raw" {
			continue
		}
		if err != nil {
			return err
		}
		st, err := f.Stat()
		err = errors.Join(err, f.Chmod(0o444), f.Sync(), f.Close())
		if err != nil {
			return err
		}
		rec.Files[name] = st.Size()
	}
	data, err := json.MarshalIndent(rec, "", "  ")
	if err != nil {
		return err
	}
	f, err := disk.Create(filepath.Join(dir, "base.json"))
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(append(data, '\n')); err != nil {
		return err
	}
	if err := f.Commit(); err != nil {
		return err
	}
	return os.Chmod(dir, 0o755)
}

// load reads a finished base and checks, cheaply, that its files are all there in full length.
func (s *Store) load(digest string) (*Base, error) {
	dir := s.path(digest)
	data, err := os.ReadFile(filepath.Join(dir, "base.json"))
	if err != nil {
		return nil, err
	}
	var rec record
	if err := json.Unmarshal(data, &rec); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	if rec.Digest != "sha256:"+digest || rec.Files["disk.raw"] == 0 {
		return nil, fmt.Errorf("%s: base.json is of another base", dir)
	}
	b := rec.Base
	for name, size := range rec.Files {
		path := filepath.Join(dir, filepath.Base(name))
		st, err := os.Lstat(path)
		if err != nil {
			return nil, err
		}
		if !st.Mode().IsRegular() || st.Size() != size {
			return nil, fmt.Errorf("%s: %d bytes instead of %d", path, st.Size(), size)
		}
		switch name {
		case "disk.raw":
			b.Disk = path
		case "vmlinuz":
			b.Kernel = path
		case "initrd.img":
			b.Initrd = path
		}
	}
	return &b, nil
}

// removeTree removes what a bootstrap left. Parts of the tree may belong to subordinate IDs, which only root of the same user
// namespace may delete. Processes that were killed a moment ago may still be adding to it.
func removeTree(ctx context.Context, dir string) error {
	for try := 0; ; try++ {
		err := os.RemoveAll(dir)
		if os.Geteuid() != 0 && (errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.EPERM)) {
			err = inNamespace(ctx, filepath.Dir(dir), nil, "rm", "-rf", "--one-file-system", "--", "./"+filepath.Base(dir))
		}
		if err == nil || try == 20 || context.Cause(ctx) != nil {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
}
