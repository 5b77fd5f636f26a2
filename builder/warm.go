package builder

import (
	"errors"
	"path/filepath"
	"slices"
	"time"

	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/builder/component/action"
	"github.com/ingot-image/ingot/builder/config"
	"github.com/ingot-image/ingot/builder/layer"
)

// warmth is what a build has of layers: where it finds and keeps them, and the one that its guest is on.
type warmth struct {
	tell  func(Event)
	store *layer.Store
	reads *reads
	// tested is what the tests of the image read.
	tested *reads
	root   layer.Root
	base   string // for people
	steps  []plannedStep
	given  []string // the recipe's secret parameters
	// chain is what the guest goes on from, nil as long as it is on no layer.
	chain *layer.Chain
	// last is when the guest was at the chain's end, worked how long it has worked in all.
	last   time.Time
	saving saving
	room   int64 // that a layer may need on the disk, in bytes
	// off is why no more layers are saved, empty while they are.
	off string
}

// layerForm is a part of every layer's key. It changes with anything in this program that decides how a guest is set up or what a layer
// holds, and is in no other digest.
const layerForm = "1"

// plannedStep is a step of the plan's components: one more thing to be done in the guest.
type plannedStep struct {
	digest                string // of all that decides what it does
	document, phase, step int    // indices in the request
	component             string
	name                  string
}

// phases of components that make the image.
var buildPhases = []string{"build", "validate"}

// steps lists what is to be done in the guest.
func (p *Plan) steps(store *layer.Store) ([]plannedStep, error) {
	return p.keys(store, buildPhases...)
}

// keys lists the steps of some phases.
func (p *Plan) keys(store *layer.Store, phases ...string) ([]plannedStep, error) {
	modules := action.Modules().For("linux")
	var steps []plannedStep
	for i, d := range p.Documents(phases...) {
		document, err := component.Parse(d.Path, d.Content, modules)
		if err != nil {
			return nil, err
		}
		for n, key := range document.Keys(d.Parameters, phases, store.MAC) {
			first := ""
			if n == 0 {
				first = "first" // of a component: nothing before it can be referred to
			}
			steps = append(steps, plannedStep{
				digest:   store.Sum("step", p.WorkingDirectory, first, key.Digest),
				document: i, phase: key.Phase, step: key.Step, component: d.Name, name: key.StepName,
			})
		}
	}
	return steps, nil
}

// digests gives those of the steps from one position to another.
func (w *warmth) digests(from, to int) []string {
	digests := make([]string, 0, to-from)
	for _, s := range w.steps[from:to] {
		digests = append(digests, s.digest)
	}
	return digests
}

// position is how many steps come before where a state goes on.
func (w *warmth) position(s *component.State) int {
	n := slices.IndexFunc(w.steps, func(p plannedStep) bool {
		switch {
		case p.document != s.Document || s.Ended:
			return p.document > s.Document
		case p.phase != s.Phase:
			return p.phase > s.Phase
		}
		return p.step >= s.Step
	})
	if n < 0 {
		return len(w.steps)
	}
	return n
}

// secrets are the values that must not be written down.
func (w *warmth) secrets() []string {
	secrets := append(w.reads.redact(), w.given...)
	if w.tested != nil {
		secrets = append(secrets, w.tested.redact()...)
	}
	return secrets
}

// at is the position of the guest's layer.
func (w *warmth) at() int {
	if w.chain == nil {
		return 0
	}
	return w.chain.Last().Position
}

// finishedComponents names the components that are done at a position.
func (w *warmth) finishedComponents(position int) []string {
	names := []string{}
	for i, s := range w.steps[:position] {
		if i+1 == len(w.steps) || w.steps[i+1].document != s.document {
			names = append(names, s.component)
		}
	}
	return names
}

// openLayers makes the build warm, unless it is to do without layers. A store that cannot be used costs the layers, not the build.
func (j *job) openLayers() error {
	store, err := j.builder.layers(func(dir string) error { return j.work.own(dir) })
	if err != nil {
		var problems component.Problems
		if errors.As(err, &problems) {
			return err
		}
		j.event(Event{Type: Warning, Detail: "no layers are used: " + err.Error()})
		return nil
	}
	steps, err := j.plan.steps(store)
	if err != nil {
		return err
	}
	j.warm = &warmth{
		tell: j.event, store: store, room: int64(j.plan.Infrastructure.MemoryMiB) << 20 / 4,
		saving: saving{cost: j.accelerator.Limit(firstCost)},
		reads:  newReads(j.builder.Services, store), tested: newReads(j.builder.Services, store), steps: steps}
	for _, d := range j.plan.Documents(buildPhases...) {
		for _, name := range d.SecretParameters {
			j.warm.given = append(j.warm.given, d.Parameters[name])
		}
	}
	if j.options.NoSave {
		j.warm.off = "it was not asked for"
	}
	return nil
}

// query says which layers would do, nil if none would.
func (j *job) query(w *warmth) *layer.Query {
	q := &layer.Query{Root: w.root, Steps: w.digests(0, len(w.steps)), MaxAge: j.options.MaxAge, Until: -1, Check: w.reads.current}
	for _, name := range j.options.NoCache {
		if name == AllComponents {
			return nil
		}
		first := slices.IndexFunc(w.steps, func(s plannedStep) bool { return s.component == name })
		if first >= 0 && (q.Until < 0 || first < q.Until) {
			q.Until = first
		}
	}
	return q
}

// layerEvent tells of a layer.
func (w *warmth) layerEvent(l *layer.Layer) *LayerEvent {
	return &LayerEvent{
		ID: l.ID, Components: w.finishedComponents(l.Position), Component: l.Component, Step: l.Step,
		SavesMS: l.Total.Milliseconds(), Memory: l.Memory != "", SizeBytes: l.SizeBytes,
	}
}

// saving decides when a layer inside of a component pays. (One at its end is saved anyway.) What has been done since the last layer must
// have taken longer than saving it takes, since that is the most that a layer can spare; and all such layers together must not take more
// than a tenth of the build's own time, or a component of many short steps would pay for layers that nobody may ever use.
type saving struct {
	cost   time.Duration // of the last layer, or an estimate
	spent  time.Duration // on layers inside of components
	worked time.Duration // in the guest, before the last layer
}

// share is the part of the build's time that layers inside of components may take: one in so many.
const share = 10

// pays is how long after the last layer the next one pays.
func (s *saving) pays() time.Duration {
	return max(s.cost, share*(s.spent+s.cost)-s.worked)
}

// saved takes the cost of a layer into account.
func (s *saving) saved(cost, since time.Duration, inside bool) {
	s.cost = cost
	s.worked += since
	if inside {
		s.spent += cost
	}
}

// firstCost is what saving is expected to take as long as nothing was saved, for KVM.
const firstCost = 150 * time.Millisecond

// Layers is the store of layers, with the budget that config.yaml sets.
func (b *Builder) Layers() (*layer.Store, error) { return b.layers(nil) }

// layers is Layers for somebody who saves some: making is told of the folder of each before there is anything in it.
func (b *Builder) layers(making func(dir string) error) (*layer.Store, error) {
	c, err := config.Read(filepath.Join(b.Home, config.FileName))
	if err != nil {
		return nil, err
	}
	return layer.Open(b.layersPath(), layer.Options{MaxSize: c.Cache.MaxSize, Pinned: b.PinnedLayers, Making: making})
}
