package action_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// swap keeps exchanging the folder d/a and a link to the folder outside, until stop is called. count tells how often that was done.
func (m *machine) swap() (count *atomic.Int64, stop func()) {
	path, link := filepath.Join(m.root, "d/a"), filepath.Join(m.root, "swapped")
	done := make(chan struct{})
	var wait sync.WaitGroup
	count = new(atomic.Int64)
	wait.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				if unix.Renameat2(unix.AT_FDCWD, path, unix.AT_FDCWD, link, unix.RENAME_EXCHANGE) == nil {
					count.Add(1)
				}
			}
		}
	})
	return count, func() { close(done); wait.Wait() }
}

// Whoever owns the inner folders may put links in their places while the action is at work; nothing outside is ever touched or read.
func TestSwappedFolders(t *testing.T) {
	for _, test := range []struct{ action, inputs string }{
		{"DeleteFolder", `[{path: /d, force: true}]`},
		{"SetFolderOwner", `[{path: /d, owner: 1234, group: 2345}]`},
		{"SetFolderPermissions", `[{path: /d, permissions: 0777}]`},
		{"CopyFolder", `[{source: /s, destination: /d}]`},
		{"CopyFolder", `[{source: /d, destination: /copy}]`},
		{"MoveFolder", `[{source: /d, destination: /copy}]`},
		{"S3Upload", `[{source: /d, destination: s3://bucket, recurse: true}]`},
		{"S3Download", `[{source: s3://attack/*, destination: /d}]`},
	} {
		t.Run(test.action+test.inputs, func(t *testing.T) {
			if test.action == "SetFolderOwner" {
				needRoot(t)
			}
			m, s := newS3Machine(t, "attack/a/f", "attack/a/deep/f")
			m.write("outside/deep/f", "secret", 0o640)
			m.mkdir("outside/deep", 0o751)
			m.write("outside/f", "secret", 0o640)
			m.mkdir("outside", 0o751)
			outside := m.tree("outside")
			count, stop := m.swap()
			const enough, atLeast, atMost = 10, 500 * time.Millisecond, 20 * time.Second
			start, runs := time.Now(), 0
			for ; time.Since(start) < atLeast || count.Load() < enough && time.Since(start) < atMost; runs++ {
				m.prepareSwap(test.action)
				m.run(test.action, test.inputs)
			}
			stop()
			if n := count.Load(); n < enough {
				t.Fatalf("the folder and the link were exchanged only %d times in %d runs and %s", n, runs, time.Since(start))
			}
			if got := m.tree("outside"); got != outside {
				t.Errorf("outside is %s, was %s", got, outside)
			}
			if got := m.tree("copy"); strings.Contains(got, "secret") {
				t.Errorf("the content of a folder outside was copied: %s", got)
			}
			for name, content := range s.objects {
				if content == "secret" {
					t.Errorf("the content of a folder outside was uploaded to %s", name)
				}
			}
			for name, mode := range map[string]fs.FileMode{"outside": 0o751, "outside/deep": 0o751, "outside/f": 0o640, "outside/deep/f": 0o640} {
				if uid, gid := m.owner(name); m.mode(name).Perm() != mode || int(uid) != os.Getuid() || int(gid) != os.Getgid() {
					t.Errorf("%s belongs to %d:%d, mode %s", name, uid, gid, m.mode(name))
				}
			}
		})
	}
}

// prepareSwap puts the folder and the link in their places again where they are missing. Errors do not matter: the exchange goes on.
func (m *machine) prepareSwap(action string) {
	in := func(name string) string { return filepath.Join(m.root, name) }
	if _, err := os.Lstat(in("d/a")); err != nil || action == "MoveFolder" {
		os.RemoveAll(in("swapped"))
		os.RemoveAll(in("copy"))
		os.Mkdir(in("d"), 0o755)
		os.Mkdir(in("d/a"), 0o755)
		os.Symlink(in("outside"), in("swapped"))
	}
	os.MkdirAll(in("s/a/deep"), 0o755)
	os.WriteFile(in("s/a/f"), []byte("attack"), 0o600)
	os.WriteFile(in("s/a/deep/f"), []byte("attack"), 0o600)
}
