package builder

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ingot-image/ingot/builder/agent"
	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/builder/component/action"
	"github.com/ingot-image/ingot/builder/layer"
	"github.com/ingot-image/ingot/builder/recipe"
)

// fakeGuest is a subject without a VM: a folder is its disk, and the component engine itself runs in it.
type fakeGuest struct {
	disk     string // folder
	services agent.Services
	ran      []string // steps, as component/step
	failAt   int      // cut off when so many steps have run; 0 never
	random   *rand.Rand
	awake    bool
}

var errCutOff = errors.New("the guest is gone")

func (f *fakeGuest) wake(ctx context.Context, chain *layer.Chain) error {
	if err := chain.Verify(ctx); err != nil {
		return err
	}
	if !chain.BootFromDisk {
		memory, err := chain.OpenMemory()
		if err != nil {
			return err
		}
		defer memory.Close()
		if text, err := io.ReadAll(memory); err != nil || string(text) != "the memory of "+chain.Last().Component {
			return fmt.Errorf("memory %q, %w", text, err)
		}
	}
	return unpack(chain.Images()[0], f.disk)
}

func (f *fakeGuest) run(ctx context.Context, req component.Request, events func(component.Event)) (*component.Result, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	runner := component.Runner{
		Modules: action.Modules(),
		System:  component.System{Root: f.disk, S3: f.services.S3, Parameters: f.services.Parameters},
		Events: func(e component.Event) {
			if e.Type == component.StepStarted {
				f.ran = append(f.ran, e.Component+"/"+e.Step)
				if f.failAt > 0 && len(f.ran) >= f.failAt {
					cancel(errCutOff)
				}
				if f.random.IntN(4) == 0 {
					time.Sleep(time.Millisecond) // some layers lie inside of components
				}
			}
			events(e)
		},
	}
	return runner.Run(ctx, req)
}

func (f *fakeGuest) snapshot(_ context.Context, draft *layer.Draft) (l layer.Layer, lost, err error) {
	last := ""
	if n := len(f.ran); n > 0 {
		last, _, _ = strings.Cut(f.ran[n-1], "/")
	}
	path := f.disk + ".snapshot"
	if lost = pack(f.disk, path); lost == nil {
		_, lost = draft.AddDisk(path)
	}
	if lost != nil {
		return l, lost, nil
	}
	memory, lost := draft.Memory()
	if lost != nil {
		return l, lost, nil
	}
	_, lost = io.WriteString(memory, "the memory of "+last)
	l.Guest = []byte("{}")
	return l, errors.Join(lost, memory.Close()), nil
}

func (f *fakeGuest) stand(*layer.Chain) {}

func pack(dir, path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	w := tar.NewWriter(f)
	if err := w.AddFS(os.DirFS(dir)); err != nil {
		return err
	}
	return w.Close()
}

func unpack(path, dir string) error {
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		to := filepath.Join(dir, h.Name)
		if h.FileInfo().IsDir() {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		data, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		if err := os.WriteFile(to, data, 0o644); err != nil {
			return err
		}
	}
}

// tree is the content of a disk, for comparison.
func tree(t testing.TB, dir string) string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		all = append(all, rel+": "+string(data))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	sort.Strings(all)
	return strings.Join(all, "\n")
}

// cloud is what the documents read from the host.
type cloud struct {
	parameters map[string]string
	objects    map[string]string
}

func (c cloud) Parameter(_ context.Context, name string) (component.StoredParameter, error) {
	value, ok := c.parameters[name]
	if !ok {
		return component.StoredParameter{}, component.ErrNotFound
	}
	return component.StoredParameter{Type: component.ParameterSecureString, Value: value}, nil
}

func (c cloud) List(context.Context, component.S3Place, int) ([]component.S3Object, error) {
	return nil, nil
}

func (c cloud) Get(_ context.Context, place component.S3Place, w io.Writer) error {
	content, ok := c.objects[place.Key]
	if !ok {
		return component.ErrNotFound
	}
	_, err := io.WriteString(w, content)
	return err
}

func (c cloud) Put(_ context.Context, place component.S3Place, r io.Reader, _ int64) error {
	data, err := io.ReadAll(r)
	c.objects[place.Key] = string(data)
	return err
}

// model is a recipe that can be edited.
type model struct {
	components []*modelComponent
	cloud      cloud
	machine    int
	next       int
}

type modelComponent struct {
	name       string
	parameters map[string]string
	constant   string
	steps      []modelStep
	comment    string // of no consequence
	validate   bool   // the last step is in the phase validate
}

type modelStep struct {
	name string
	kind int // what it does
	text string
}

const modelKinds = 6

func (m *model) newStep(r *rand.Rand) modelStep {
	m.next++
	return modelStep{fmt.Sprintf("Step%d", m.next), r.IntN(modelKinds), strconv.Itoa(r.IntN(5))}
}

func (m *model) newComponent(r *rand.Rand) *modelComponent {
	m.next++
	c := &modelComponent{name: fmt.Sprintf("component-%d", m.next), parameters: map[string]string{"First": strconv.Itoa(r.IntN(5)), "Second": "q"}, constant: "k", validate: r.IntN(3) == 0}
	for range 1 + r.IntN(4) {
		c.steps = append(c.steps, m.newStep(r))
	}
	return c
}

// document writes the component in its language. Every step leaves a trace of what it said and knew in the file /log of its component.
func (c *modelComponent) document() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# %s\nname: %s\ndescription: %s\nschemaVersion: 1.0\n", c.comment, c.name, c.comment)
	fmt.Fprintf(&b, "parameters:\n  - First: {type: string, default: x}\n  - Second: {type: string, default: y}\nconstants:\n  - Third: {type: string, value: %s}\n", c.constant)
	b.WriteString("phases:\n  - name: build\n    steps:\n")
	fmt.Fprintf(&b, "      - name: Begin\n        action: CreateFile\n        inputs:\n          - {path: /log-%s, content: \"begin\\n\", overwrite: true}\n", c.name)
	add := func(name, text string) {
		fmt.Fprintf(&b, "      - name: %s\n        action: AppendFile # %s\n        inputs:\n          - {path: /log-%s, content: \"%s %s\\n\"}\n", name, c.comment, c.name, name, text)
	}
	for i, s := range c.steps {
		if c.validate && i == len(c.steps)-1 {
			b.WriteString("  - name: validate\n    steps:\n")
		}
		switch s.kind {
		case 0:
			add(s.name, s.text)
		case 1:
			add(s.name, "{{ First }}")
		case 2:
			add(s.name, "{{ Third }} {{ Second }}")
		case 3:
			add(s.name, "{{ aws:ssm:/p"+s.text+" }}")
		case 4: // reads what is there, and what was read
			fmt.Fprintf(&b, "      - name: %s\n        action: ReadFile\n        inputs:\n          - {path: /log-%s}\n", s.name, c.name)
			if !(c.validate && i >= len(c.steps)-2) { // references within the phase
				add(s.name+"b", "{{ build."+s.name+".inputs[0].path }}")
			}
		case 5:
			fmt.Fprintf(&b, "      - name: %s\n        action: S3Download\n        inputs:\n          - {source: \"s3://bucket/o%s\", destination: /object-%s}\n", s.name, s.text, s.name)
		}
	}
	return b.Bytes()
}

func (m *model) plan() *Plan {
	p := &recipe.Plan{Name: "model", WorkingDirectory: "/tmp"}
	for _, c := range m.components {
		phases := []string{"build"}
		if c.validate {
			phases = append(phases, "validate")
		}
		p.Components = append(p.Components, recipe.PlannedComponent{
			Name: c.name, Path: c.name + ".yaml", Content: c.document(), Parameters: c.parameters, Phases: phases,
		})
	}
	return &Plan{p}
}

// edit changes the model in some way, and tells which.
func (m *model) edit(r *rand.Rand) string {
	c := m.components[r.IntN(len(m.components))]
	i := r.IntN(len(c.steps))
	switch r.IntN(16) {
	case 0:
		c.steps[i].text = strconv.Itoa(r.IntN(5))
		return "text of a step"
	case 1:
		c.steps[i].kind = r.IntN(modelKinds)
		return "kind of a step"
	case 2:
		c.steps = slices.Insert(c.steps, i, m.newStep(r))
		return "a step more"
	case 3:
		c.steps = append(c.steps, m.newStep(r))
		return "a step appended"
	case 4:
		if len(c.steps) > 1 {
			c.steps = slices.Delete(c.steps, i, i+1)
		}
		return "a step less"
	case 5:
		j := r.IntN(len(c.steps))
		c.steps[i], c.steps[j] = c.steps[j], c.steps[i]
		return "steps exchanged"
	case 6:
		c.parameters["First"] = strconv.Itoa(r.IntN(5))
		return "a parameter"
	case 7:
		c.constant = strconv.Itoa(r.IntN(3))
		return "a constant"
	case 8:
		m.cloud.parameters["/p"+strconv.Itoa(r.IntN(5))] = "secret-" + strconv.Itoa(r.IntN(5))
		return "a stored parameter"
	case 9:
		m.cloud.objects["o"+strconv.Itoa(r.IntN(5))] = strconv.Itoa(r.IntN(5))
		return "an object"
	case 10:
		c.comment += " more"
		return "a comment"
	case 11:
		m.components = append(m.components, m.newComponent(r))
		return "a component appended"
	case 12:
		if len(m.components) > 1 {
			m.components = slices.DeleteFunc(m.components, func(x *modelComponent) bool { return x == c })
		}
		return "a component less"
	case 13:
		j := r.IntN(len(m.components))
		k := slices.Index(m.components, c)
		m.components[k], m.components[j] = m.components[j], m.components[k]
		return "components exchanged"
	case 14:
		m.machine = r.IntN(2)
		return "the machine"
	}
	c.validate = !c.validate
	return "a phase"
}

// applyModel runs the model's recipe in a fake guest, with layers if there is a store.
func applyModel(t testing.TB, m *model, f *fakeGuest, store *layer.Store, said *[]Event) (*component.Result, error) {
	t.Helper()
	plan := m.plan()
	req := plan.request(buildPhases...)
	if err := os.MkdirAll(f.disk, 0o755); err != nil {
		t.Fatal(err)
	}
	f.services = agent.Services{S3: m.cloud, Parameters: m.cloud}
	if store == nil {
		return f.run(t.Context(), req, func(component.Event) {})
	}
	steps, err := plan.steps(store)
	if err != nil {
		t.Fatal(err)
	}
	w := &warmth{tell: func(e Event) { *said = append(*said, e) }, store: store, reads: newReads(f.services, store), steps: steps}
	w.root = layer.Root{Disk: store.Sum("a disk"), Machine: store.Sum("machine", strconv.Itoa(m.machine))}
	f.services = w.reads.recorded()
	query := layer.Query{Root: w.root, Steps: w.digests(0, len(steps)), Until: -1, Check: w.reads.current}
	warm, err := w.goOn(t.Context(), f, query, &req)
	if err == nil && !warm {
		err = w.save(t.Context(), f, layer.Segment{}, nil, time.Millisecond)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { w.chain.Close() }()
	result, _, err := w.apply(t.Context(), f, req, func(component.Event) {})
	return result, err
}

// TestWarmSequences edits recipes at random, a thousand times, and builds each after every edit: what comes out must be what a cold build
// gives, and what lies before an edit must not run again.
func TestWarmSequences(t *testing.T) {
	t.Parallel()
	for n := range 1000 {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			t.Parallel()
			warmSequence(t, rand.New(rand.NewPCG(uint64(n), 4)))
		})
	}
}

func warmSequence(t *testing.T, r *rand.Rand) {
	dir := t.TempDir()
	store, err := layer.Open(filepath.Join(dir, "layers"), layer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	m := &model{cloud: cloud{map[string]string{}, map[string]string{}}}
	for i := range 5 {
		m.cloud.parameters["/p"+strconv.Itoa(i)], m.cloud.objects["o"+strconv.Itoa(i)] = "secret", "content"
	}
	for range 1 + r.IntN(2) {
		m.components = append(m.components, m.newComponent(r))
	}
	history := []string{"first"}
	for range 3 + r.IntN(3) {
		cold := &fakeGuest{disk: filepath.Join(dir, "cold"), random: r}
		warm := &fakeGuest{disk: filepath.Join(dir, "warm"), random: r}
		os.RemoveAll(cold.disk)
		os.RemoveAll(warm.disk)
		if r.IntN(6) == 0 {
			warm.failAt = 1 + r.IntN(6)
			history = append(history, fmt.Sprintf("(cut off at %d)", warm.failAt))
		}
		var said []Event
		want, err := applyModel(t, m, cold, nil, nil)
		if err != nil {
			t.Fatal(history, err)
		}
		got, err := applyModel(t, m, warm, store, &said)
		for _, e := range said {
			if e.Type == Warning {
				t.Errorf("%v: %s", history, e.Detail)
			}
		}
		if errors.Is(err, errCutOff) {
			continue
		}
		if err != nil {
			t.Fatal(history, err)
		}
		if got.Status != want.Status || tree(t, warm.disk) != tree(t, cold.disk) {
			t.Fatalf("%v: %s instead of %s\nwarm, ran %v:\n%s\ncold:\n%s", history, got.Status, want.Status, warm.ran, tree(t, warm.disk), tree(t, cold.disk))
		}
		// The same again runs nothing at all.
		again := &fakeGuest{disk: filepath.Join(dir, "again"), random: r}
		if _, err := applyModel(t, m, again, store, &said); err != nil || len(again.ran) > 0 {
			t.Fatalf("%v: unchanged, but ran %v, %v\n%s", history, again.ran, err, eventLines(said))
		}
		os.RemoveAll(again.disk)
		history = append(history, m.edit(r))
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
