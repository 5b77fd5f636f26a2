package builder

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// TestMain lets the test binary be a builder that does nothing but hold a workspace until it is killed.
func TestMain(m *testing.M) {
	if home := os.Getenv("INGOT_TEST_HOLD_WORKSPACE"); home != "" {
		hold(home)
	}
	os.Exit(m.Run())
}

func hold(home string) {
	w, err := newWorkspace(home)
	if err != nil {
		panic(err)
	}
	for _, name := range []string{"kept", "half"} {
		path := filepath.Join(home, "out", name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			panic(err)
		}
		if err := w.own(path); err != nil {
			panic(err)
		}
	}
	if err := w.disown(filepath.Join(home, "out", "kept")); err != nil {
		panic(err)
	}
	os.Stdout.WriteString(w.dir + "\n" + w.sockets + "\n")
	select {}
}

// held starts a process with a workspace.
func held(t *testing.T, home string) (cmd *exec.Cmd, dir, sockets string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(home, "out"), 0o700); err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd = exec.Command(exe)
	cmd.Env = append(os.Environ(), "INGOT_TEST_HOLD_WORKSPACE="+home, "XDG_RUNTIME_DIR="+t.TempDir())
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	lines := bufio.NewScanner(out)
	for _, to := range []*string{&dir, &sockets} {
		if !lines.Scan() {
			t.Fatal("the process said nothing")
		}
		*to = lines.Text()
	}
	return cmd, dir, sockets
}

// eventually waits for a condition for a while.
func eventually(condition func() bool) bool {
	for start := time.Now(); time.Since(start) < 10*time.Second; time.Sleep(20 * time.Millisecond) {
		if condition() {
			return true
		}
	}
	return false
}

func TestWatcher(t *testing.T) {
	home := t.TempDir()
	cmd, dir, sockets := held(t, home)
	for _, path := range []string{dir, sockets, filepath.Join(home, "out", "half"), filepath.Join(home, "out", "kept")} {
		if !exists(path) {
			t.Fatalf("%s is not there while its builder lives", path)
		}
	}
	cmd.Process.Kill()
	cmd.Wait()
	if !eventually(func() bool { return !exists(dir) && !exists(sockets) && !exists(filepath.Join(home, "out", "half")) }) {
		t.Error("the watcher did not clean up after a killed builder")
	}
	if !exists(filepath.Join(home, "out", "kept")) {
		t.Error("the watcher removed a file that was finished")
	}
}

// TestSweep is about workspaces whose watcher died too, as when the machine goes down.
func TestSweep(t *testing.T) {
	home := t.TempDir()
	living, livingDir, _ := held(t, home)
	half := filepath.Join(home, "half")
	dead := filepath.Join(home, "work", "build-dead")
	if err := os.Mkdir(dead, 0o700); err != nil {
		t.Fatal(err)
	}
	for path, content := range map[string]string{half: "", filepath.Join(dead, lockFile): "", filepath.Join(dead, leftoversFile): half + "\n"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := sweep(home); err != nil {
		t.Fatal(err)
	}
	if exists(dead) || exists(half) {
		t.Error("sweep left a dead builder's workspace")
	}
	if !exists(livingDir) {
		t.Error("sweep removed a living builder's workspace")
	}
	living.Process.Kill()
	living.Wait()
}

func TestWorkspaceClose(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	w, err := newWorkspace(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := w.own("relative"); err == nil {
		t.Error("own takes a relative path")
	}
	if err := w.own("/a\n/b"); err == nil {
		t.Error("own takes a path with a line end")
	}
	for range 2 {
		if err := w.close(); err != nil {
			t.Error(err)
		}
	}
	if exists(w.dir) || exists(w.sockets) {
		t.Error("close left something")
	}
}

// TestSweepBesideStart makes workspaces while others sweep: a builder's start must survive everybody else's.
func TestSweepBesideStart(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	home := t.TempDir()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				sweep(home)
			}
		}
	})
	for range 100 {
		w, err := newWorkspace(home)
		if err != nil {
			t.Error(err)
			break
		}
		if !exists(w.path(lockFile)) || !exists(w.path(leftoversFile)) {
			t.Error("swept away under a living builder")
		}
		w.close()
	}
	close(stop)
	wg.Wait()
}
