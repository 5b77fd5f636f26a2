package builder

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ingot-image/ingot/builder/agent"
	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/builder/component/action"
	"github.com/ingot-image/ingot/builder/layer"
)

// TestWarmSequences edits recipes at random, a thousand times, and builds each after every edit: what comes out, in the guest and in S3, must be
// what a cold build gives, and what lies before an edit must not run again. In every other sequence layers are lost, damaged, of another
// machine and too old, besides.
func TestWarmSequences(t *testing.T) {
	t.Parallel()
	// Garbage in plenty, and little that lasts.
	defer debug.SetGCPercent(debug.SetGCPercent(800))
	parent := ""
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		parent = "/dev/shm" // in memory: most of the work is small files
	}
	dir, err := os.MkdirTemp(parent, "ingot-warm-")
	if err != nil {
		if dir, err = os.MkdirTemp("", "ingot-warm-"); err != nil {
			t.Fatal(err)
		}
	}
	defer os.RemoveAll(dir)
	modules := action.Modules()
	var group errgroup.Group
	group.SetLimit(8) // more than there are CPUs: steps that take a while only wait
	for n := range 1000 {
		group.Go(func() error {
			t.Run(strconv.Itoa(n), func(t *testing.T) {
				s := newSequence(t, filepath.Join(dir, strconv.Itoa(n)), modules, rand.New(rand.NewPCG(uint64(n), 4)), n%2 == 0)
				defer os.RemoveAll(s.dir)
				s.play()
			})
			return nil
		})
	}
	group.Wait()
}

// sequence is one recipe, edited again and again.
type sequence struct {
	t       *testing.T
	r       *rand.Rand
	dir     string
	modules component.Modules
	// plain tells that nothing happens to the layers, so that it is known which of them there are.
	plain   bool
	store   *layer.Store
	now     time.Time
	maxAge  time.Duration
	m       *model
	history []string
	damaged bool
	// oldest is when the first steps in a layer ran, by ID.
	oldest map[string]time.Time
	// before is what the components meant when the recipe was last built to its end, or to the one at failed.
	before []string
	failed int
}

func newSequence(t *testing.T, dir string, modules component.Modules, r *rand.Rand, plain bool) *sequence {
	s := &sequence{
		t: t, r: r, dir: dir, modules: modules, plain: plain, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), m: newModel(r),
		oldest: map[string]time.Time{}, history: []string{"first"},
	}
	if !plain {
		s.maxAge = time.Hour
	}
	var err error
	s.store, err = layer.Open(filepath.Join(dir, "layers"), layer.Options{Reserve: 1, Now: func() time.Time { return s.now }})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *sequence) play() {
	for range 3 + s.r.IntN(3) {
		s.build()
		if s.plain || s.r.IntN(2) == 0 {
			s.history = append(s.history, s.m.edit(s.r))
		} else {
			s.history = append(s.history, s.disturb())
		}
	}
}

// outcome is a run of the model's recipe.
type outcome struct {
	result *component.Result
	err    error
	tree   string
	ran    []string // components whose steps ran, each once
	events []Event
	used   *LayerEvent
}

// apply runs the recipe in a fake guest, with layers or without. It takes no layer beyond the first step of the component until, if there is one.
func (s *sequence) apply(warm bool, until string, failAt int) (o outcome) {
	f := &fakeGuest{disk: filepath.Join(s.dir, "disk"), modules: s.modules, random: s.r, failAt: failAt, slow: warm}
	if err := errors.Join(os.RemoveAll(f.disk), os.MkdirAll(f.disk, 0o755)); err != nil {
		s.t.Fatal(err)
	}
	defer func() {
		o.tree = tree(s.t, f.disk)
		for _, step := range f.ran {
			if name, _, _ := strings.Cut(step, "/"); len(o.ran) == 0 || o.ran[len(o.ran)-1] != name {
				o.ran = append(o.ran, name)
			}
		}
	}()
	plan := s.m.plan()
	req := plan.request(buildPhases...)
	f.services = agent.Services{S3: s.m.cloud, Parameters: s.m.cloud}
	if !warm {
		o.result, o.err = f.run(s.t.Context(), req, func(component.Event) {})
		return o
	}
	steps, err := plan.steps(s.store)
	if err != nil {
		s.t.Fatal(err)
	}
	w := &warmth{tell: func(e Event) { s.heard(&o, e) }, store: s.store, reads: newReads(f.services, s.store), steps: steps}
	w.root = layer.Root{Disk: s.store.Sum("a disk"), Machine: s.store.Sum("machine", strconv.Itoa(s.m.machine))}
	f.services = w.reads.recorded()
	query := layer.Query{Root: w.root, Steps: w.digests(0, len(steps)), MaxAge: s.maxAge, Until: -1, Check: w.reads.current}
	if until != "" {
		query.Until = slices.IndexFunc(steps, func(p plannedStep) bool { return p.component == until })
	}
	found, err := w.goOn(s.t.Context(), f, query, &req)
	if err == nil && !found {
		err = w.save(s.t.Context(), f, layer.Segment{}, nil, time.Millisecond)
	}
	if err != nil {
		s.t.Fatal(s.history, err)
	}
	defer func() { w.chain.Close() }()
	o.result, _, o.err = w.apply(s.t.Context(), f, req, func(component.Event) {})
	return o
}

// heard takes an event of a warm build, and watches the layers' ages.
func (s *sequence) heard(o *outcome, e Event) {
	o.events = append(o.events, e)
	switch e.Type {
	case Warning:
		if !s.damaged || !strings.HasPrefix(e.Detail, "layer ") {
			s.t.Errorf("%v: %s", s.history, e.Detail)
		}
	case LayerUsed:
		o.used = e.Layer
		if age := s.now.Sub(s.oldest[e.Layer.ID]); s.maxAge > 0 && e.Layer.Component != "" && age > s.maxAge {
			s.t.Errorf("%v: a layer is used that is %v old", s.history, age)
		}
	case LayerSaved:
		if e.Layer.Component == "" {
			return
		}
		// It stands on the one before.
		oldest := s.now
		for _, below := range slices.Backward(o.events[:len(o.events)-1]) {
			if below.Layer != nil {
				if at, ok := s.oldest[below.Layer.ID]; ok {
					oldest = at
				}
				break
			}
		}
		s.oldest[e.Layer.ID] = oldest
	}
}

// build builds cold and warm, and compares.
func (s *sequence) build() {
	start := s.m.cloud.clone()
	s.m.cloud = start.clone()
	cold := s.apply(false, "", 0)
	if cold.err != nil {
		s.t.Fatal(s.history, cold.err)
	}
	made := s.m.cloud
	s.m.cloud = start
	failAt, until := 0, ""
	switch s.r.IntN(8) {
	case 0:
		failAt = 1 + s.r.IntN(6)
		s.history = append(s.history, fmt.Sprintf("(cut off at %d)", failAt))
	case 1:
		until = s.m.components[s.r.IntN(len(s.m.components))].name
		s.history = append(s.history, "(no cache of "+until+")")
	}
	first := s.unchanged()
	warm := s.apply(true, until, failAt)
	for _, name := range warm.ran {
		if at := s.m.index(name); s.plain && at < first && (until == "" || at < s.m.index(until)) {
			s.t.Errorf("%v: %s ran again, though nothing before component %d has changed\n%s", s.history, name, first, eventLines(warm.events))
		}
	}
	if errors.Is(warm.err, errCutOff) {
		return
	}
	if warm.err != nil {
		s.t.Fatal(s.history, warm.err)
	}
	if warm.result.Status != cold.result.Status || warm.tree != cold.tree {
		s.t.Fatalf("%v: %s instead of %s\nwarm, ran %v:\n%s\ncold:\n%s", s.history, warm.result.Status, cold.result.Status, warm.ran, warm.tree, cold.tree)
	}
	if got, want := fmt.Sprint(s.m.cloud.objects), fmt.Sprint(made.objects); got != want {
		s.t.Fatalf("%v: uploaded\n%s\nand cold\n%s", s.history, got, want)
	}
	s.before, s.failed = s.m.meanings(), len(s.m.components)
	if failure := warm.result.Failure; failure != nil {
		s.failed = s.m.index(failure.Component)
	}
	if until != "" {
		for i, c := range s.m.components {
			if i >= s.m.index(until) && i <= s.failed && !slices.Contains(warm.ran, c.name) {
				s.t.Errorf("%v: %s did not run, but only %v", s.history, c.name, warm.ran)
			}
		}
	}
	// The same again runs nothing at all, or what fails.
	again := s.apply(true, "", 0)
	if again.err != nil || again.result.Status != warm.result.Status || again.tree != cold.tree ||
		slices.ContainsFunc(again.ran, func(name string) bool { return s.m.index(name) < s.failed }) {
		s.t.Fatalf("%v: unchanged, but ran %v, %v\n%s", s.history, again.ran, again.err, eventLines(again.events))
	}
}

// unchanged is the number of components, from the first one on, that were all built as they are now.
func (s *sequence) unchanged() int {
	now := s.m.meanings()
	for i := range now {
		if i >= len(s.before) || i >= s.failed || now[i] != s.before[i] {
			return i
		}
	}
	return len(now)
}

// disturb does something to the layers.
func (s *sequence) disturb() string {
	files, err := filepath.Glob(filepath.Join(s.dir, "layers/*-*/*"))
	if err != nil || len(files) == 0 {
		s.t.Fatalf("%q, %v", files, err)
	}
	switch s.r.IntN(5) {
	case 0:
		s.m.machine = s.r.IntN(2)
		return "the machine"
	case 1:
		for _, path := range files {
			if strings.HasPrefix(filepath.Base(path), "memory") && s.r.IntN(2) == 0 {
				if err := os.Remove(path); err != nil {
					s.t.Fatal(err)
				}
			}
		}
		return "memories removed"
	case 2, 3:
		s.damaged = true
		path := files[s.r.IntN(len(files))]
		s.flip(path)
		return "damaged " + filepath.Base(path)
	}
	s.now = s.now.Add(time.Duration(s.r.IntN(50)) * time.Minute)
	return "time passes"
}

// flip changes a byte of a file.
func (s *sequence) flip(path string) {
	data, err := os.ReadFile(path)
	if err != nil {
		s.t.Fatal(err)
	}
	if len(data) == 0 {
		return
	}
	data[s.r.IntN(len(data))] ^= 1 << s.r.IntN(8)
	// The time tells that it was written to, even if that is less than a tick after it was made.
	if err := errors.Join(os.Chmod(path, 0o600), os.WriteFile(path, data, 0o600), os.Chtimes(path, time.Time{}, time.Now().Add(time.Second))); err != nil {
		s.t.Fatal(err)
	}
}

func eventLines(events []Event) string {
	var b strings.Builder
	for _, e := range events {
		fmt.Fprintf(&b, "%s %s", e.Type, e.Detail)
		if e.Layer != nil {
			fmt.Fprintf(&b, " %+v", *e.Layer)
		}
		b.WriteByte('\n')
	}
	return b.String()
}
