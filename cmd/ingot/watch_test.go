package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ingot-image/ingot/builder"
	"github.com/ingot-image/ingot/builder/component"
)

// watched is a folder with a recipe, its component and a folder that stands for a bucket.
type watched struct {
	*testing.T
	dir string
}

func newWatched(t *testing.T) watched {
	w := watched{t, t.TempDir()}
	w.write("r.yaml", "name: watched\nsemanticVersion: 1.0.x\nparentImage: debian-12\ncomponents:\n  - componentArn: c.yaml\n")
	w.write("c.yaml", "schemaVersion: 1.0\nphases:\n- name: build\n  steps: [{name: S, action: ExecuteBash, inputs: {commands: ['true']}}]\n")
	w.write("bucket/a.txt", "a")
	w.write("parameters.yaml", "/a: b\n")
	return w
}

func (w watched) path(name string) string { return filepath.Join(w.dir, name) }

// write writes as careful editors do: a file beside it, and a rename.
func (w watched) write(name, content string) {
	w.Helper()
	path := w.path(name)
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path+"~", []byte(content), 0o644)
	}
	if err == nil {
		err = os.Rename(path+"~", path)
	}
	if err != nil {
		w.Fatal(err)
	}
}

func (w watched) append(name, content string) {
	w.Helper()
	f, err := os.OpenFile(w.path(name), os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString(content)
		f.Close()
	}
	if err != nil {
		w.Fatal(err)
	}
}

// builds runs a watch whose builds only wait; it gives the channel on which each of them comes, with what cancels it. finish lets a
// build end by itself.
func (w watched) builds() (started <-chan context.Context, finish chan error, own *ownUploads, stop func() error) {
	w.Helper()
	services := &serviceFlags{ssmParameters: w.path("parameters.yaml"), s3Map: []string{"s3://bucket-a/x=" + w.path("bucket"), "s3://bucket-a/=" + w.path("other")}}
	in, err := newInputs(w.path("home"), builder.Options{Recipe: w.path("r.yaml"), OutputDir: w.path("bucket/out")}, services)
	if err != nil {
		w.Fatal(err)
	}
	watch := &watch{inputs: in, w: io.Discard, writing: map[string]int{}}
	own = &ownUploads{watch: watch}
	contexts := make(chan context.Context, 10)
	finish = make(chan error)
	ctx, cancel := context.WithCancel(w.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- watch.run(ctx, func(ctx context.Context) error {
			contexts <- ctx
			select {
			case <-ctx.Done():
				return ctx.Err()
			case err := <-finish:
				return err
			}
		})
	}()
	return contexts, finish, own, func() error { cancel(); return <-ended }
}

// next is the next build, which must begin soon.
func (w watched) next(builds <-chan context.Context) context.Context {
	w.Helper()
	select {
	case ctx := <-builds:
		return ctx
	case <-time.After(20 * time.Second):
		w.Fatal("no build began")
		return nil
	}
}

// quiet wants no build to begin, nor the running one to be stopped.
func (w watched) quiet(builds <-chan context.Context, running context.Context) {
	w.Helper()
	select {
	case <-builds:
		w.Fatal("a build began without a change")
	case <-running.Done():
		w.Fatal("the build was stopped without a change")
	case <-time.After(4 * watchInterval):
	}
}

func (w watched) stopped(ctx context.Context) {
	w.Helper()
	select {
	case <-ctx.Done():
		if context.Cause(ctx) != errInputsChanged {
			w.Fatal(context.Cause(ctx))
		}
	case <-time.After(20 * time.Second):
		w.Fatal("the build was not stopped")
	}
}

func TestWatchSeesEveryInput(t *testing.T) {
	w := newWatched(t)
	builds, finish, _, stop := w.builds()
	running := w.next(builds)
	w.quiet(builds, running)
	for _, change := range []struct {
		name string
		make func()
	}{
		{"recipe", func() { w.append("r.yaml", "description: other\n") }},
		{"component document", func() { w.append("c.yaml", "\n") }},
		{"object", func() { w.write("bucket/a.txt", "b") }}, // of the same size
		{"new object", func() { w.write("bucket/deep/b.txt", "b") }},
		{"folder of a map that comes late", func() { w.write("other/c.txt", "c") }},
		{"object gone", func() { os.Remove(w.path("bucket/deep/b.txt")) }},
		{"parameters", func() { w.append("parameters.yaml", "/c: d\n") }},
		{"recipe with a mistake", func() {
			w.append("r.yaml", "nonsense: true\nimageTestsConfiguration: {timeoutMinutes: 1}\n")
		}},
		{"document of a recipe with mistakes", func() { w.append("c.yaml", "\n") }},
		{"recipe that is no YAML", func() { w.append("r.yaml", "\t{") }},
		{"document known from before", func() { w.append("c.yaml", "\n") }},
		{"document gone", func() { os.Remove(w.path("c.yaml")) }},
		{"document back", func() { w.write("c.yaml", "x") }},
		{"recipe with local components", func() {
			w.write("r.yaml", "name: watched\nsemanticVersion: 1.0.x\nparentImage: debian-12\ncomponents:\n  - componentArn: local/1.x.x\n")
		}},
		{"local component", func() { w.write("components/local/1.0.0.yaml", "x") }},
	} {
		change.make()
		w.stopped(running)
		running = w.next(builds)
	}
	w.quiet(builds, running)
	// A build that ended is followed like one that runs.
	finish <- errors.New("it failed")
	w.quiet(builds, running)
	w.append("r.yaml", "\n")
	running = w.next(builds)
	if err := stop(); !errors.Is(err, context.Canceled) || running.Err() == nil {
		t.Errorf("ended with %v", err)
	}
}

// What a build writes is not what it is made from, though it lies in the same folder.
func TestWatchIsNotMovedByTheBuildItself(t *testing.T) {
	w := newWatched(t)
	builds, _, own, stop := w.builds()
	running := w.next(builds)
	place := component.S3Place{Bucket: "bucket-a", Key: "x/result.txt"}
	for i := range 3 {
		own.S3 = puts(func() error {
			w.write("bucket/result.txt", strings.Repeat("x", i))
			time.Sleep(2 * watchInterval) // the file is there before the upload is done
			return nil
		})
		if err := own.Put(t.Context(), place, nil, 0); err != nil {
			t.Fatal(err)
		}
		w.quiet(builds, running)
	}
	w.write("bucket/out/.watched.staging/disk.raw", "x")
	w.write("bucket/out/watched-1.0.0-1.raw", "x")
	w.write("home/x", "x")
	w.quiet(builds, running)
	w.write("bucket/result.txt", "by somebody else")
	w.stopped(running)
	running = w.next(builds)
	w.write("bucket/out/input.json", "x") // an object that nobody but the user wrote
	w.stopped(running)
	w.next(builds)
	stop()
}

type puts func() error

func (p puts) Put(context.Context, component.S3Place, io.Reader, int64) error { return p() }
func (p puts) Get(context.Context, component.S3Place, io.Writer) error        { return nil }
func (p puts) List(context.Context, component.S3Place, int) ([]component.S3Object, error) {
	return nil, nil
}

// A change in many steps makes one build.
func TestWatchWaitsForRest(t *testing.T) {
	w := newWatched(t)
	builds, _, _, stop := w.builds()
	running := w.next(builds)
	for i := range 30 {
		w.write(fmt.Sprintf("bucket/%d", i), "x")
		time.Sleep(watchSettle / 5)
	}
	w.stopped(running)
	running = w.next(builds)
	w.quiet(builds, running)
	stop()
}

// TestWatchProgram runs the real program: a recipe with mistakes, which are mended one after the other, until Ctrl-C.
func TestWatchProgram(t *testing.T) {
	w := newWatched(t)
	w.write("c.yaml", "schemaVersion: 1.0\nphases:\n- name: build\n  steps: [{name: S, action: ExecuteBsh}]\n")
	for _, arguments := range [][]string{nil, {"--json"}} {
		cmd := exec.Command("ingot", append([]string{"build", "--watch", "r.yaml", "-o", "out"}, arguments...)...)
		cmd.Dir = w.dir
		cmd.Env = append(os.Environ(), "INGOT_HOME="+w.path("home"))
		stderr, err := cmd.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cmd.Process.Kill() })
		killer := time.AfterFunc(2*time.Minute, func() { cmd.Process.Kill() })
		lines := bufio.NewScanner(stderr)
		var said []string
		until := func(part string) {
			t.Helper()
			for lines.Scan() {
				said = append(said, lines.Text())
				if strings.Contains(lines.Text(), part) {
					return
				}
			}
			t.Fatalf("it did not say %q, but:\n%s", part, strings.Join(said, "\n"))
		}
		until("ExecuteBsh")
		until("1 mistake; nothing was changed")
		until("watching 2 inputs; Ctrl-C ends")
		w.append("c.yaml", "wrong: 1\n")
		until("changed: c.yaml")
		until("2 mistakes")
		until("watching")
		w.append("r.yaml", "wrong: 1\n")
		until("changed: r.yaml")
		until("3 mistakes")
		until("watching")
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		until("ingot: interrupted")
		cmd.Wait()
		if status := cmd.ProcessState.ExitCode(); status != exitInterrupted {
			t.Errorf("exited %d", status)
		}
		killer.Stop()
		newer := newWatched(t)
		w.dir = newer.dir
		w.write("c.yaml", "schemaVersion: 1.0\nphases:\n- name: build\n  steps: [{name: S, action: ExecuteBsh}]\n")
	}
	for _, arguments := range [][]string{{"--on-failure=ask"}, {"--on-failure=shell"}, {"--s3-map", "nonsense"}} {
		cmd := exec.Command("ingot", append([]string{"build", "--watch", w.path("r.yaml")}, arguments...)...)
		cmd.Env = append(os.Environ(), "INGOT_HOME="+w.path("home"))
		out, _ := cmd.CombinedOutput()
		if status := cmd.ProcessState.ExitCode(); status != exitBadInput || strings.Contains(string(out), "watching") {
			t.Errorf("%v: exited %d: %s", arguments, status, out)
		}
	}
}
