package layer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain lets the test binary be a process that saves layers until it is killed: TestKilledSave.
func TestMain(m *testing.M) {
	if dir := os.Getenv("LAYER_TEST_SAVE"); dir != "" {
		if err := saveForever(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// saveForever goes on from what it finds, with one layer more each time, and starts again at 6.
func saveForever(dir string) error {
	// Less than a chain takes: memories of its own go.
	s, err := Open(dir, Options{MaxSize: 12 << 20, Reserve: 1})
	if err != nil {
		return err
	}
	ctx := context.Background()
	fmt.Print("r")
	for n := 0; ; n++ {
		q := query(strings.Repeat("s ", n%6))
		c, err := s.Find(ctx, q)
		if err != nil {
			return err
		}
		if c != nil {
			if err := c.Verify(ctx); err != nil {
				return fmt.Errorf("found what was not whole: %w", err)
			}
		}
		var add spec
		if c != nil {
			add.steps = steps("s")
		}
		add.disk, add.memory, add.compress = 1<<20, 2<<20, n%2 == 0
		saved, err := save(ctx, s, c, add)
		if err != nil && !errors.Is(err, ErrNoRoom) {
			return err
		}
		errors.Join(saved.Close(), c.Close())
		fmt.Print(".")
	}
}

// TestKilledSave kills processes that save layers of the same keys, at random moments, while this one prunes. Whatever can be found is whole.
func TestKilledSave(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "layers")
	s, err := Open(dir, Options{MaxSize: 40 << 20})
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	drafts, found := 0, 0
	for kill := range 25 {
		var children []*exec.Cmd
		for range 2 {
			cmd := exec.Command(self, "-test.run=^$")
			cmd.Env = append(os.Environ(), "LAYER_TEST_SAVE="+dir)
			cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
			cmd.Stderr = new(strings.Builder)
			out, err := cmd.StdoutPipe()
			if err == nil {
				err = cmd.Start()
			}
			if err != nil {
				t.Fatal(err)
			}
			io.ReadFull(out, make([]byte, 1+kill%3)) // so that it has saved none, one or two
			children = append(children, cmd)
		}
		time.Sleep(time.Duration(random.IntN(100)) * time.Millisecond)
		if kill%4 == 0 {
			if _, err := s.Prune(t.Context(), PruneOptions{ToSize: 5 << 20}); err != nil {
				t.Error(err)
			}
		}
		for _, cmd := range children {
			cmd.Process.Kill()
			err := cmd.Wait()
			var exit *exec.ExitError
			if errors.As(err, &exit) && exit.Exited() {
				t.Fatalf("a process ended by itself: %v: %s", err, cmd.Stderr)
			}
		}
		left, _ := filepath.Glob(filepath.Join(dir, ".*"+makingSuffix))
		drafts += len(left)
		for n := range 6 {
			if c := find(t, s, query(strings.Repeat("s ", n))); c != nil {
				found++
				if err := c.Verify(t.Context()); err != nil {
					t.Fatalf("kill %d: %v", kill, err)
				}
				if _, err := readMemory(c); err != nil && !c.BootFromDisk {
					t.Fatalf("kill %d: %v", kill, err)
				}
				c.Close()
			}
		}
		if damages, err := s.VerifyAll(t.Context(), nil); err != nil || len(damages) > 0 {
			t.Fatalf("kill %d: %v, %v", kill, damages, err)
		}
	}
	t.Logf("%d drafts were left by kills, %d chains found", drafts, found)
	if drafts == 0 || found == 0 {
		t.Error("the kills did not meet anything")
	}
	if _, err := s.Prune(t.Context(), PruneOptions{ToSize: -1}); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
}

// TestSameKeyAtOnce saves the same layer several times at once, while others prune and verify.
func TestSameKeyAtOnce(t *testing.T) {
	s := open(t, Options{})
	root := add(t, s, nil, spec{})
	var group sync.WaitGroup
	chains := make([]*Chain, 8)
	for i := range chains {
		group.Go(func() {
			c, err := save(t.Context(), s, root, spec{steps: steps("a")})
			if err != nil {
				t.Error(err)
			}
			chains[i] = c
			if _, err := s.Prune(t.Context(), PruneOptions{All: true}); err != nil {
				t.Error(err)
			}
			if _, err := s.VerifyAll(t.Context(), nil); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	seen := map[string]bool{}
	for _, c := range chains {
		if c.Last().Key != chains[0].Last().Key || seen[c.Last().ID] {
			t.Errorf("%s has the key %s", c.Last().ID, c.Last().Key)
		}
		seen[c.Last().ID] = true
		if err := c.Verify(t.Context()); err != nil {
			t.Error(err)
		}
		c.Close()
	}
}

// TestFullDisk saves into a small file system.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=16m"); err != nil {
		t.Skipf("no small file system can be mounted here: %v", err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	s, err := Open(filepath.Join(dir, "layers"), Options{Reserve: 4096, MaxSize: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	root := add(t, s, nil, spec{disk: 1 << 20, memory: 1 << 20})
	overlay := filepath.Join(dir, "overlay")
	if err := os.WriteFile(overlay, content(1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, compress := range []bool{false, true} {
		d, err := s.Begin(t.Context(), root, 1<<20) // far too little, as it turns out
		if err != nil {
			t.Fatal(err)
		}
		if compress {
			d.price = price{used: 1, budget: 1, saves: time.Hour, bytes: 1}
		}
		if _, err := d.AddDisk(overlay); err != nil {
			t.Fatal(err)
		}
		m, err := d.Memory()
		if err != nil {
			t.Fatal(err)
		}
		data := content(1 << 20)
		for n := 0; n < 64 && err == nil; n++ {
			for i := 0; i < len(data); i += 8 {
				copy(data[i:], strconv.FormatUint(rand.Uint64(), 36))
			}
			_, err = m.Write(data)
		}
		err = errors.Join(err, m.Close())
		if !errors.Is(err, ErrNoRoom) || !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("compress %v: the error is %v", compress, err)
		}
		if _, err := d.Commit(t.Context(), Layer{Segment: Segment{Steps: steps("a")}}); !errors.Is(err, ErrNoRoom) {
			t.Errorf("compress %v: commit gives %v", compress, err)
		}
		if err := d.Abort(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(overlay); err != nil {
			t.Errorf("compress %v: the guest's disk is gone: %v", compress, err)
		}
		wantLeft(t, s, root.Last().ID)
		if left, _ := filepath.Glob(filepath.Join(s.dir, ".*")); len(left) > 0 {
			t.Errorf("left are %v", left)
		}
	}
	if _, err := s.Begin(t.Context(), root, 32<<20); !errors.Is(err, ErrNoRoom) {
		t.Errorf("the error is %v", err)
	}
	expect(t, s, query("a"), root, false)
}

// TestNearlyFullDisk stops a memory that is larger than was thought before the last bytes are gone.
func TestNearlyFullDisk(t *testing.T) {
	s := open(t, Options{Reserve: 1 << 30})
	d, err := s.Begin(t.Context(), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Abort()
	m, err := d.Memory()
	if err != nil {
		t.Fatal(err)
	}
	s.o.Free = func(string) (int64, error) { return 511 << 20, nil }
	data := make([]byte, 1<<20)
	n := 0
	for ; n < 200 && err == nil; n++ {
		_, err = m.Write(data)
	}
	if !errors.Is(err, ErrNoRoom) || n > 40 {
		t.Errorf("after %d MiB the error is %v", n, err)
	}
}

// TestDraftIsOwned wants Begin to tell of its folder before there is anything in it.
func TestDraftIsOwned(t *testing.T) {
	var told []string
	s := open(t, Options{Making: func(dir string) error {
		told = append(told, dir)
		if len(told) == 2 {
			return errors.New("no")
		}
		return nil
	}})
	d, err := s.Begin(t.Context(), nil, 0)
	if err != nil || len(told) != 1 || told[0] != d.Folder() {
		t.Errorf("told %v, %v", told, err)
	}
	if err := d.Abort(); err != nil {
		t.Error(err)
	}
	if err := d.Abort(); err != nil {
		t.Errorf("again: %v", err)
	}
	if _, err := s.Begin(t.Context(), nil, 0); err == nil {
		t.Error("began without an owner")
	}
	if left, _ := filepath.Glob(filepath.Join(s.dir, ".*")); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
}
