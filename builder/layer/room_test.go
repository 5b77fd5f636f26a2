package layer

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// ladder saves a chain of layers with memories of 200 KiB and disks of 100 KiB, one step each, whose costs are given in seconds. Only the last one's
// chain is held, as a build holds it.
func ladder(t *testing.T, s *Store, costs ...int) (*Chain, error) {
	t.Helper()
	var c *Chain
	for i, cost := range costs {
		p := spec{cost: time.Duration(cost) * time.Second, disk: 100 * kib, memory: 200 * kib}
		if i > 0 {
			p.steps = []string{string(rune('a' + i - 1))}
		}
		next, err := save(t.Context(), s, c, p)
		c.Close()
		if err != nil {
			return nil, err
		}
		c = next
	}
	t.Cleanup(func() { c.Close() })
	return c, nil
}

// memories are the names of a chain's layers that have theirs: the root and the steps a, b, c …
func memories(c *Chain) string {
	var names strings.Builder
	for _, l := range c.Layers {
		if m, _ := c.store.sizes(l); m > 0 {
			names.WriteString(strings.Join(append(l.Steps, "root")[:1], ""))
		}
	}
	return names.String()
}

// TestLongRecipe saves many more layers than the budget has room for memories, all on each other.
func TestLongRecipe(t *testing.T) {
	s := open(t, Options{MaxSize: 2000 * kib})
	c, err := ladder(t, s, 20, 10, 10, 10, 10, 10, 10, 10, 10, 10, 10)
	if err != nil {
		t.Fatal(err)
	}
	if got := memories(c); !strings.HasSuffix(got, "ij") {
		t.Errorf("the memories of %s are left, without the last one's", got)
	}
	usage, err := s.Usage()
	if err != nil || usage.SizeBytes > 2000*kib {
		t.Errorf("takes %d KiB, %v", usage.SizeBytes/kib, err)
	}
	expect(t, s, query("a b c d e f g h i j"), c, false)
	if err := c.Verify(t.Context()); err != nil {
		t.Error(err)
	}
	// The whole chain is still held.
	if _, err := s.Prune(t.Context(), PruneOptions{All: true}); err != nil {
		t.Fatal(err)
	}
	if got := left(t, s); len(got) != 11 {
		t.Errorf("left are %v", got)
	}
	for i, l := range c.Layers {
		if f, err := tryFolder(s.path(l), 2 /* LOCK_EX */); f != nil || err != nil {
			t.Errorf("layer %d is not held: %v", i, err)
		}
	}
	// Where there is nothing but disks left to remove, there is no room.
	if _, err := s.Begin(t.Context(), c, 900*kib); !errors.Is(err, ErrNoRoom) {
		t.Errorf("the error is %v", err)
	}
}

// TestLeastMemory wants those memories to go first that save the least time.
func TestLeastMemory(t *testing.T) {
	for _, c := range []struct {
		costs string
		secs  []int
		take  int64 // memories that must go
		want  string
	}{
		{"nothing", []int{20, 10, 2, 10}, 0, "rootabc"},
		{"a short step", []int{20, 10, 2, 10, 3}, 1, "rootacd"},
		{"and what comes after it", []int{20, 10, 2, 3, 10, 3}, 2, "rootade"},
		{"every other of equal ones", []int{50, 10, 10, 10, 10, 10}, 2, "rootbde"},
		{"a boot instead of long steps", []int{5, 10, 100, 7, 3}, 2, "bcd"},
	} {
		s := open(t, Options{MaxSize: 100000 * kib})
		chain, err := ladder(t, s, c.secs...)
		if err != nil {
			t.Fatal(err)
		}
		usage, err := s.Usage()
		if err != nil {
			t.Fatal(err)
		}
		s.o.MaxSize = usage.SizeBytes + 10*kib
		d, err := s.Begin(t.Context(), chain, c.take*200*kib)
		if err != nil {
			t.Fatal(err)
		}
		d.Abort()
		if got := memories(chain); got != c.want {
			t.Errorf("%s: left are the memories of %s, want %s", c.costs, got, c.want)
		}
	}
}

// TestMemoryInUse wants a memory to stay that somebody else may be resuming from, and others to go before any of the chain.
func TestMemoryInUse(t *testing.T) {
	s := open(t, Options{MaxSize: 100000 * kib})
	chain, err := ladder(t, s, 20, 10, 10, 10)
	if err != nil {
		t.Fatal(err)
	}
	other := add(t, s, nil, spec{disk: 100 * kib, memory: 200 * kib})
	other.Close()
	resuming := find(t, s, query("a b"))
	usage, err := s.Usage()
	if err != nil {
		t.Fatal(err)
	}
	s.o.MaxSize = usage.SizeBytes + 10*kib
	begin := func(need int64, want string, no bool) {
		t.Helper()
		d, err := s.Begin(t.Context(), chain, need*kib)
		if no != errors.Is(err, ErrNoRoom) || !no && err != nil {
			t.Errorf("%d KiB: the error is %v", need, err)
		}
		if err == nil {
			d.Abort()
		}
		if got := memories(chain); got != want {
			t.Errorf("%d KiB: left are the memories of %s, want %s", need, got, want)
		}
	}
	begin(300, "rootabc", false) // the other root is enough
	if slices.ContainsFunc(left(t, s), func(id string) bool { return strings.HasPrefix(id, other.Last().ID) }) {
		t.Error("the other root is there")
	}
	s.o.MaxSize -= 300 * kib
	begin(100, "rootabc", true)
	if _, err := readMemory(resuming); err != nil {
		t.Error(err)
	}
	for _, l := range chain.Layers {
		f, err := tryFolder(s.path(l), 2)
		if f != nil || err != nil {
			t.Errorf("%s is not held after a failure: %v", l.describe(), err)
		}
	}
	resuming.Close()
	begin(700, "rootabc", true) // nothing is paid for what cannot be had: the last one's memory stays
	begin(100, "rootbc", false)
}

// TestDisksCount wants the disks that are moved in to count when the layer is committed: a caller cannot know their size in Begin.
func TestDisksCount(t *testing.T) {
	s := open(t, Options{MaxSize: 1000 * kib})
	small := func(disk int, text string) spec { return spec{steps: steps(text), disk: disk * kib, memory: 100 * kib} }
	old := add(t, s, nil, small(100, ""))
	old.Close()
	parent := add(t, s, nil, small(100, ""))
	commit := func(disk int) (*Chain, error) {
		d, err := s.Begin(t.Context(), parent, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Abort()
		overlay := filepath.Join(s.dir, "overlay")
		writeFile(t, overlay, disk*kib)
		if _, err := d.AddDisk(overlay); err != nil {
			t.Fatal(err)
		}
		return d.Commit(t.Context(), Layer{Segment: Segment{Steps: steps("a")}})
	}
	within := func() {
		t.Helper()
		if usage, err := s.Usage(); err != nil || usage.SizeBytes > usage.MaxBytes+20*kib { // the overlay of the test lies there, too
			t.Errorf("takes %d KiB, may %d, %v", usage.SizeBytes/kib, usage.MaxBytes/kib, err)
		}
	}
	c, err := commit(700)
	if err != nil {
		t.Fatal(err)
	}
	within()
	wantLeft(t, s, parent.Last().ID, c.Last().ID+"-") // the old one had to go
	c.Close()
	if _, err := s.Prune(t.Context(), PruneOptions{ToSize: 300 * kib}); err != nil {
		t.Fatal(err)
	}
	if _, err := commit(900); !errors.Is(err, ErrNoRoom) {
		t.Errorf("the error is %v", err)
	}
	wantLeft(t, s, parent.Last().ID)
	if left, _ := filepath.Glob(filepath.Join(s.dir, ".*")); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
}
