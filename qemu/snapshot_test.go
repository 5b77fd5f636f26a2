package qemu

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func status(t *testing.T, vm *VM) string {
	t.Helper()
	var s struct {
		Status string `json:"status"`
	}
	if err := vm.Monitor().Execute(t.Context(), "query-status", nil, &s); err != nil {
		t.Fatal(err)
	}
	return s.Status
}

// TestSaveState saves a machine and goes on from what was saved, twice, and not from what is damaged or another machine's. It needs no
// guest: the firmware is one.
func TestSaveState(t *testing.T) {
	config := testConfig(t)
	config.MemoryMiB = 64
	config.Ports = []string{"org.test.0"}
	vm := startVM(t, config)
	var saved bytes.Buffer
	if err := vm.SaveState(t.Context(), &saved); err != nil {
		t.Fatal(err)
	}
	if got := status(t, vm); got != "postmigrate" {
		t.Errorf("after SaveState the machine is %s", got)
	}
	if err := vm.Quit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if saved.Len() < 64<<10 || saved.Len() > 64<<20 {
		t.Errorf("the state has %d bytes", saved.Len())
	}
	for _, state := range []io.Reader{bytes.NewReader(saved.Bytes()), stateFile(t, saved.Bytes())} {
		began, called := time.Now(), false
		vm, err := Resume(t.Context(), config, state, func() error { called = true; return nil })
		if err != nil {
			t.Fatal(err)
		}
		if got := status(t, vm); got != "running" || !called {
			t.Errorf("after Resume the machine is %s, called %v", got, called)
		}
		t.Logf("resumed in %v", time.Since(began))
		if err := vm.Close(); err != nil {
			t.Error(err)
		}
	}
	refused := errors.New("refused")
	if _, err := Resume(t.Context(), config, bytes.NewReader(saved.Bytes()), func() error { return refused }); !errors.Is(err, refused) {
		t.Errorf("Resume gave %v", err)
	}
	damaged := map[string][]byte{
		"cut off": saved.Bytes()[:saved.Len()/2], "empty": nil, "noise": bytes.Repeat([]byte("noise"), 10_000),
	}
	for name, state := range damaged {
		if vm, err := Resume(t.Context(), config, stateFile(t, state), nil); err == nil || !strings.HasPrefix(err.Error(), "resume a guest: ") {
			t.Errorf("Resume from a file that is %s gave %v", name, err)
			if err == nil {
				vm.Close()
			}
		}
		if vm, err := Resume(t.Context(), config, bytes.NewReader(state), nil); err == nil || !strings.HasPrefix(err.Error(), "resume a guest: ") {
			t.Errorf("Resume from a state that is %s gave %v", name, err)
			if err == nil {
				vm.Close()
			}
		} else {
			t.Logf("%s: %v", name, err)
		}
	}
	config.MemoryMiB = 128
	if vm, err := Resume(t.Context(), config, bytes.NewReader(saved.Bytes()), nil); err == nil {
		vm.Close()
		t.Error("a machine with other memory took the state")
	}
}

// stateFile is a file with something else before the state.
func stateFile(t *testing.T, state []byte) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "state"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if _, err := f.Write(append([]byte("something else"), state...)); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Seek(int64(len("something else")), io.SeekStart); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestSaveStateFails(t *testing.T) {
	vm := startVM(t, testConfig(t))
	full := errors.New("no room")
	began := time.Now()
	if err := vm.SaveState(t.Context(), failingWriter{full}); !errors.Is(err, full) {
		t.Errorf("SaveState gave %v", err)
	} else if time.Since(began) > time.Minute {
		t.Errorf("it took %v: %v", time.Since(began), err)
	}
}

type failingWriter struct{ err error }

func (f failingWriter) Write([]byte) (int, error) { return 0, f.err }
