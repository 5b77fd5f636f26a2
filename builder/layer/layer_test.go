package layer

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// clock is one that the test sets.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func newClock() *clock { return &clock{now: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)} }

var machine = Root{Disk: "disk", Machine: "machine"}

func open(t *testing.T, o Options) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "layers"), o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// spec is a layer to save. Its disk and memory have content of its own.
type spec struct {
	root     Root
	steps    []string
	reads    []Read
	cost     time.Duration
	disk     int // bytes; default 4 KiB
	memory   int // bytes; default 4 KiB, -1 none
	state    string
	base     string
	ends     string
	compress bool
}

func save(ctx context.Context, s *Store, parent *Chain, p spec) (*Chain, error) {
	d, err := s.Begin(ctx, parent, int64(p.disk+max(p.memory, 0)))
	if err != nil {
		return nil, err
	}
	defer d.Abort()
	if p.compress {
		d.price = price{used: 1, budget: 1, saves: time.Hour, bytes: 1}
	}
	overlay := filepath.Join(s.dir, "overlay-"+randomID())
	if err := os.WriteFile(overlay, content(p.disk), 0o600); err != nil {
		return nil, err
	}
	if _, err := d.AddDisk(overlay); err != nil {
		return nil, err
	}
	if p.memory >= 0 {
		m, err := d.Memory()
		if err != nil {
			return nil, err
		}
		if _, err := m.Write(content(p.memory)); err != nil {
			return nil, err
		}
		if err := m.Close(); err != nil {
			return nil, err
		}
	}
	if parent == nil && p.root == (Root{}) {
		p.root = machine
	}
	if p.state == "" {
		p.state = "{}"
	}
	return d.Commit(ctx, Layer{Root: p.root, Base: p.base, Cost: p.cost, State: []byte(p.state),
		Segment: Segment{Steps: p.steps, Reads: p.reads, Component: p.ends}})
}

// content is half random, so that it can be compressed, but not to nothing.
func content(size int) []byte {
	if size == 0 {
		size = 4096
	}
	data := make([]byte, size)
	for i := 0; i+8 <= size; i += 8 {
		binary.LittleEndian.PutUint32(data[i:], rand.Uint32())
	}
	return data
}

// add saves a layer and lets it go.
func add(t *testing.T, s *Store, parent *Chain, p spec) *Chain {
	t.Helper()
	c, err := save(t.Context(), s, parent, p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// writeFile makes a file with content.
func writeFile(t *testing.T, path string, size int) {
	t.Helper()
	if err := os.WriteFile(path, content(size), 0o600); err != nil {
		t.Fatal(err)
	}
}

func steps(text string) []string { return strings.Fields(text) }

func find(t *testing.T, s *Store, q Query) *Chain {
	t.Helper()
	c, err := s.Find(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	if c != nil {
		t.Cleanup(func() { c.Close() })
	}
	return c
}

func query(text string) Query { return Query{Root: machine, Steps: steps(text), Until: -1} }

// expect wants Find to give the layer want, by memory or by disk; no want is no layer.
func expect(t *testing.T, s *Store, q Query, want *Chain, fromDisk bool) {
	t.Helper()
	c := find(t, s, q)
	if want == nil {
		if c != nil {
			t.Errorf("found %s for %v, want none", c.Last().describe(), q.Steps)
		}
		return
	}
	if c == nil {
		t.Errorf("found nothing for %v, want %s", q.Steps, want.Last().describe())
		return
	}
	if c.Last().ID != want.Last().ID || c.BootFromDisk != fromDisk {
		t.Errorf("found %s at %d for %v, disk %v (%s), want %s at %d, disk %v", c.Last().describe(), c.Last().Position, q.Steps, c.BootFromDisk, c.Why,
			want.Last().describe(), want.Last().Position, fromDisk)
	}
	c.Close()
}

func TestFindLongest(t *testing.T) {
	clock := newClock()
	s := open(t, Options{Now: clock.Now})
	expect(t, s, query("a b c"), nil, false)
	root := add(t, s, nil, spec{cost: 50 * time.Second, base: "debian-12"})
	expect(t, s, query("a b c"), root, false)
	clock.add(time.Minute)
	a := add(t, s, root, spec{steps: steps("a"), state: `{"at":1}`})
	bc := add(t, s, a, spec{steps: steps("b c")})
	clock.add(time.Minute)
	b := add(t, s, a, spec{steps: steps("b")})
	abc := add(t, s, root, spec{steps: steps("a b c")})
	x := add(t, s, a, spec{steps: steps("x")})
	for _, c := range []struct {
		steps string
		want  *Chain
	}{
		{"a", a}, {"a b", b}, {"a b x", b}, {"a x c", x}, {"b", root}, {"", root}, {"a c", a},
		{"a b c", abc},   // two are as long: the newest
		{"a b c d", abc}, //
	} {
		expect(t, s, query(c.steps), c.want, false)
	}
	q := query("a b c")
	q.Until = 2
	expect(t, s, q, b, false)
	q.Until = 0
	expect(t, s, q, root, false)
	q = query("a")
	q.Root.Disk = "another"
	expect(t, s, q, nil, false)

	c := find(t, s, query("a"))
	if string(c.Last().State) != `{"at":1}` || c.Last().Base != "debian-12" || c.Last().Total != 50*time.Second {
		t.Errorf("the layer is %+v", c.Last())
	}
	if len(c.Images()) != 2 || c.Images()[0] != c.Path(c.Last(), "disk-0.qcow2") {
		t.Errorf("the images are %v", c.Images())
	}
	if bc.Last().Key != abc.Last().Key && bc.Last().Key == "" {
		t.Error("no key")
	}
	if err := c.Verify(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestFindByDisk(t *testing.T) {
	s := open(t, Options{Now: newClock().Now})
	root := add(t, s, nil, spec{cost: 20 * time.Second})
	a := add(t, s, root, spec{steps: steps("a"), cost: 10 * time.Second})
	ab := add(t, s, a, spec{steps: steps("b"), cost: 15 * time.Second})
	other := Root{Disk: machine.Disk, Machine: "another"}

	q := query("a b")
	q.Root = other
	expect(t, s, q, ab, true)
	q.Steps = nil
	expect(t, s, q, nil, false) // the disk of a booted base is no better than the base

	// A memory that was removed: the disk is used where the steps on it took longer than a boot, here of 20 s.
	remove(ab.Path(ab.Last(), "memory"))
	expect(t, s, query("a b"), a, false)
	q = query("a b")
	q.Longest = true
	expect(t, s, q, ab, true)
	remove(a.Path(a.Last(), "memory"))
	expect(t, s, query("a b"), ab, true)
	expect(t, s, query("a"), root, false)

	// A layer that was saved after such a boot, by the other machine, is found with its memory.
	q = query("a b c")
	q.Root = other
	booted := find(t, s, q)
	abc := add(t, s, booted, spec{root: other, steps: steps("c")})
	expect(t, s, q, abc, false)
	if abc.Last().Key == abc.Last().DiskKey {
		t.Error("the machine is in both keys or none")
	}
	again := add(t, s, booted, spec{root: other}) // no steps: only the memory that was missing
	q.Steps = steps("a b")
	expect(t, s, q, again, false)
}

func TestFindReads(t *testing.T) {
	s := open(t, Options{Now: newClock().Now})
	root := add(t, s, nil, spec{})
	today := map[string]string{"s3://x": "1", "s3://y": "1", "s3://gone": "absent"}
	a := add(t, s, root, spec{steps: steps("a"), reads: []Read{{"object", "s3://x", "1"}, {"object", "s3://gone", "absent"}}})
	b1 := add(t, s, a, spec{steps: steps("b"), reads: []Read{{"object", "s3://y", "1"}, {"object", "s3://x", "1"}}})
	add(t, s, b1, spec{steps: steps("c"), reads: []Read{{"object", "s3://y", "0"}}})
	asked := map[Read]int{}
	q := query("a b c")
	expect(t, s, q, root, false) // without Check nothing with reads
	q.Check = func(_ context.Context, reads []Read) (bool, error) {
		ok := true
		for _, r := range reads {
			asked[r]++
			ok = ok && today[r.Name] == r.Digest
		}
		return ok, nil
	}
	expect(t, s, q, b1, false)
	for r, n := range asked {
		if n != 1 {
			t.Errorf("%v was asked for %d times", r, n)
		}
	}
	today["s3://y"] = "2"
	expect(t, s, q, a, false)
	b2 := add(t, s, a, spec{steps: steps("b"), reads: []Read{{"object", "s3://y", "2"}}})
	expect(t, s, q, b2, false)
	today["s3://y"] = "1"
	expect(t, s, q, b1, false)
	today["s3://gone"] = "1"
	expect(t, s, q, root, false)
	q.Check = func(context.Context, []Read) (bool, error) { return false, io.ErrUnexpectedEOF }
	if _, err := s.Find(t.Context(), q); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the error is %v", err)
	}
}

func TestKeys(t *testing.T) {
	s := open(t, Options{})
	base := []*Layer{{Segment: Segment{Steps: steps("a b"), Reads: []Read{{"object", "x", "1"}}}}}
	key, diskKey := s.keys(machine, base)
	differ := func(what string, root Root, chain []*Layer, disk bool) {
		t.Helper()
		k, d := s.keys(root, chain)
		if k == key || (d == diskKey) == disk {
			t.Errorf("%s: key %v, disk key %v", what, k == key, d == diskKey)
		}
	}
	one := func(steps []string, reads ...Read) []*Layer {
		return []*Layer{{Segment: Segment{Steps: steps, Reads: reads}}}
	}
	read := Read{"object", "x", "1"}
	differ("machine", Root{"disk", "other"}, base, false)
	differ("disk", Root{"other", "machine"}, base, true)
	differ("steps", machine, one(steps("a c"), read), true)
	differ("order", machine, one(steps("b a"), read), true)
	differ("division of texts", machine, one(steps("ab"), read), true)
	differ("no reads", machine, one(steps("a b")), true)
	differ("read's digest", machine, one(steps("a b"), Read{"object", "x", "2"}), true)
	differ("read's name", machine, one(steps("a b"), Read{"object", "y", "1"}), true)
	differ("read's kind", machine, one(steps("a b"), Read{"listing", "x", "1"}), true)
	differ("a step as a read", machine, one(steps("a"), Read{"b", "object", "x"}), true)
	differ("cut in two", machine, []*Layer{one(steps("a"))[0], one(steps("b"), read)[0]}, true)
	if k, d := s.keys(machine, one(steps("a b"), read)); k != key || d != diskKey {
		t.Error("the same layer has another key")
	}
	other := open(t, Options{})
	if k, _ := other.keys(machine, base); k == key {
		t.Error("another store has the same keys")
	}
	again, err := Open(s.dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if k, _ := again.keys(machine, base); k != key {
		t.Error("the store forgot its secret")
	}
	if info, err := os.Stat(filepath.Join(s.dir, secretName)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the secret has mode %v, %v", info.Mode(), err)
	}
	reads := []Read{{"b", "x", "1"}, {"a", "y", "1"}, {"a", "x", "1"}, {"b", "x", "1"}}
	if got := sortedReads(reads); !slices.Equal(got, []Read{{"a", "x", "1"}, {"a", "y", "1"}, {"b", "x", "1"}}) {
		t.Errorf("sorted reads are %v", got)
	}
}

func TestAge(t *testing.T) {
	clock := newClock()
	s := open(t, Options{Now: clock.Now})
	root := add(t, s, nil, spec{})
	clock.add(30 * 24 * time.Hour)
	day := func(text string) Query {
		q := query(text)
		q.MaxAge = 24 * time.Hour
		return q
	}
	expect(t, s, day("a b"), root, false) // a booted base has no age
	a := add(t, s, root, spec{steps: steps("a")})
	clock.add(20 * time.Hour)
	ab := add(t, s, a, spec{steps: steps("b")})
	expect(t, s, day("a b"), ab, false)
	clock.add(4 * time.Hour)
	expect(t, s, day("a b"), ab, false)
	clock.add(time.Second) // the new one stands on one that is too old
	expect(t, s, day("a b"), root, false)
	expect(t, s, query("a b"), ab, false)
	clock.add(-25 * time.Hour)
	expect(t, s, day("a b"), root, false) // from the future
	expect(t, s, query("a b"), ab, false)
	// Saved with the clock gone back: it is as old as it could be.
	abc := add(t, s, ab, spec{steps: steps("c")})
	if !abc.Last().Oldest.Equal(clock.Now()) {
		t.Errorf("the oldest is %v, now %v", abc.Last().Oldest, clock.Now())
	}
}

func TestMemory(t *testing.T) {
	for _, compress := range []bool{false, true} {
		for _, size := range []int{1, 4096, sampleSize, sampleSize + 1, 20<<20 + 17} {
			s := open(t, Options{})
			d, err := s.Begin(t.Context(), nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			if compress {
				d.price = price{used: 1, budget: 1, saves: time.Hour, bytes: 1}
			}
			want := content(size)
			m, err := d.Memory()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.CopyBuffer(struct{ io.Writer }{m}, struct{ io.Reader }{bytes.NewReader(want)}, make([]byte, 100_000)); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(d.Folder(), "disk.qcow2"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			c, err := d.Commit(t.Context(), Layer{Root: machine, Disks: []string{"disk.qcow2"}})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if c.Last().MemoryCompressed != compress && size >= sampleSize {
				t.Errorf("%d bytes: compressed %v, want %v", size, c.Last().MemoryCompressed, compress)
			}
			path := c.Path(c.Last(), c.Last().Memory)
			got, err := readMemory(c)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d bytes, compressed %v: read %d, %v", size, compress, len(got), err)
			}
			flip(t, path, int64(max(0, int(c.Last().Files[c.Last().Memory].Size/2))))
			if _, err := readMemory(c); !errors.Is(err, ErrDamaged) {
				t.Errorf("%d bytes, compressed %v: a flipped byte gives %v", size, compress, err)
			}
		}
	}
}

func readMemory(c *Chain) ([]byte, error) {
	r, err := c.OpenMemory()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// flip changes a byte of a file.
func flip(t *testing.T, path string, at int64) {
	t.Helper()
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x10
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

// TestOtherFiles keeps what else is in the folder, and finds damage to it.
func TestOtherFiles(t *testing.T) {
	s := open(t, Options{})
	d, err := s.Begin(t.Context(), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"disk-0.qcow2", "seed.iso", "vmlinuz"} {
		if err := os.WriteFile(filepath.Join(d.Folder(), name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	seed := d.FinalPath("seed.iso")
	root, err := d.Commit(t.Context(), Layer{Root: machine, Disks: []string{"disk-0.qcow2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if got := root.Last().Others; !slices.Equal(got, []string{"seed.iso", "vmlinuz"}) || seed != root.Path(root.Last(), "seed.iso") {
		t.Errorf("the others are %v, at %s", got, seed)
	}
	a := add(t, s, root, spec{steps: steps("a")})
	time.Sleep(10 * time.Millisecond)
	flip(t, seed, 0)
	if err := a.Verify(t.Context()); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "seed.iso") {
		t.Errorf("the error is %v", err)
	}
	wantLeft(t, s)

	// What a layer cannot hold loses the draft.
	for _, bad := range []string{"Sub/", "layer.json", "..x", "disk 1"} {
		d, err := s.Begin(t.Context(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(d.Folder(), bad)
		if strings.HasSuffix(bad, "/") {
			err = os.Mkdir(path, 0o700)
		} else {
			err = os.WriteFile(path, nil, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		os.WriteFile(filepath.Join(d.Folder(), "disk"), nil, 0o600)
		if _, err := d.Commit(t.Context(), Layer{Root: machine, Disks: []string{"disk"}}); err == nil {
			t.Errorf("%s was taken", bad)
		}
		if _, err := os.Stat(d.Folder()); err == nil {
			t.Errorf("%s: the draft is still there", bad)
		}
	}
}

// TestFindMadeAgain wants what was run again, for --no-cache=COMPONENT say, to be used in the place of what was there, though that run did not
// come as far.
func TestFindMadeAgain(t *testing.T) {
	clock := newClock()
	s := open(t, Options{Now: clock.Now})
	minute := func(parent *Chain, text string, reads ...Read) *Chain {
		t.Helper()
		clock.add(time.Minute)
		return add(t, s, parent, spec{steps: steps(text), reads: reads, cost: 10 * time.Second})
	}
	root := add(t, s, nil, spec{cost: 5 * time.Second})
	a := minute(root, "a")
	b1 := minute(a, "b1") // in a component
	b2 := minute(b1, "b2")
	c := minute(b2, "c")
	all := minute(c, "d")
	q := query("a b1 b2 c d")
	expect(t, s, q, all, false)

	// What came no further than a place where nothing was saved before says nothing of what comes after it.
	clock.add(time.Minute)
	bare := add(t, s, nil, spec{})
	expect(t, s, q, all, false)
	expect(t, s, query("x"), bare, false)

	again := minute(a, "b1 b2") // the layers of a component are where time allows
	expect(t, s, q, again, false)
	expect(t, s, query("a b1 x"), b1, false)
	upTo := q
	upTo.Until = 2
	expect(t, s, upTo, b1, false)

	// The longest of what is left counts, whoever was first.
	c2 := minute(again, "c")
	expect(t, s, q, c2, false)
	late := minute(b2, "c") // of a build that was on the old one when the other began
	expect(t, s, q, c2, false)
	late.Close()

	// Of another answer it takes the place only while that is today's.
	today := "1"
	q.Check = func(_ context.Context, reads []Read) (bool, error) {
		return !slices.ContainsFunc(reads, func(r Read) bool { return r.Digest != today }), nil
	}
	third := minute(a, "b1 b2", Read{"object", "x", "2"})
	expect(t, s, q, c2, false)
	today = "2"
	expect(t, s, q, third, false)

	// Without its memory, too: the old one's would be what was not wanted.
	remove(third.Path(third.Last(), "memory"))
	expect(t, s, q, third, true)
	// If it is gone, so is what it said.
	third.Close()
	remove(third.Path(third.Last(), stateName))
	expect(t, s, q, c2, false)
}

// TestBuildsAtOnce saves the layers of two builds of one recipe in turns: the next one finds all of one of them.
func TestBuildsAtOnce(t *testing.T) {
	clock := newClock()
	s := open(t, Options{Now: clock.Now})
	root := add(t, s, nil, spec{})
	build := []*Chain{root, root}
	for i, n := range []int{0, 1, 1, 0, 0, 1} {
		clock.add(time.Second)
		build[n] = add(t, s, build[n], spec{steps: steps("a b c")[i/2 : i/2+1]})
	}
	expect(t, s, query("a b c"), build[1], false) // its first layer was the newest
}

// TestOldest counts the age from when the first steps began.
func TestOldest(t *testing.T) {
	clock := newClock()
	s := open(t, Options{Now: clock.Now})
	root := add(t, s, nil, spec{cost: time.Minute})
	if !root.Last().Oldest.IsZero() {
		t.Errorf("a booted base is of %v", root.Last().Oldest)
	}
	began := clock.Now()
	clock.add(20 * time.Minute)
	a := add(t, s, root, spec{steps: steps("a"), cost: 20 * time.Minute})
	clock.add(time.Hour)
	b := add(t, s, a, spec{steps: steps("b"), cost: time.Hour})
	for _, c := range []*Chain{a, b} {
		if got := c.Last().Oldest; !got.Equal(began) {
			t.Errorf("the steps of %s are of %v, want %v", c.Last().describe(), got, began)
		}
	}
	q := query("a b")
	q.MaxAge = 80 * time.Minute
	expect(t, s, q, b, false)
	clock.add(time.Second)
	expect(t, s, q, root, false)
}
