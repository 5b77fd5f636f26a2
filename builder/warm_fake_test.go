package builder

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/ingot-image/ingot/builder/agent"
	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/builder/layer"
)

// fakeGuest is a subject without a VM: a folder is its disk, and the component engine itself runs in it.
type fakeGuest struct {
	disk     string // folder
	modules  component.Modules
	services agent.Services
	ran      []string // steps, as component/step
	failAt   int      // cut off when so many steps have run; 0 never
	random   *rand.Rand
	slow     bool // now and then a step takes a while
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
		Modules: f.modules,
		System:  component.System{Root: f.disk, S3: f.services.S3, Parameters: f.services.Parameters},
		Events: func(e component.Event) {
			if e.Type == component.StepStarted {
				f.ran = append(f.ran, e.Component+"/"+e.Step)
				if f.failAt > 0 && len(f.ran) >= f.failAt {
					cancel(errCutOff)
				}
				if f.slow && f.random.IntN(6) == 0 {
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

// cloud is what the documents read from the host, and where they write to.
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

func (c cloud) clone() cloud { return cloud{maps.Clone(c.parameters), maps.Clone(c.objects)} }
