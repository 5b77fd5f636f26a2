package base

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func nothing(string, int64, int64) {}

// fakeRecipe makes a tiny base without any tool.
func fakeRecipe(digest string, made *atomic.Int32) *recipe {
	return &recipe{name: "fake", digest: digest, make: func(ctx context.Context, dir string, progress Progress) (*Base, error) {
		made.Add(1)
		time.Sleep(50 * time.Millisecond)
		for _, name := range []string{"disk.raw", "vmlinuz", "initrd.img"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
				return nil, err
			}
		}
		return &Base{Size: 8, Append: "root=x"}, nil
	}}
}

func (s *Store) getRecipe(ctx context.Context, r *recipe) (*Base, error) {
	if b, err := s.load(r.digest); err == nil {
		return b, nil
	}
	unlock, err := lock(ctx, s.lockPath(r.digest), func() {})
	if err != nil {
		return nil, err
	}
	defer unlock()
	if b, err := s.load(r.digest); err == nil {
		return b, nil
	}
	return s.make(ctx, r, nothing)
}

func TestMadeOnceByMany(t *testing.T) {
	s := &Store{Dir: t.TempDir()}
	var made atomic.Int32
	var wg sync.WaitGroup
	for range 20 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			b, err := s.getRecipe(t.Context(), fakeRecipe("abc", &made))
			if err != nil || b.Disk != filepath.Join(s.Dir, "abc", "disk.raw") || b.Kernel == "" || b.Initrd == "" || b.Digest != "sha256:abc" {
				t.Errorf("%+v, %v", b, err)
			}
		}()
	}
	wg.Wait()
	if n := made.Load(); n != 1 {
		t.Errorf("made %d times", n)
	}
	entries, _ := os.ReadDir(s.Dir)
	if len(entries) != 1 {
		t.Errorf("left: %v", entries)
	}
}

// A base that is damaged on disk is made again, and a failed one leaves nothing.
func TestDamagedBaseIsMadeAgain(t *testing.T) {
	s := &Store{Dir: t.TempDir()}
	var made atomic.Int32
	for i, damage := range []func(dir string) error{
		func(dir string) error { return os.Remove(filepath.Join(dir, "vmlinuz")) },
		func(dir string) error {
			os.Chmod(filepath.Join(dir, "disk.raw"), 0o600)
			return os.WriteFile(filepath.Join(dir, "disk.raw"), []byte("x"), 0o600)
		},
		func(dir string) error { return os.WriteFile(filepath.Join(dir, "base.json"), []byte("{"), 0o600) },
		func(dir string) error {
			os.Remove(filepath.Join(dir, "disk.raw"))
			return os.Symlink("/etc/hostname", filepath.Join(dir, "disk.raw"))
		},
	} {
		b, err := s.getRecipe(t.Context(), fakeRecipe("abc", &made))
		if err != nil {
			t.Fatal(err)
		}
		if err := damage(filepath.Dir(b.Disk)); err != nil {
			t.Fatal(err)
		}
		if _, err := s.getRecipe(t.Context(), fakeRecipe("abc", &made)); err != nil {
			t.Fatal(err)
		}
		if n := made.Load(); n != int32(i+2) {
			t.Errorf("damage %d: made %d times", i, n)
		}
	}
	failing := &recipe{name: "bad", digest: "bad", make: func(ctx context.Context, dir string, _ Progress) (*Base, error) {
		os.WriteFile(filepath.Join(dir, "half"), nil, 0o600)
		return nil, errors.New("it broke")
	}}
	if _, err := s.getRecipe(t.Context(), failing); err == nil || !strings.Contains(err.Error(), "base bad: it broke") {
		t.Errorf("got %v", err)
	}
	if entries, _ := os.ReadDir(s.Dir); len(entries) != 1 {
		t.Errorf("left: %v", entries)
	}
}

func TestLockWaitsAndGivesUp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "l")
	unlock, err := lock(t.Context(), path, func() { t.Error("waits for nobody") })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	waited := false
	_, err = lock(ctx, path, func() { waited = true; cancel(errors.New("user went home")) })
	if !waited || err == nil || !strings.Contains(err.Error(), "user went home") {
		t.Errorf("%v, %v", waited, err)
	}
	unlock()
	unlock2, err := lock(t.Context(), path, func() {})
	if err != nil {
		t.Fatal(err)
	}
	unlock2()
}

func TestSweepRemovesOnlyWhatNobodyMakes(t *testing.T) {
	s := &Store{Dir: t.TempDir()}
	for _, d := range []string{".dead.making/root/etc", ".live.making/root", "finished"} {
		if err := os.MkdirAll(filepath.Join(s.Dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	unlock, err := tryLock(s.lockPath("live"))
	if err != nil || unlock == nil {
		t.Fatal(err)
	}
	defer unlock()
	s.sweep(t.Context())
	var names []string
	entries, _ := os.ReadDir(s.Dir)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if got := strings.Join(names, " "); got != ".live.lock .live.making finished" {
		t.Errorf("left: %s", got)
	}
}

func TestBadSources(t *testing.T) {
	s := &Store{Dir: t.TempDir()}
	for want, src := range map[string]Source{
		"exactly one":             {},
		"exactly one of":          {Debian: "debian-12", File: "x.raw"},
		"unknown Debian release":  {Debian: "debian-99"},
		"names no Debian suite":   {Debian: "fedora-40"},
		"give an https address":   {URL: "http://m.example/x.raw", SHA256: strings.Repeat("a", 64)},
		"needs the file's sha256": {URL: "https://m.example/x.raw"},
		"declare the format":      {URL: "https://m.example/latest", SHA256: strings.Repeat("a", 64)},
		"is no SHA-256":           {URL: "https://m.example/x.raw", SHA256: "abc"},
		"no such file":            {File: filepath.Join(s.Dir, "none.raw")},
	} {
		for _, f := range []func() error{
			func() error { _, err := s.Get(t.Context(), src, nil); return err },
			func() error { _, err := s.Plan(t.Context(), src); return err },
		} {
			if err := f(); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%+v: %v, want %q", src, err, want)
			}
		}
	}
	if _, err := (&Store{}).Get(t.Context(), Source{Debian: "debian-12"}, nil); err == nil {
		t.Error("a store without a folder")
	}
}

func TestRedact(t *testing.T) {
	for in, want := range map[string]string{
		"https://user:pw@m.example/a.raw?sig=secret#x": "https://m.example/a.raw",
		"https://user:pw@m.example/%zz?sig=secret":     "m.example/%zz",
	} {
		if got := redact(in); got != want {
			t.Errorf("%s: %s", in, got)
		}
	}
}

func TestVersionLess(t *testing.T) {
	order := []string{"5.10.0-9-amd64", "5.10.0-28-amd64", "6.1.0-9-cloud-amd64", "6.1.0-56-cloud-amd64", "6.12.1-amd64"}
	for i := range order {
		for j := range order {
			if got := versionLess(order[i], order[j]); got != (i < j) {
				t.Errorf("%s < %s: %v", order[i], order[j], got)
			}
		}
	}
}

func TestStages(t *testing.T) {
	var got []string
	w := &stageWriter{progress: func(stage string, _, _ int64) { got = append(got, stage) }}
	fmt.Fprint(w, "I: running apt-get", " update...\nnoise\nI: running --customize-hook directly: /x\nI: success in 3 s\nI: cleaning up\n")
	if s := strings.Join(got, "|"); s != "running apt-get update|cleaning up" {
		t.Errorf("got %q", s)
	}
	fmt.Fprint(w, "E: Failed to fetch http://m.example/x.deb  404  Not Found\nE: Unable to fetch some archives\nE: setup failed: E: apt-get\nE: mmdebstrap failed to run\n")
	err := &BootstrapError{Lines: w.errors}
	if s := err.Error(); !strings.HasPrefix(s, "Failed to fetch http://m.example/x.deb  404  Not Found; the mirror does not") {
		t.Errorf("got %q", s)
	}
}
