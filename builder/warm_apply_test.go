package builder

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/builder/layer"
)

// rotten is a subject that finds all layers damaged, but the verified ones: a disk on which files change without a trace.
type rotten struct {
	fakeGuest
	tried []int // positions
}

func (r *rotten) wake(_ context.Context, chain *layer.Chain) error {
	r.tried = append(r.tried, chain.Last().Position)
	return fmt.Errorf("resume: %w", layer.ErrDamaged)
}

// TestDamageWithoutEnd wants a build that finds layers damaged, which are still there the next time, to come to its end without them.
func TestDamageWithoutEnd(t *testing.T) {
	dir := t.TempDir()
	store, err := layer.Open(filepath.Join(dir, "layers"), layer.Options{Reserve: 1})
	if err != nil {
		t.Fatal(err)
	}
	root := layer.Root{Disk: "disk", Machine: "machine"}
	steps := []string{"one", "two"}
	var chain *layer.Chain
	for i := range len(steps) + 1 {
		draft, err := store.Begin(t.Context(), chain, 0)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "overlay")
		if err := os.WriteFile(path, []byte("disk"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := draft.AddDisk(path); err != nil {
			t.Fatal(err)
		}
		memory, err := draft.Memory()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := memory.Write([]byte("memory")); err != nil {
			t.Fatal(err)
		}
		if err := memory.Close(); err != nil {
			t.Fatal(err)
		}
		l := layer.Layer{Root: root, State: []byte("{}"), Guest: []byte("{}")}
		if i > 0 {
			l.Segment = layer.Segment{Steps: steps[i-1 : i], Component: "c"}
		}
		if chain, err = draft.Commit(t.Context(), l); err != nil {
			t.Fatal(err)
		}
		defer chain.Close()
	}
	warnings := 0
	w := &warmth{store: store, tell: func(e Event) {
		if e.Type == Warning {
			warnings++
		}
	}}
	// All steps are done in the last layer, and none in the first: only the one between needs a state.
	w.steps = []plannedStep{{digest: "one"}, {digest: "two", step: 1}}
	s := &rotten{}
	used, err := w.goOn(t.Context(), s, layer.Query{Root: root, Steps: steps, Until: -1}, &component.Request{})
	if used || err != nil {
		t.Errorf("went on from a damaged layer: %v, %v", used, err)
	}
	if want := []int{2, 2, 0, 0}; !slices.Equal(s.tried, want) || warnings != len(want) {
		t.Errorf("tried layers at %v with %d warnings, want %v", s.tried, warnings, want)
	}
}
