package component_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ingot-image/ingot/builder/component"
)

// TestStateFor goes on with edited documents from every pause before the first step whose key has changed.
func TestStateFor(t *testing.T) {
	const first = "schemaVersion: 1.0\n"
	a, b, c, d := say("A", "a", ""), say("B", "b", ""), say("C", "{{ build.A.outputs.stdout }}", ""), say("D", "d {{ Par }}", "")
	base := []string{steps(a, b, c), steps(d, say("E", "e", ""))}
	validate := func(list ...string) string {
		return "  - name: validate\n    steps:\n      - " + strings.Join(list, "\n      - ") + "\n"
	}
	tests := []struct {
		name      string
		documents []string
		same      int // steps whose keys are the same
	}{
		{"nothing", base, 5},
		{"comments", []string{"# comment\n" + base[0], strings.ReplaceAll(base[1], "{name", "# comment\n        {name")}, 5},
		{"last step", []string{base[0], steps(d, say("E", "f", ""))}, 4},
		{"step added at the end", []string{base[0], steps(d, say("E", "e", ""), say("F", "f", ""))}, 5},
		{"step added in the middle", []string{steps(a, b, c, say("F", "{{ build.A.outputs.stdout }}", "")), base[1]}, 3},
		{"step inserted", []string{steps(a, say("F", "f", ""), b, c), base[1]}, 1},
		{"last step gone", []string{base[0], steps(d)}, 4},
		{"last document gone", base[:1], 3},
		{"step in the middle gone", []string{steps(a, b), base[1]}, 0}, // nobody refers to A any more
		{"steps in the middle gone", []string{steps(a, c), base[1]}, 1},
		{"document added", []string{base[0], base[1], steps(a)}, 5},
		{"document inserted", []string{base[0], steps(b), base[1]}, 3},
		{"documents that do not run", []string{strings.Replace(steps(a), "build", "test", 1), base[0], strings.Replace(steps(a), "build", "test", 1), base[1]}, 5},
		{"phase that does not run", []string{strings.Replace(base[0], "phases:\n", "phases:\n"+unselected, 1), base[1]}, 5},
		{"phase added", []string{base[0], base[1] + validate(a)}, 5},
		{"step moved into a phase", []string{base[0], steps(d) + validate(say("E", "e", ""))}, 5},
		{"steps moved into one document", []string{steps(a, b, c, d, say("E", "e", ""))}, 5},
		{"step moved to the next document", []string{steps(a, b, c), steps(d), steps(say("E", "e", ""))}, 5},
		{"first document divided", []string{steps(a), steps(b), base[1]}, 0},
		{"later reference", []string{steps(a, b, c), steps(d, say("E", "{{ build.D.outputs.stdout }}", ""))}, 3},
		{"parameter added", []string{base[0], strings.Replace(base[1], "[Par", "[{More: {type: string, default: x}}, {Par", 1)}, 5},
		{"names", []string{base[0], strings.NewReplacer("name: D", "name: Dee", first, first+"name: changed\n").Replace(base[1])}, 5},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if test.name == "parameter added" {
				test.documents[1] = strings.Replace(test.documents[1], "default: p}]", "default: p}}]", 1)
			}
			var before, after []string
			for _, d := range base {
				keys, order := keysOf(t, "", d, nil, "build", "validate")
				for _, name := range order {
					before = append(before, keys[name])
				}
			}
			for _, d := range test.documents {
				keys, order := keysOf(t, "", d, nil, "build", "validate")
				for _, name := range order {
					after = append(after, keys[name])
				}
			}
			same := 0
			for same < min(len(before), len(after)) && before[same] == after[same] {
				same++
			}
			if same != test.same {
				t.Errorf("%d steps have the same keys, want %d", same, test.same)
			}
			cold := newBench(t, test.documents...)
			cold.request.Phases = []string{"build", "validate"}
			want, _ := cold.runOn()

			old := newBench(t, base...)
			old.request.Phases = cold.request.Phases
			old.pausing()
			for {
				paused := old.run()
				if paused.ExecutedSteps <= same {
					b := newBench(t, test.documents...)
					b.request.Phases = cold.request.Phases
					b.put("log", old.file("log"))
					state, err := paused.State.For(b.request)
					if err != nil {
						t.Fatal(err)
					}
					b.request.Resume = state
					got, _ := b.runOn()
					if b.file("log") != cold.file("log") || got.Status != want.Status || got.ExecutedSteps != want.ExecutedSteps {
						t.Errorf("after %d steps: ran %q, want %q", paused.ExecutedSteps, b.file("log"), cold.file("log"))
					}
					if log := b.log(); len(log) > 0 && strings.HasPrefix(log[0], "documentEnded") {
						t.Errorf("after %d steps: the first event is %s", paused.ExecutedSteps, log[0])
					}
				}
				if paused.Status == component.StatusSuccess {
					break
				}
				old.request.Resume = paused.State
			}
		})
	}
}

func TestStateForRefuses(t *testing.T) {
	documents := []string{steps(say("A", "a", ""), say("B", "{{ build.A.outputs.stdout }}", ""), say("C", "c", "")), steps(say("D", "d", ""))}
	b := newBench(t, documents...)
	b.pausing()
	state := b.run().State // A is done
	request := func(documents ...string) component.Request { return newBench(t, documents...).request }
	tests := []struct {
		name    string
		spoil   func(*component.State)
		request component.Request
		want    string // "" for a state
	}{
		{"fits", func(*component.State) {}, request(documents...), ""},
		{"values of another document", func(s *component.State) {
			s.Chained = append(s.Chained, component.ChainedStep{Document: 1, Phase: "build", Step: "A"}, component.ChainedStep{Phase: "build", Step: "Other"})
		}, request(documents...), ""},
		{"version", func(s *component.State) { s.Version = 1 }, request(documents...), "state of version 1"},
		{"no steps done", func(s *component.State) { s.ExecutedSteps = 0 }, request(documents...), "no step is done"},
		{"negative", func(s *component.State) { s.ExecutedSteps = -1 }, request(documents...), "no step is done"},
		{"fewer steps", func(s *component.State) { s.ExecutedSteps = 3 }, request(steps(say("A", "a", ""), say("B", "b", ""))), "3 steps are done, and it has 2 only"},
		{"step under way", func(s *component.State) { s.Started = s.Started.AddDate(2000, 0, 0) }, request(documents...), "a step that is not done yet"},
		{"value that is missing", func(s *component.State) { s.Chained = nil }, request(documents...), "it does not have the values of build.A, to which the step B refers"},
		{"wrong document", func(*component.State) {}, request("schemaVersion: 1.0\nphases: [{name: build, steps: [{nam: A, action: X}]}]"), "c1.yml:2:33: phases[0].steps[0].nam: unknown field"},
		{"no document", func(*component.State) {}, component.Request{}, "1 steps are done, and it has 0 only"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			spoiled := roundTrip(t, *state)
			test.spoil(&spoiled)
			got, err := spoiled.For(test.request)
			if test.want != "" {
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("want error with %q, got %v", test.want, err)
				}
				return
			}
			if err != nil || len(got.Chained) != 1 || got.Chained[0].Step != "A" {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
	named := request(documents...)
	named.ExecutionID = "mine"
	if got, err := state.For(named); err != nil || got.ExecutionID != "mine" || state.ExecutionID == "mine" {
		t.Errorf("got %+v, %v", got, err)
	}
	// The state of an edited request is no state of the first one.
	edited := request(strings.Replace(documents[0], "echo", "printf", -1), documents[1])
	if b.request.Resume, _ = state.For(edited); b.request.Resume == nil {
		t.Fatal("no state")
	}
	if _, err := b.Run(t.Context(), b.request); err == nil || !strings.Contains(err.Error(), "not those the run was started with") {
		t.Errorf("error %v", err)
	}
}

// note is an action without a process: it writes a line into the file log and gives it on.
type note struct {
	Text string `input:"text"`
	Fail bool   `input:"fail"`
}

func (n note) Run(_ context.Context, x *component.Execution) (component.Outcome, error) {
	f, err := os.OpenFile(x.Path("log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return component.Outcome{}, err
	}
	defer f.Close()
	if _, err := fmt.Fprintln(f, n.Text); err != nil {
		return component.Outcome{}, err
	}
	if n.Fail {
		return component.Outcome{}, fmt.Errorf("as wanted")
	}
	return component.Outcome{Outputs: map[string]string{"line": "<" + n.Text + ">"}}, nil
}

// randomStep is a step of the documents of TestRandomEdits.
type randomStep struct {
	text, reference, fields string
	fails                   bool
}

type randomDocument struct {
	steps           []randomStep
	comment, greets string
	validate        int // how many steps at the end are in the phase validate
}

func (d randomDocument) content() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\nschemaVersion: 1.0\nconstants: [Greets: {type: string, value: %s}]\nphases:\n", d.comment, d.greets)
	phase := ""
	for i, s := range d.steps {
		name := "build"
		if i >= len(d.steps)-d.validate {
			name = "validate"
		}
		if name != phase {
			fmt.Fprintf(&b, "  - name: %s\n    steps:\n", name)
			phase = name
		}
		fmt.Fprintf(&b, "      - {name: S%d, action: Note%s, inputs: {text: '%s%s', fail: %t}}\n", i, s.fields, s.text, s.reference, s.fails)
	}
	return b.String()
}

// fixed makes references point to what is there: an edit may have moved the steps.
func (d *randomDocument) fixed(random *rand.Rand) {
	d.validate = min(d.validate, len(d.steps)-1)
	phase := func(i int) string {
		if i >= len(d.steps)-d.validate {
			return "validate"
		}
		return "build"
	}
	for i := range d.steps {
		s := &d.steps[i]
		var to, index int
		var value string
		if n, _ := fmt.Sscanf(s.reference, " {{ build.S%d.%s }}", &to, &value); n == 0 {
			n, _ = fmt.Sscanf(s.reference, " {{ validate.S%d.%s }}", &to, &value)
			index = n
		} else {
			index = n
		}
		switch {
		case index == 0:
		case i == 0:
			s.reference = ""
		default:
			s.reference = fmt.Sprintf(" {{ %s.S%d.%s }}", phase(to%i), to%i, value)
		}
	}
}

func randomText(random *rand.Rand) randomStep {
	s := randomStep{text: string(rune('a' + random.IntN(4)))}
	switch random.IntN(8) {
	case 0, 1:
		s.reference = fmt.Sprintf(" {{ build.S%d.outputs.line }}", random.IntN(9))
	case 2:
		s.reference = fmt.Sprintf(" {{ build.S%d.inputs.text }}", random.IntN(9))
	case 3:
		s.reference = " {{ Greets }}"
	case 4:
		s.fields = ", loop: {forEach: [x, y]}"
		s.reference = " {{ loop.value }}"
	case 5:
		s.fields = ", if: {stringEquals: a, value: '" + s.text + "'}"
	case 6:
		s.fields, s.fails = ", onFailure: Ignore", true
	}
	return s
}

// edit changes something in a recipe, or nothing that matters.
func edit(random *rand.Rand, recipe []randomDocument) []randomDocument {
	edited := make([]randomDocument, len(recipe))
	for i, d := range recipe {
		d.steps = slices.Clone(d.steps)
		edited[i] = d
	}
	i := random.IntN(len(edited))
	d := &edited[i]
	j := random.IntN(len(d.steps))
	switch random.IntN(10) {
	case 0, 1:
		d.steps[j] = randomText(random)
	case 2:
		d.steps = slices.Insert(d.steps, j, randomText(random))
	case 3:
		d.steps = append(d.steps, randomText(random))
	case 4:
		if len(d.steps) > 1 {
			d.steps = slices.Delete(d.steps, j, j+1)
		}
	case 5:
		d.comment += "x"
	case 6:
		d.greets = string(rune('p' + random.IntN(3)))
	case 7:
		d.validate = random.IntN(3)
	case 8: // steps go to the next document
		if j > 0 && i+1 < len(edited) {
			edited[i+1].steps = append(slices.Clone(d.steps[j:]), edited[i+1].steps...)
			d.steps = d.steps[:j]
		}
	case 9:
		edited = slices.Insert(edited, i, randomDocument{steps: []randomStep{randomText(random)}, greets: "p"})
		if len(edited) > 4 {
			edited = edited[:4]
		}
	}
	for i := range edited {
		edited[i].fixed(random)
	}
	return edited
}

// layer is what a pause leaves: the machine, here the file log, and the state.
type layer struct {
	log   string
	state *component.State
}

// TestRandomEdits builds recipes from the layers that earlier ones have left, as a builder does, and compares what comes of it with what
// comes of the same recipe from nothing.
func TestRandomEdits(t *testing.T) {
	random := rand.New(rand.NewPCG(4, 2))
	modules := component.Modules{"Note": component.MapModule[note](component.Spec{Outputs: []string{"line"}})}
	build := func(recipe []randomDocument, layers map[string]layer, dir string) (log string, result *component.Result, reused int) {
		request := component.Request{WorkingDirectory: dir, PauseAfterMS: 1, PauseAfterDocument: true}
		keys := []string{""}
		for _, d := range recipe {
			request.Documents = append(request.Documents, component.RunDocument{Content: []byte(d.content())})
			document, err := component.Parse("", []byte(d.content()), modules)
			if err != nil {
				t.Fatalf("%v\n%s", err, d.content())
			}
			for _, key := range document.Keys(nil, nil, mac) {
				keys = append(keys, keys[len(keys)-1]+key.Digest[:16])
			}
		}
		file := filepath.Join(dir, "log")
		os.Remove(file)
		for reused = len(keys) - 1; reused > 0; reused-- {
			found, ok := layers[keys[reused]]
			if !ok {
				continue
			}
			state, err := found.state.For(request)
			if err != nil {
				t.Fatalf("%v\n%+v", err, recipe)
			}
			request.Resume = state
			if err := os.WriteFile(file, []byte(found.log), 0o600); err != nil {
				t.Fatal(err)
			}
			break
		}
		runner := component.Runner{Modules: modules, Events: func(e component.Event) {
			if e.Type == component.StepEnded && layers != nil {
				time.Sleep(time.Millisecond) // so that it is time for a pause
			}
		}}
		for {
			result, err := runner.Run(t.Context(), request)
			if err != nil {
				t.Fatalf("%v\n%+v", err, recipe)
			}
			data, err := os.ReadFile(file)
			if err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			if result.State != nil && layers != nil && result.ExecutedSteps > 0 {
				layers[keys[result.ExecutedSteps]] = layer{string(data), roundTrip(t, result.State)}
			}
			if result.Status != component.StatusPaused {
				return string(data), result, reused
			}
			request.Resume = result.State
		}
	}
	warm, cold := t.TempDir(), t.TempDir()
	total, saved := 0, 0
	for range 25 {
		layers := make(map[string]layer)
		recipe := []randomDocument{{steps: []randomStep{randomText(random)}, greets: "p"}, {steps: []randomStep{randomText(random), randomText(random)}, greets: "q"}}
		for i := range recipe {
			recipe[i].fixed(random)
		}
		for range 20 {
			got, result, reused := build(recipe, layers, warm)
			want, fresh, _ := build(recipe, nil, cold)
			if got != want || result.Status != fresh.Status || result.ExecutedSteps != fresh.ExecutedSteps || result.IgnoredFailedSteps != fresh.IgnoredFailedSteps {
				t.Fatalf("with %d steps reused: %+v %q\nwithout: %+v %q\n%+v", reused, result, got, fresh, want, recipe)
			}
			total += result.ExecutedSteps
			saved += reused
			recipe = edit(random, recipe)
		}
	}
	t.Logf("%d of %d steps were reused", saved, total)
	if saved < total/4 {
		t.Errorf("%d of %d steps were reused", saved, total)
	}
}
