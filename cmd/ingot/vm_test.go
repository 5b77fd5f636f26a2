package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ingot-image/ingot/builder"
	"github.com/ingot-image/ingot/cmd/ingot-agent/embedded"
)

// site is a place where the real program builds images: a home of its own that shares its bases with all other tests, an
// output folder, and a folder for recipes and temporary files.
type site struct {
	t                    *testing.T
	home, out, temporary string
	recipes              string
	environ              []string // besides the test's own
}

// newSite skips the test, with the reason, where no VM can be run.
func newSite(t *testing.T) *site {
	t.Helper()
	if testing.Short() {
		t.Skip("VM tests are not short")
	}
	for _, tool := range []string{"qemu-system-x86_64", "qemu-img", "mmdebstrap"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	if _, err := embedded.Agent("linux", "amd64"); err != nil {
		t.Skip(err)
	}
	// A VM under TCG mostly keeps one CPU busy: side by side these tests take half the time.
	t.Parallel()
	// Not t.TempDir: its long names leave too little room for the paths of sockets.
	dir, err := os.MkdirTemp("", "ingot-test-")
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, home: filepath.Join(dir, "home"), out: filepath.Join(dir, "out"), temporary: filepath.Join(dir, "tmp"), recipes: filepath.Join(dir, "recipes")}
	for _, d := range []string{s.home, s.out, s.temporary, s.recipes} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("what the builds left is in %s", dir)
			return
		}
		os.RemoveAll(dir)
	})
	if err := os.Symlink(sharedBases(t), filepath.Join(s.home, "bases")); err != nil {
		t.Fatal(err)
	}
	layers, err := warmBase()
	if err != nil {
		t.Fatal(err)
	}
	judge(t, "", "sh", "-c", `cp -al "$0" "$1" 2>/dev/null || { rm -rf "$1" && cp -a "$0" "$1"; }`, layers, filepath.Join(s.home, "layers"))
	return s
}

// warmBase makes the base and the layer of it booted, once, so that not every test waits for a boot. It gives the folder of layers, in which
// there are only such.
var warmBase = sync.OnceValues(func() (layers string, err error) {
	home, err := testHome()
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "ingot-warm-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	document := filepath.Join(dir, "nothing.yaml")
	err = os.WriteFile(document, []byte("schemaVersion: 1.0\nphases:\n  - name: build\n    steps:\n      - name: Nothing\n        action: ExecuteBash\n        inputs: {commands: ['true']}\n"), 0o600)
	if err != nil {
		return "", err
	}
	cmd := exec.Command("ingot", "component", "run", "--vm", "debian-12", "-d", document, "--log-directory", dir)
	cmd.Env = append(os.Environ(), "INGOT_HOME="+home, "TMPDIR="+dir, "XDG_RUNTIME_DIR="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("boot the base: %w\n%s", err, out)
	}
	return filepath.Join(home, "layers"), nil
})

// testHome is where all VM tests of this machine keep what is slow to make: $INGOT_TEST_HOME, or under the user's cache.
func testHome() (string, error) {
	if home := os.Getenv("INGOT_TEST_HOME"); home != "" {
		return home, nil
	}
	cache, err := os.UserCacheDir()
	return filepath.Join(cache, "ingot-test"), err
}

// sharedBases is where the VM tests keep their bases.
func sharedBases(t testing.TB) string {
	home, err := testHome()
	if err != nil {
		t.Fatal(err)
	}
	bases := filepath.Join(home, "bases")
	if err := os.MkdirAll(bases, 0o755); err != nil {
		t.Fatal(err)
	}
	return bases
}

// write puts a file into the folder of recipes and gives its path.
func (s *site) write(name, content string) string {
	s.t.Helper()
	path := filepath.Join(s.recipes, name)
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// recipe writes a recipe with one component, whose document is given from its phases on.
func (s *site) recipe(name, phases string, more ...string) string {
	s.t.Helper()
	s.write(name+"-component.yaml", "schemaVersion: 1.0\nname: "+name+"\nphases:\n"+phases)
	return s.write(name+".yaml", "name: "+name+"\nsemanticVersion: 1.0.0\nparentImage: debian-12\n"+
		"components:\n  - componentArn: "+name+"-component.yaml\n"+strings.Join(more, ""))
}

// example is a recipe of the repository.
func example(t *testing.T, name string) string {
	path, err := filepath.Abs(filepath.Join("../../testdata/recipes", name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// command prepares a run of the program.
func (s *site) command(args ...string) *exec.Cmd {
	cmd := exec.Command("ingot", args...)
	cmd.Env = append(os.Environ(), "INGOT_HOME="+s.home, "TMPDIR="+s.temporary, "XDG_RUNTIME_DIR="+s.temporary)
	cmd.Env = append(cmd.Env, s.environ...)
	return cmd
}

// run runs the program to its end, which must have the given exit status.
func (s *site) run(status int, args ...string) (stdout, stderr string) {
	s.t.Helper()
	var out, errs bytes.Buffer
	cmd := s.command(args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	start := time.Now()
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != status {
		s.t.Fatalf("ingot %s exited %d, want %d\nstdout:\n%s\nstderr:\n%s", strings.Join(args, " "), got, status, out.String(), errs.String())
	}
	s.t.Logf("ingot %s: %v", strings.Join(args, " "), time.Since(start).Round(time.Second))
	return out.String(), errs.String()
}

// build builds a recipe and gives its manifest.
func (s *site) build(recipe string, args ...string) *builder.Manifest {
	s.t.Helper()
	events, _ := s.run(0, append([]string{"build", recipe, "-o", s.out, "--json"}, args...)...)
	var last builder.Event
	for line := range strings.Lines(events) {
		last = builder.Event{}
		if err := json.Unmarshal([]byte(line), &last); err != nil {
			s.t.Fatalf("event %q: %v", line, err)
		}
	}
	if last.Type != builder.BuildEnded || last.Manifest == nil {
		s.t.Fatalf("the last event is %+v", last)
	}
	return last.Manifest
}

// fail builds a recipe that must fail, and gives the failure and what was printed.
func (s *site) fail(recipe string, args ...string) string {
	s.t.Helper()
	_, stderr := s.run(1, append([]string{"build", recipe, "-o", s.out}, args...)...)
	return stderr
}

// follow starts a build and gives it back when it has sent the event asked for.
func (s *site) follow(until func(builder.Event) bool, recipe string, args ...string) *exec.Cmd {
	s.t.Helper()
	cmd := s.command(append([]string{"build", recipe, "-o", s.out, "--json"}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { cmd.Process.Kill() })
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e builder.Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			s.t.Fatalf("event %q: %v", lines.Text(), err)
		}
		if until(e) {
			go io.Copy(io.Discard, out)
			return cmd
		}
	}
	err = cmd.Wait()
	s.t.Fatalf("the build ended (%v) before it came to what was waited for", err)
	return nil
}

// leftovers lists what a dead build left behind: processes, and files that are no finished image's.
func (s *site) leftovers() (left []string) {
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range processes {
		if filepath.Base(p) == fmt.Sprint(os.Getpid()) {
			continue
		}
		environment, _ := os.ReadFile(filepath.Join(p, "environ"))
		cmdline, _ := os.ReadFile(filepath.Join(p, "cmdline"))
		if bytes.Contains(environment, []byte("INGOT_HOME="+s.home+"\x00")) || bytes.Contains(cmdline, []byte(s.home+"/")) || bytes.Contains(cmdline, []byte(s.temporary+"/")) {
			left = append(left, fmt.Sprintf("process %s: %.120s", filepath.Base(p), bytes.ReplaceAll(cmdline, []byte{0}, []byte{' '})))
		}
	}
	finished, _ := filepath.Glob(filepath.Join(s.out, "*.json"))
	for _, dir := range []string{s.temporary, s.out, filepath.Join(s.home, "work")} {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			if !belongs(path, finished) {
				left = append(left, path)
			}
		}
	}
	return left
}

// belongs tells whether a file is one of an image's that has its manifest.
func belongs(path string, manifests []string) bool {
	for _, m := range manifests {
		if strings.TrimSuffix(path, filepath.Ext(path)) == strings.TrimSuffix(m, ".json") {
			return true
		}
	}
	return false
}

// expectClean fails the test if something is left behind, after a while for processes to be reaped in.
func (s *site) expectClean() {
	s.t.Helper()
	var left []string
	for start := time.Now(); time.Since(start) < 20*time.Second; time.Sleep(100 * time.Millisecond) {
		if left = s.leftovers(); len(left) == 0 {
			return
		}
	}
	s.t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
}

func expect(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q is not in:\n%s", part, text)
		}
	}
}
