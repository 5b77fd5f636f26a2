package layer

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const kib = 1 << 10

// left are the IDs of the layers that are there, with a - after those without memory.
func left(t *testing.T, s *Store) []string {
	t.Helper()
	list, err := s.List()
	if err != nil {
		t.Fatal(err)
	}
	ids := []string{}
	for _, i := range list {
		if i.MemoryBytes == 0 {
			i.ID += "-"
		}
		ids = append(ids, i.ID)
	}
	return ids
}

func wantLeft(t *testing.T, s *Store, want ...string) {
	t.Helper()
	got := left(t, s)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("left are %v, want %v", got, want)
	}
}

// at is the path of a layer's folder, or of a file in it.
func at(t *testing.T, s *Store, id string, name ...string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(s.dir, "*-"+id))
	if err != nil || len(found) != 1 {
		return filepath.Join(s.dir, "gone-"+id)
	}
	return filepath.Join(append(found, name...)...)
}

// tree is root, a, b, c in a chain, and x beside b; all released, used in the order c, b, a, x, root, all 100 KiB of disk and 200 of memory.
func tree(t *testing.T, o Options) (s *Store, clock *clock, id map[string]string) {
	clock = newClock()
	o.Now = clock.Now
	s = open(t, o)
	sized := func(text string) spec { return spec{steps: steps(text), disk: 100 * kib, memory: 200 * kib} }
	root := add(t, s, nil, sized(""))
	a := add(t, s, root, sized("a"))
	b := add(t, s, a, sized("b"))
	c := add(t, s, b, sized("c"))
	x := add(t, s, a, sized("x"))
	id = map[string]string{}
	for i, chain := range []*Chain{c, b, a, x, root} {
		name := []string{"c", "b", "a", "x", "root"}[i]
		id[name] = chain.Last().ID
		chain.Close()
		clock.add(time.Minute)
		if name == "root" {
			break
		}
	}
	for _, text := range []string{"a b c", "a b", "a", "a x", ""} {
		q := query(text)
		find(t, s, q).Close()
		clock.add(time.Minute)
	}
	return s, clock, id
}

func TestPruneOrder(t *testing.T) {
	s, _, id := tree(t, Options{})
	step := func(size int64, want ...string) {
		t.Helper()
		freed, err := s.Prune(t.Context(), PruneOptions{ToSize: size * kib})
		if err != nil {
			t.Fatal(err)
		}
		if usage, err := s.Usage(); err != nil || usage.SizeBytes > size*kib {
			t.Errorf("takes %d KiB, want at most %d (freed %+v)", usage.SizeBytes/kib, size, freed)
		}
		wantLeft(t, s, want...)
	}
	c, b, a, x, root := id["c"], id["b"], id["a"], id["x"], id["root"]
	step(1700, c, b, a, x, root)
	step(1400, b, a, x, root) // c, the end of a chain
	step(1100, a, x, root)    // b is one now
	step(900, a+"-", x, root) // a is not: x stands on it
	step(600, a+"-", root)    // x was used later than a, but a is needed by it
	step(400, root)           // now a can go
	step(100)                 // and the root
	if _, err := s.Prune(t.Context(), PruneOptions{ToSize: 1}); err != nil {
		t.Error(err)
	}
}

func TestPruneOptions(t *testing.T) {
	t.Run("older", func(t *testing.T) {
		s, clock, id := tree(t, Options{})
		// The last uses were 5, 4, 3, 2 and 1 minutes ago.
		if _, err := s.Prune(t.Context(), PruneOptions{OlderThan: 210 * time.Second, ToSize: -1}); err != nil {
			t.Fatal(err)
		}
		wantLeft(t, s, id["a"], id["x"], id["root"])
		clock.add(-time.Hour) // what was used in the future was used just now
		if _, err := s.Prune(t.Context(), PruneOptions{OlderThan: time.Minute, ToSize: -1}); err != nil {
			t.Fatal(err)
		}
		wantLeft(t, s, id["a"], id["x"], id["root"])
	})
	t.Run("all", func(t *testing.T) {
		s, _, id := tree(t, Options{})
		if err := s.SetFinished("key", []byte(`{}`)); err != nil {
			t.Fatal(err)
		}
		held := find(t, s, query("a b"))
		freed, err := s.Prune(t.Context(), PruneOptions{All: true})
		if err != nil || freed.Layers != 2 || freed.Memories != 0 || freed.Bytes < 600*kib {
			t.Errorf("freed %+v, %v", freed, err)
		}
		wantLeft(t, s, id["root"], id["a"], id["b"])
		if err := held.Verify(t.Context()); err != nil {
			t.Error(err)
		}
		held.Close()
		if _, err := s.Prune(t.Context(), PruneOptions{All: true}); err != nil {
			t.Fatal(err)
		}
		wantLeft(t, s)
		if _, ok := s.Finished("key"); ok {
			t.Error("a finished image is remembered")
		}
	})
	t.Run("budget", func(t *testing.T) {
		s, _, id := tree(t, Options{})
		s.o.MaxSize = 1400 * kib
		if _, err := s.Prune(t.Context(), PruneOptions{}); err != nil {
			t.Fatal(err)
		}
		wantLeft(t, s, id["b"], id["a"], id["x"], id["root"])
	})
	t.Run("pinned", func(t *testing.T) {
		s, _, id := tree(t, Options{})
		s.o.Pinned = func() map[string]bool { return map[string]bool{id["b"]: true} }
		if _, err := s.Prune(t.Context(), PruneOptions{All: true}); err != nil {
			t.Fatal(err)
		}
		wantLeft(t, s, id["root"]+"-", id["a"]+"-", id["b"]+"-") // disks only
	})
}

func TestBeginMakesRoom(t *testing.T) {
	s, _, id := tree(t, Options{MaxSize: 1700 * kib})
	parent := find(t, s, query("a b"))
	d, err := s.Begin(t.Context(), parent, 300*kib) // c is the only one that is not needed, but for x
	if err != nil {
		t.Fatal(err)
	}
	wantLeft(t, s, id["root"], id["a"], id["b"], id["x"])
	if err := d.Abort(); err != nil {
		t.Error(err)
	}
	// What cannot be had is not paid for.
	for _, need := range []int64{1800 * kib, 1300 * kib} {
		if _, err := s.Begin(t.Context(), parent, need); !errors.Is(err, ErrNoRoom) {
			t.Errorf("%d KiB: the error is %v", need/kib, err)
		}
		wantLeft(t, s, id["root"], id["a"], id["b"], id["x"])
	}
	// The file system counts as well as the budget.
	s.o.Free = func(string) (int64, error) { return 100 * kib, nil }
	s.o.Reserve = 200 * kib
	d, err = s.Begin(t.Context(), parent, 50*kib)
	if err != nil {
		t.Fatal(err)
	}
	d.Abort()
	wantLeft(t, s, id["root"], id["a"], id["b"])
	s.o.Reserve = 800 * kib // more than the memories of root and a
	if _, err := s.Begin(t.Context(), parent, 0); !errors.Is(err, ErrNoRoom) || !strings.Contains(err.Error(), "free on the disk") {
		t.Errorf("the error is %v", err)
	}
}

func TestDefaultBudget(t *testing.T) {
	s := open(t, Options{})
	for _, c := range []struct{ free, want int64 }{{57 << 30, 10 << 30}, {400 << 30, 40 << 30}, {0, 10 << 30}} {
		s.o.Free = func(string) (int64, error) { return c.free, nil }
		if got := s.budget(0); got != c.want {
			t.Errorf("the budget is %d GiB with %d GiB free, want %d", got>>30, c.free>>30, c.want>>30)
		}
	}
	s.o.Free = func(string) (int64, error) { return 300 << 30, nil }
	if got := s.budget(100 << 30); got != 40<<30 {
		t.Errorf("the budget is %d GiB: what the store takes counts as free", got>>30)
	}
}

func TestSweep(t *testing.T) {
	s, _, id := tree(t, Options{})
	list, err := s.List()
	if err != nil || len(list) != 5 {
		t.Fatal(list, err)
	}
	make := func(name string, files ...string) {
		t.Helper()
		for _, file := range append(files, "x") {
			path := filepath.Join(s.dir, name, file)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	make(".0123456789ab.making")
	make(".0123456789ab.gone")
	make("root-0123456789ab")                   // no record
	make("root-1123456789ab", recordName)       // no right one
	make("notes")                               // somebody's own
	make("ffffffffffff-2123456789ab", "disk-0") // pinned
	s.o.Pinned = func() map[string]bool { return map[string]bool{"2123456789ab": true} }
	draft, err := s.Begin(t.Context(), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	make("root-3123456789ab")
	// A record of another version, whose children are lost with it.
	record := at(t, s, id["b"], recordName)
	data, err := os.ReadFile(record)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(record, []byte(strings.Replace(string(data), `"version":1`, `"version":2`, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	expect(t, s, query("x"), &Chain{Layers: []*Layer{{ID: id["root"]}}}, false)
	held, err := s.hold(t.Context(), &Layer{ParentID: id["b"], ID: id["c"]})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Prune(t.Context(), PruneOptions{ToSize: -1}); err != nil {
		t.Fatal(err)
	}
	wantLeft(t, s, id["root"], id["a"], id["x"])
	if _, err := os.Stat(at(t, s, id["c"])); err != nil {
		t.Error("a folder was removed while somebody held it")
	}
	held.Close()
	if _, err := s.Prune(t.Context(), PruneOptions{ToSize: -1}); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	base := func(id string) string { return filepath.Base(at(t, s, id)) }
	want := []string{base(id["root"]), base(id["a"]), base(id["x"]), "ffffffffffff-2123456789ab", "notes", lockName, secretName, filepath.Base(draft.Folder())}
	slices.Sort(want)
	if !slices.Equal(names, want) {
		t.Errorf("left are %v, want %v", names, want)
	}
	if err := draft.Abort(); err != nil {
		t.Error(err)
	}
}

func TestRemovalSparesNewChild(t *testing.T) {
	// Between the choice of a leaf and its removal nobody can put a layer on top of it: whoever does holds it.
	s, _, id := tree(t, Options{})
	parent := find(t, s, query("a b c"))
	d, err := s.Begin(t.Context(), parent, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Prune(t.Context(), PruneOptions{All: true}); err != nil {
		t.Fatal(err)
	}
	wantLeft(t, s, id["root"], id["a"], id["b"], id["c"])
	if err := os.WriteFile(filepath.Join(d.Folder(), "disk"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := d.Commit(t.Context(), Layer{Disks: []string{"disk"}, Segment: Segment{Steps: steps("d")}})
	if err != nil {
		t.Fatal(err)
	}
	parent.Close()
	if _, err := s.Prune(t.Context(), PruneOptions{All: true}); err != nil {
		t.Fatal(err)
	}
	wantLeft(t, s, id["root"], id["a"], id["b"], id["c"], c.Last().ID+"-")
	c.Close()
}

func TestFinished(t *testing.T) {
	clock := newClock()
	s := open(t, Options{Now: clock.Now})
	key := s.Sum("finished", "layer", "plan")
	if _, ok := s.Finished(key); ok {
		t.Error("something is known before it was told")
	}
	for _, record := range []string{`{"image":"a"}`, `{"image":"b"}`} {
		if err := s.SetFinished(key, []byte(record)); err != nil {
			t.Fatal(err)
		}
		if got, ok := s.Finished(key); !ok || string(got) != record {
			t.Errorf("the record is %s, %v", got, ok)
		}
	}
	if _, ok := s.Finished(s.Sum("finished", "other")); ok {
		t.Error("another key has the record")
	}
	path := filepath.Join(s.dir, finishedName, s.finishedName(key))
	flip(t, path, 100)
	if got, ok := s.Finished(key); ok {
		t.Errorf("a damaged record is used: %s", got)
	}
	if err := s.SetFinished(key, []byte(`{}`)); err != nil {
		t.Fatal(err)
	}
	os.Chtimes(path, time.Time{}, clock.Now().Add(-finishedAge-time.Hour))
	if err := s.SetFinished("new", []byte(`{}`)); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.Finished(key); ok {
		t.Error("an old record is remembered")
	}
	if err := s.SetFinished("bad", []byte(`{`)); err == nil {
		t.Error("what is no JSON was taken")
	}
}

func TestCompressionRule(t *testing.T) {
	half := measure{in: 8 << 20, out: 4 << 20, took: 50 * time.Millisecond}
	full := price{used: 10 << 30, budget: 10 << 30, saves: 20 * time.Minute, bytes: 8 << 30}
	for _, c := range []struct {
		what   string
		price  price
		sample measure
		want   bool
	}{
		{"full store", full, half, true},
		{"half full store", price{used: 5 << 30, budget: 10 << 30, saves: full.saves, bytes: full.bytes}, half, false},
		{"a little more", price{used: 6 << 30, budget: 10 << 30, saves: full.saves, bytes: full.bytes}, half, true},
		{"over full", price{used: 30 << 30, budget: 10 << 30, saves: full.saves, bytes: full.bytes}, half, true},
		{"layers that save next to nothing", price{used: 10 << 30, budget: 10 << 30, saves: time.Second, bytes: full.bytes}, half, false},
		{"empty store", price{used: 1 << 30, budget: 10 << 30}, half, false},
		{"incompressible", full, measure{in: 8 << 20, out: 8 << 20, took: 50 * time.Millisecond}, false},
		{"slow", full, measure{in: 8 << 20, out: 4 << 20, took: 5 * time.Second}, false},
		{"nothing", full, measure{}, false},
		{"no budget", price{used: 1, saves: time.Hour, bytes: 1}, half, false},
	} {
		if got := c.price.worth() > 0 && c.price.compress(c.sample); got != c.want {
			t.Errorf("%s: %v", c.what, got)
		}
	}
}
