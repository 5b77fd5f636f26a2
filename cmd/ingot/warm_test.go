package main

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ingot-image/ingot/builder"
	"github.com/ingot-image/ingot/builder/component"
)

// TestWarm takes one recipe through all that warm builds promise. A boot takes most of a minute without KVM, so its parts stand on each
// other's layers: there are two boots in all, one from a layer's disk, and a cold one to compare with.
func TestWarm(t *testing.T) {
	w := newWarm(newSite(t))
	first := w.first()
	w.unchanged(first)
	w.lastEdited(first)
	w.readsChanged()
	w.failureMended()
	w.killedWhileSaving()
	w.damaged()
	warm, booted, cold := w.sameInputs()
	w.compare("resumed from a layer", warm, cold)
	w.compare("booted from a layer's disk", booted, cold)
	w.expectNoSecrets()
	w.expectClean()
}

// warm is the recipe of TestWarm, and what it reads.
type warm struct {
	*site
	recipe     string
	bucket     string // folder
	parameters string // file
	secret     string
	secrets    []string // all that there were
	server     int      // port on the host, where hello is answered
}

// The recipe's components, in their order.
const (
	warmFiles     = "warm-files"
	warmService   = "warm-service"
	warmObject    = "warm-object"
	warmParameter = "warm-parameter"
	warmSecret    = "warm-secret"
	warmLast      = "warm-last"
)

func newWarm(s *site) *warm {
	w := &warm{site: s, bucket: filepath.Join(s.recipes, "bucket"), parameters: filepath.Join(s.recipes, "parameters.yaml")}
	if err := os.Mkdir(w.bucket, 0o755); err != nil {
		s.t.Fatal(err)
	}
	// The guest reaches the host's loopback as 10.0.2.2.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello from the host\n") })}
	go server.Serve(listener)
	s.t.Cleanup(func() { server.Close() })
	w.server = listener.Addr().(*net.TCPAddr).Port

	w.component(warmFiles, `
      - name: Files
        action: CreateFolder
        inputs: [{path: /opt/warm, permissions: 0755}]
      - name: User
        action: ExecuteBash
        inputs:
          commands:
            - useradd --create-home --shell /bin/bash warm
            - cd /opt/warm; mkdir deep; echo one >deep/one; ln -s deep/one link; ln deep/one hard; mkfifo pipe; chown warm:warm deep
            - install -m 4750 -g warm /bin/true setuid; head -c 3M /dev/zero >sparse; truncate -s 64M sparse
`)
	w.service("echo nothing to do")
	w.component(warmObject, "\n      - {name: Object, action: S3Download, inputs: [{source: 's3://warm-bucket/dir/object', destination: /opt/warm/object}]}\n")
	w.component(warmParameter, "\n      - {name: Parameter, action: CreateFile, inputs: [{path: /opt/warm/parameter, content: '{{ aws:ssm:/warm/value }}', overwrite: true}]}\n")
	w.write(warmSecret+".yaml", "schemaVersion: 1.0\nparameters: [Password: {type: string}]\nphases:\n  - name: build\n    steps:"+`
      - name: Secret
        action: ExecuteBash
        inputs: {commands: ["printf %s '{{ Password }}' | sha256sum >/opt/warm/secret"]}
`)
	w.setObject("first")
	w.setParameter("first")
	w.setSecret("first")
	w.last("first", "true")
	return w
}

// component writes a component whose build phase has these steps.
func (w *warm) component(name, steps string) {
	w.write(name+".yaml", "schemaVersion: 1.0\nphases:\n  - name: build\n    steps:"+steps)
}

// aboutService tells of the service and the boot in which it runs.
const aboutService = "cat /proc/sys/kernel/random/boot_id; systemctl show --property=ActiveState,MainPID,ActiveEnterTimestamp warm.service"

// service writes the component that is long and starts a service. Its steps refer to each other across a layer.
func (w *warm) service(script string) {
	w.component(warmService, `
      - name: Unit
        action: CreateFile
        inputs:
          - path: /etc/systemd/system/warm.service
            content: |
              [Service]
              ExecStart=/bin/sleep infinity
              [Install]
              WantedBy=multi-user.target
      - {name: Start, action: ExecuteBash, inputs: {commands: [systemctl enable --quiet --now warm.service]}}
      - {name: About, action: ExecuteBash, inputs: {commands: ['`+aboutService+`']}}
      - {name: Sleep, action: ExecuteBash, inputs: {commands: [sleep 12]}}
      - {name: Edited, action: ExecuteBash, inputs: {commands: ['`+script+`']}}
      - name: Recall
        action: ExecuteBash
        inputs:
          commands:
            - test "{{ build.About.outputs.stdout }}" = "$(`+aboutService+`)"
`)
}

// last writes the component that looks around in the guest, and ends with a script.
func (w *warm) last(text, script string) {
	w.component(warmLast, `
      - {name: Text, action: CreateFile, inputs: [{path: /opt/warm/text, content: `+text+`, overwrite: true}]}
      - {name: Date, action: ExecuteBash, inputs: {commands: [date +%s.%N]}}
      - {name: Random, action: ExecuteBash, inputs: {commands: [head -c 16 /dev/urandom | od -An -tx1]}}
      - {name: Network, action: ExecuteBash, inputs: {commands: ["exec 3<>/dev/tcp/10.0.2.2/`+strconv.Itoa(w.server)+`; printf 'GET / HTTP/1.0\r\n\r\n' >&3; tail -n 1 <&3"]}}
      - {name: Service, action: ExecuteBash, inputs: {commands: ['`+aboutService+`']}}
      - {name: End, action: ExecuteBash, inputs: {commands: ['`+script+`']}}
`)
}

func (w *warm) setObject(content string) {
	w.write("bucket/dir/object", content+" object\n")
}

func (w *warm) setParameter(value string) {
	w.write("parameters.yaml", "/warm/value: {type: SecureString, value: "+value+"-stored-parameter}\n")
	w.secrets = append(w.secrets, value+"-stored-parameter")
}

// setSecret makes the recipe anew with another secret.
func (w *warm) setSecret(value string) {
	w.secret = value + "-secret-of-the-recipe"
	w.secrets = append(w.secrets, w.secret)
	text := "name: warm\nsemanticVersion: 1.0.0\nparentImage: debian-12\ncomponents:\n"
	for _, name := range []string{warmFiles, warmService, warmObject, warmParameter, warmSecret, warmLast} {
		text += "  - componentArn: " + name + ".yaml\n"
		if name == warmSecret {
			text += "    parameters: [{name: Password, value: " + w.secret + ", secret: true}]\n"
		}
	}
	w.recipe = w.write("warm.yaml", text)
}

// write makes the folders of the file, too.
func (w *warm) write(name, content string) string {
	w.t.Helper()
	if err := os.MkdirAll(filepath.Dir(filepath.Join(w.recipes, name)), 0o755); err != nil {
		w.t.Fatal(err)
	}
	return w.site.write(name, content)
}

// warmRun is one build, as its events tell it.
type warmRun struct {
	events   []builder.Event
	used     *builder.LayerEvent // nil: it was booted from the base
	saved    []*builder.LayerEvent
	reused   string   // the image that was there already
	steps    []string // that ran, as COMPONENT/STEP
	warnings []string
	stages   map[string]builder.Event // that ended
	manifest *builder.Manifest
	took     time.Duration
}

// buildCommand prepares a build without tests.
func (w *warm) buildCommand(args ...string) *exec.Cmd {
	return w.command(append([]string{
		"build", w.recipe, "--json", "--test=none", "--format=raw", "-o", w.out,
		"--s3-map=s3://warm-bucket=" + w.bucket, "--ssm-parameters=" + w.parameters,
	}, args...)...)
}

// finish waits for a command that was started, and reads its events.
func finish(cmd *exec.Cmd, events *bytes.Buffer, start time.Time, status int) (*warmRun, error) {
	err := cmd.Wait()
	r := &warmRun{took: time.Since(start), stages: map[string]builder.Event{}}
	var exit *exec.ExitError
	if got := cmd.ProcessState.ExitCode(); got != status || err != nil && !errors.As(err, &exit) {
		return nil, fmt.Errorf("the build ended with %d (%v), want %d\n%s%s", got, err, status, events, cmd.Stderr)
	}
	for line := range strings.Lines(events.String()) {
		var e builder.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			return nil, fmt.Errorf("event %q: %w", line, err)
		}
		r.events = append(r.events, e)
		switch {
		case e.Type == builder.LayerUsed:
			r.used = e.Layer
		case e.Type == builder.LayerSaved:
			r.saved = append(r.saved, e.Layer)
		case e.Type == builder.ImageReused:
			r.reused = e.Image
		case e.Type == builder.Warning:
			r.warnings = append(r.warnings, e.Detail)
		case e.Type == builder.StageEnded:
			r.stages[e.Stage] = e
		case e.Component != nil && e.Component.Type == component.StepStarted:
			r.steps = append(r.steps, e.Component.Component+"/"+e.Component.Step)
		}
		r.manifest = cmp.Or(e.Manifest, r.manifest)
	}
	return r, nil
}

// start starts a build; the function it returns waits for its end, with this exit status.
func (w *warm) start(args ...string) func(status int) *warmRun {
	w.t.Helper()
	var events, errs bytes.Buffer
	cmd, start := w.buildCommand(args...), time.Now()
	cmd.Stdout, cmd.Stderr = &events, &errs
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	return func(status int) *warmRun {
		w.t.Helper()
		r, err := finish(cmd, &events, start, status)
		if err != nil {
			w.t.Fatal(err)
		}
		return r
	}
}

// runs makes a build, and says what it was.
func (w *warm) runs(what string, status int, args ...string) *warmRun {
	w.t.Helper()
	r := w.start(args...)(status)
	from := "the base"
	if r.used != nil {
		from = strings.Join(append(slices.Clone(r.used.Components), r.used.Step), " ")
	}
	w.t.Logf("%s: %v, from %s, ran %d steps, saved %d layers", what, r.took.Round(100*time.Millisecond), from, len(r.steps), len(r.saved))
	return r
}

// says gives what a step printed, and when the host heard it.
func (r *warmRun) says(t *testing.T, step string) (text string, at time.Time) {
	t.Helper()
	for _, e := range r.events {
		if c := e.Component; c != nil && c.Type == component.Output && c.Step == step {
			text, at = text+c.Text, e.Time
		}
	}
	if text == "" {
		t.Fatalf("step %s printed nothing", step)
	}
	return strings.TrimSpace(text), at
}

// expectFrom wants a build to have gone on from a layer's memory, in which these components are done and maybe one more up to a step, and to
// have run the others from there.
func (w *warm) expectFrom(r *warmRun, step string, done ...string) {
	w.t.Helper()
	if r.used == nil || !r.used.Memory || r.used.Step != step || !slices.Equal(r.used.Components, done) {
		w.t.Fatalf("went on from %+v, want %v and step %q\nwarnings: %q", r.used, done, step, r.warnings)
	}
	if !r.stages[builder.StageBoot].Cached {
		w.t.Error("the stage boot is not told to be cached")
	}
	for _, s := range r.steps {
		if name, _, _ := strings.Cut(s, "/"); slices.Contains(done, name) {
			w.t.Errorf("the step %s ran again", s)
		}
	}
	if step != "" && slices.ContainsFunc(r.steps, func(s string) bool { return strings.HasSuffix(s, "/"+step) }) {
		w.t.Errorf("the step %s ran again", step)
	}
}

// expectNoWarnings wants nothing to be wrong with layers.
func (w *warm) expectNoWarnings(r *warmRun) {
	w.t.Helper()
	if len(r.warnings) > 0 {
		w.t.Errorf("warnings: %q", r.warnings)
	}
}

// first is the first build: it saves layers on the way.
func (w *warm) first() *warmRun {
	r := w.runs("first", 0)
	w.expectNoWarnings(r)
	var ends []string
	inside := 0
	for _, l := range r.saved {
		if !l.Memory || l.SizeBytes == 0 {
			w.t.Errorf("saved %+v", l)
		}
		if l.Step == "" {
			ends = append(ends, l.Component)
		} else if l.Component == warmService {
			inside++
		}
	}
	if want := []string{warmFiles, warmService, warmObject, warmParameter, warmSecret, warmLast}; !slices.Equal(ends, want) {
		w.t.Errorf("layers end with %q, want %q", ends, want)
	}
	// The base was booted before, by whichever test was the first.
	if r.used == nil || !r.used.Memory || len(r.used.Components) > 0 || inside == 0 || len(r.steps) != 2+6+1+1+1+6 {
		w.t.Errorf("went on from %+v, ran %q, with %d layers inside of the long component", r.used, r.steps, inside)
	}
	w.expectClock(r) // it stood still for each layer
	return r
}

// expectClock wants the guest's clock to be the host's.
func (w *warm) expectClock(r *warmRun) {
	w.t.Helper()
	text, at := r.says(w.t, "Date")
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil || math.Abs(float64(at.UnixNano())/1e9-seconds) > 5 {
		w.t.Errorf("the guest's clock is at %s (%v), the host's at %d", text, err, at.Unix())
	}
}

// unchanged wants the same image again, at once.
func (w *warm) unchanged(first *warmRun) {
	r := w.runs("unchanged", 0)
	if r.reused != "warm/"+first.manifest.Version || r.manifest == nil || r.manifest.Version != first.manifest.Version || r.stages[builder.StageBoot].Type != "" {
		w.t.Errorf("unchanged: reused %q, stages %v", r.reused, r.stages)
	}
	// The process must be started, too, beside whatever else the machine does.
	if worked := time.Duration(r.stages[builder.StageResolve].DurationMS) * time.Millisecond; worked > time.Second {
		w.t.Errorf("unchanged, took %v", worked)
	}
}

// lastEdited edits the last component in two ways at once: both builds go on from one layer, in which the guest lives on.
func (w *warm) lastEdited(first *warmRun) {
	done := []string{warmFiles, warmService, warmObject, warmParameter, warmSecret}
	w.last("second", "true")
	one := w.start()
	// The first has read its documents when it has a guest.
	for start := time.Now(); time.Since(start) < time.Minute; time.Sleep(10 * time.Millisecond) {
		if running, _ := filepath.Glob(filepath.Join(w.home, "work/build-*/*.qcow2")); len(running) > 0 {
			break
		}
	}
	w.last("third", "true")
	two := w.start()
	a, b := one(0), two(0)
	service, _ := first.says(w.t, "About")
	for _, r := range []*warmRun{a, b} {
		w.expectNoWarnings(r)
		w.expectFrom(r, "", done...)
		if want := []string{"Text", "Date", "Random", "Network", "Service", "End"}; len(r.steps) != len(want) {
			w.t.Errorf("ran %q, want %q", r.steps, want)
		}
		if text, _ := r.says(w.t, "Service"); text != service || !strings.Contains(text, "ActiveState=active") {
			w.t.Errorf("the service is now\n%s\nand was\n%s", text, service)
		}
		w.expectClock(r)
		if text, _ := r.says(w.t, "Network"); text != "hello from the host" {
			w.t.Errorf("from the network: %q", text)
		}
	}
	if x, _ := a.says(w.t, "Random"); x != "" {
		if y, _ := b.says(w.t, "Random"); x == y {
			w.t.Errorf("two guests that went on from one layer have the same random bytes %s", x)
		}
	}
	if a.manifest.Version == b.manifest.Version {
		w.t.Errorf("two builds at once have the version %s", a.manifest.Version)
	}
	w.t.Logf("two at once took %v and %v", a.took, b.took)
}

// readsChanged changes what components read: they and those after them run again. The builds end in the last component, which spares the time
// for making an image.
func (w *warm) readsChanged() {
	w.last("fourth", "exit 3")
	w.setSecret("second")
	r := w.runs("secret changed", 1)
	w.expectFrom(r, "", warmFiles, warmService, warmObject, warmParameter)
	w.expectNoWarnings(r)

	w.setParameter("second")
	r = w.runs("parameter changed", 1)
	w.expectFrom(r, "", warmFiles, warmService, warmObject)
	w.expectNoWarnings(r)

	w.setObject("second")
	r = w.runs("object changed", 1)
	w.expectFrom(r, "", warmFiles, warmService)
	if !slices.Contains(r.steps, warmSecret+"/Secret") {
		w.t.Errorf("ran %q: not what comes after the object", r.steps)
	}
	w.expectNoWarnings(r)

	// Back to what it was: those layers are still there.
	w.setObject("first")
	w.setParameter("first")
	r = w.runs("changed back", 1)
	w.expectFrom(r, "", warmFiles, warmService, warmObject, warmParameter, warmSecret)
	w.setObject("second")
	w.setParameter("second")
}

// failureMended makes a step in the middle of the long component fail, and mends it: the build goes on from the layer before.
func (w *warm) failureMended() {
	w.service("echo failing; exit 7")
	r := w.runs("a failing step", 1)
	w.expectFrom(r, "Sleep", warmFiles)
	if want := []string{warmService + "/Edited"}; !slices.Equal(r.steps, want) {
		w.t.Errorf("ran %q, want %q", r.steps, want)
	}
	w.service("echo mended >/opt/warm/mended")
	r = w.runs("mended", 1)
	w.expectFrom(r, "Sleep", warmFiles)
	if !slices.Contains(r.steps, warmService+"/Recall") || r.steps[len(r.steps)-1] != warmLast+"/End" {
		w.t.Errorf("ran %q", r.steps)
	}
	w.expectNoWarnings(r)
}

// layers lists folders of layers.
func (w *warm) layers(pattern string) []string {
	w.t.Helper()
	found, err := filepath.Glob(filepath.Join(w.home, "layers", pattern))
	if err != nil {
		w.t.Fatal(err)
	}
	return found
}

// killedWhileSaving kills builds of another recipe while they save their first layer.
func (w *warm) killedWhileSaving() {
	before := w.layers("[!.]*-*")
	w.other("killed", "echo yes >/opt/killed", "exit 3")
	for _, after := range []time.Duration{0, 300 * time.Millisecond} {
		cmd := w.command("build", filepath.Join(w.recipes, "killed.yaml"), "-o", w.out, "--test=none")
		if err := cmd.Start(); err != nil {
			w.t.Fatal(err)
		}
		for start := time.Now(); len(w.layers(".*.making")) == 0; time.Sleep(time.Millisecond) {
			if time.Since(start) > 5*time.Minute {
				w.t.Fatal("no layer was saved")
			}
		}
		time.Sleep(after)
		cmd.Process.Signal(syscall.SIGKILL)
		cmd.Wait()
		w.expectClean()
	}
	// Whether the second kill came too late for the layer is left to chance. If not, everything runs again, from the booted base, which any
	// recipe can go on from.
	r := w.runsOther("killed.yaml")
	if r.used == nil || len(r.used.Components) > 1 || len(r.used.Components) == 0 && !slices.Contains(r.steps, "killed-0/Do") {
		w.t.Errorf("after the kill: from %+v, ran %q", r.used, r.steps)
	}
	w.expectNoWarnings(r)
	if left := w.layers(".*"); len(left) > 0 {
		w.t.Errorf("left of layers that were never finished: %q", left)
	}
	for _, dir := range before {
		if _, err := os.Stat(filepath.Join(dir, "layer.json")); err != nil {
			w.t.Errorf("a layer is gone: %v", err)
		}
	}
}

// other writes another recipe, of components with one step each.
func (w *warm) other(name string, scripts ...string) {
	text := "name: " + name + "\nsemanticVersion: 1.0.0\nparentImage: debian-12\ncomponents:\n"
	for i, script := range scripts {
		c := fmt.Sprintf("%s-%d", name, i)
		w.component(c, "\n      - {name: Do, action: ExecuteBash, inputs: {commands: ['"+script+"']}}\n")
		text += "  - componentArn: " + c + ".yaml\n"
	}
	w.write(name+".yaml", text)
}

// runsOther builds another recipe, whose last step fails.
func (w *warm) runsOther(recipe string) *warmRun {
	w.t.Helper()
	other := *w
	other.recipe = filepath.Join(w.recipes, recipe)
	return other.runs(recipe, 1)
}

// folder is that of the layer that a build went on from.
func (w *warm) folder(l *builder.LayerEvent) string {
	w.t.Helper()
	found := w.layers("*-" + l.ID)
	if len(found) != 1 {
		w.t.Fatalf("layer %s: %q", l.ID, found)
	}
	return found[0]
}

// flip changes one byte in the middle of a file.
func (w *warm) flip(path string) {
	w.t.Helper()
	// Layers are read-only: this is done to them.
	if err := os.Chmod(path, 0o600); err != nil {
		w.t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		w.t.Fatal(err)
	}
	b := make([]byte, 1)
	if _, err = f.ReadAt(b, info.Size()/2); err == nil {
		_, err = f.WriteAt([]byte{b[0] ^ 1}, info.Size()/2)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// damaged damages the memory of the layer that a build went on from, and then the disk of another one.
func (w *warm) damaged() {
	before := w.runs("undamaged", 1)
	w.expectFrom(before, "", warmFiles, warmService, warmObject, warmParameter, warmSecret)
	memories, _ := filepath.Glob(filepath.Join(w.folder(before.used), "memory*"))
	if len(memories) != 1 {
		w.t.Fatalf("memories: %q", memories)
	}
	w.flip(memories[0])
	r := w.runs("memory damaged", 1)
	w.expectFrom(r, "", warmFiles, warmService, warmObject, warmParameter)
	expect(w.t, strings.Join(r.warnings, "\n"), before.used.ID, "its content was changed")
	if !slices.Contains(r.steps, warmSecret+"/Secret") {
		w.t.Errorf("ran %q", r.steps)
	}

	below := r.used
	w.flip(filepath.Join(w.folder(below), "disk-0.qcow2"))
	r = w.runs("disk damaged", 1)
	w.expectFrom(r, "", warmFiles, warmService, warmObject)
	expect(w.t, strings.Join(r.warnings, "\n"), below.ID, "disk-0.qcow2: its content was changed", "dropped, with")
	if found := w.layers("*-" + below.ID); len(found) > 0 {
		w.t.Errorf("the damaged layer is still there: %q", found)
	}
	r = w.runs("rebuilt", 1)
	w.expectFrom(r, "", warmFiles, warmService, warmObject, warmParameter, warmSecret)
	w.expectNoWarnings(r)
}

// sameInputs builds the same three times: from a layer's memory, from the last layer's disk, and from nothing, and gives the disks. The last
// build has no room for layers.
func (w *warm) sameInputs() (resumed, booted, cold string) {
	image := func(out string, r *warmRun) string { return filepath.Join(out, r.manifest.Outputs[0].Path) }
	w.last("final", "true")
	r := w.runs("final", 0)
	w.expectFrom(r, "", warmFiles, warmService, warmObject, warmParameter, warmSecret)
	w.expectNoWarnings(r)
	resumed = image(w.out, r)

	for _, dir := range w.layers("*-*") {
		memories, _ := filepath.Glob(filepath.Join(dir, "memory*"))
		for _, path := range memories {
			if err := os.Remove(path); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	out := filepath.Join(w.recipes, "booted") // what is in w.out is watched
	r = w.runs("memories removed", 0, "-o", out)
	if r.used == nil || r.used.Memory || r.used.Why == "" || len(r.used.Components) != 6 || len(r.steps) > 0 || !r.stages[builder.StageApply].Cached {
		w.t.Errorf("with no memory at all: from %+v, ran %q", r.used, r.steps)
	}
	w.expectNoWarnings(r)
	booted = image(out, r)

	layers := filepath.Join(w.home, "layers")
	if os.Geteuid() == 0 {
		if err := syscall.Mount("tmpfs", layers, "tmpfs", 0, "size=16m"); err != nil {
			w.t.Logf("cannot mount a small file system over the layers: %v", err)
		} else {
			defer syscall.Unmount(layers, 0)
		}
	} else {
		w.t.Log("only root can mount a small file system: a build without room for layers is not tested")
	}
	out = filepath.Join(w.recipes, "cold")
	r = w.runs("cold", 0, "-o", out, "--no-cache")
	if r.used != nil || len(r.steps) != 2+6+1+1+1+6 {
		w.t.Errorf("cold: from %+v, ran %q", r.used, r.steps)
	}
	if os.Geteuid() == 0 {
		expect(w.t, strings.Join(r.warnings, "\n"), "no more layers are saved: ", "there is no room for a layer")
		if len(r.saved) > 0 || len(r.warnings) != 1 {
			w.t.Errorf("without room: saved %d layers, warnings %q", len(r.saved), r.warnings)
		}
	}
	return resumed, booted, image(out, r)
}

// expectNoSecrets wants no secret in what is kept of the builds, but for the memory of guests.
func (w *warm) expectNoSecrets() {
	paths, _ := filepath.Glob(filepath.Join(w.home, "builds/*/*/*"))
	paths = append(paths, w.layers("*/*.json")...)
	paths = append(paths, w.layers("finished/*")...)
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			continue // a folder
		}
		for _, secret := range w.secrets {
			hash := fmt.Sprintf("%x", sha256.Sum256([]byte(secret)))
			if bytes.Contains(data, []byte(secret)) || bytes.Contains(data, []byte(hash)) {
				w.t.Errorf("%s has a secret", path)
			}
		}
	}
	if len(paths) < 20 {
		w.t.Errorf("looked only into %q", paths)
	}
}
