package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ingot-image/ingot/builder"
	"github.com/ingot-image/ingot/builder/catalog"
	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/builder/copyout"
)

// TestFailingStep wants a failing step's report: component, phase, step, action, exit status and what it printed. Then somebody at a terminal
// looks into the guest, which is as the step left it, keeps it, and comes back to it in all the ways there are.
func TestFailingStep(t *testing.T) {
	s := newSite(t)
	recipe := s.recipe("left", `  - name: build
    steps:
      - name: Leave
        action: ExecuteBash
        inputs:
          commands:
            - mkdir -p /opt/left/sub
            - echo from the step >/opt/left/note
            - install -m 4755 /bin/true /opt/left/sub/tool
            - ln -s ../note /opt/left/sub/link
            - ln -s /etc/passwd /opt/left/out
            - mknod /opt/left/null c 1 3
            - nohup setsid sleep 100000 >/dev/null 2>&1 &
            - echo $! >/run/left.pid
      - name: Fail
        action: ExecuteBash
        inputs:
          commands: ["echo looking >&2", "exit 7"]
      - name: NeverRun
        action: CreateFolder
        inputs: [{path: /opt/left/never}]
`)
	const build = "left/1.0.0/1"
	p := onTerminal(t, s.command("build", recipe, "-o", s.out))
	shown := p.expect("s[t]op? ", 10*time.Minute)
	expect(t, shown, "component: left-component", "phase:", "build", "step:", "Fail", "action:    ExecuteBash", "exit:      7", "stderr:", "| looking", "logs:")
	p.enter("s\n")
	p.expect("# ", time.Minute)
	// What says that it can be stopped must be what is stopped: between two commands Ctrl-C may find nobody in the terminal's foreground.
	p.enter("stty size; cat /opt/left/note; ls /opt/left; sh -c 'echo to be ${0}ped; exec sleep 1000' stop\r")
	p.expect("31 97", time.Minute)
	expect(t, p.expect("to be stopped", time.Minute), "from the step", "sub")
	p.enter("\x03")
	p.enter("exit\r")
	p.expect("s[t]op? ", time.Minute)
	p.enter("k\n")
	expect(t, p.expect("ingot shell "+build, 2*time.Minute), "step \"Fail\" of left-component failed")
	p.end(1)

	stdout, _ := s.run(0, "images", "left/1.0.0", "--json")
	var image struct {
		Status  catalog.Status
		Failure builder.Failure
	}
	if err := json.Unmarshal([]byte(stdout), &image); err != nil || image.Status != catalog.Failed || !strings.Contains(image.Failure.Hint, "ingot shell "+build) ||
		image.Failure.ComponentFailure == nil || image.Failure.ComponentFailure.ExitCode == nil || *image.Failure.ComponentFailure.ExitCode != 7 {
		t.Errorf("catalog: %v, %s", err, stdout)
	}
	var vms []builder.KeptVM
	stdout, _ = s.run(0, "shell", "--list", "--json")
	if err := json.Unmarshal([]byte(stdout), &vms); err != nil || len(vms) != 1 || vms[0].Build != build || !vms[0].Memory || vms[0].Status != component.StatusFailed {
		t.Fatalf("%v in %s", err, stdout)
	}

	// It stands on the layer of the booted base, which must stay as long.
	layers, err := os.ReadFile(filepath.Join(s.home, "vms", vms[0].ID, "layers"))
	if err != nil || len(strings.Fields(string(layers))) != 1 {
		t.Errorf("the layers that the kept guest stands on: %q, %v", layers, err)
	}
	s.run(0, "cache", "prune", "--all")
	// The process that the step began still runs: only memory that was truly saved has it.
	stdout, _ = s.run(0, "shell", build, "--", "sh", "-c", "cat /opt/left/note /proc/$(cat /run/left.pid)/comm; rm /opt/left/sub/link; ln -s ../note /opt/left/sub/link")
	if stdout != "from the step\nsleep\n" {
		t.Errorf("in the kept guest: %q", stdout)
	}
	s.checkCopies(build, filepath.Join(s.home, "vms", vms[0].ID, "vm.json"))

	p = onTerminal(t, s.command("console", "left"))
	p.expect("Ctrl-] leaves it", time.Minute)
	p.enter("\r")
	p.expect("login:", time.Minute)
	p.enter("\x1d")
	p.expect(" is saved", time.Minute)
	p.end(0)

	s.run(0, "shell", "--remove", build)
	_, stderr := s.run(2, "cp", build+":/etc/passwd", s.temporary)
	expect(t, stderr, "no such kept VM")
	s.expectClean()
	if left, _ := os.ReadDir(filepath.Join(s.home, "vms")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// checkCopies copies a file and a folder out of the kept guest of TestFailingStep, which must not change it.
func (s *site) checkCopies(build, record string) {
	s.t.Helper()
	before, err := os.ReadFile(record)
	if err != nil {
		s.t.Fatal(err)
	}
	to := filepath.Join(s.recipes, "copies")
	if err := os.Mkdir(to, 0o755); err != nil {
		s.t.Fatal(err)
	}
	s.run(0, "cp", build+":/opt/left/note", filepath.Join(to, "note.txt"))
	stdout, _ := s.run(0, "cp", build+":/opt/left", to, "--json")
	var summary copyout.Summary
	if err := json.Unmarshal([]byte(stdout), &summary); err != nil || summary.Files != 2 || summary.Folders != 2 || summary.Links != 1 || len(summary.Skipped) != 2 {
		s.t.Errorf("the copy of a folder: %v, %s", err, stdout)
	}
	for _, name := range []string{"note.txt", "left/note", "left/sub/link"} {
		if data, err := os.ReadFile(filepath.Join(to, name)); err != nil || string(data) != "from the step\n" {
			s.t.Errorf("the copy %s is %q, %v", name, data, err)
		}
	}
	if info, err := os.Stat(filepath.Join(to, "left/sub/tool")); err != nil || info.Mode() != 0o755 || info.Size() == 0 {
		s.t.Errorf("the program that was setuid: %v, %v", info, err)
	}
	_, stderr := s.run(1, "cp", build+":/opt/none", to)
	expect(s.t, stderr, "/opt/none", "no such file")
	if after, err := os.ReadFile(record); err != nil || string(after) != string(before) {
		s.t.Errorf("cp has changed the VM: %v\n%s\n%s", err, before, after)
	}
}

// TestGuests takes guests that go wrong in ways of their own: each is one clear error that names the cause.
func TestGuests(t *testing.T) {
	s := newSite(t)
	step := func(name, script, more string) string {
		return "      - name: " + name + "\n        action: ExecuteBash\n" + more + "        inputs:\n          commands:\n            - " + script + "\n"
	}
	const build = "  - name: build\n    steps:\n"
	for _, c := range []struct {
		name, phases string
		want         []string
	}{
		{"panics", build + step("Panic", "echo 1 > /proc/sys/kernel/sysrq; sleep 1; echo c > /proc/sysrq-trigger; sleep 100", ""),
			[]string{"apply:", "kernel panic", "console:"}},
		{"powers-off", build + step("PowerOff", "systemctl poweroff; sleep 1000", ""),
			[]string{"apply:", "powered itself off"}},
		{"floods-and-never-ends", build +
			step("Flood", "head -c 1G /dev/zero | tr '\\\\0' x", "") +
			step("FloodErr", "head -c 100M /dev/zero | tr '\\\\0' y >&2", "") +
			step("NeverEnds", "echo about to hang >&2; sleep 100000 & wait", "        timeoutSeconds: 5\n"),
			[]string{"step:      NeverEnds", "timed out", "| about to hang"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			expect(t, s.fail(s.recipe(c.name, c.phases)), c.want...)
			s.expectClean()
		})
	}
}

// TestReboots wants a step that exits 194 to run again after the reboot, the Reboot action to go on with the next one, and
// what steps remember to survive. The image's quick test is one boot of its own kernel, of what finalise left.
func TestReboots(t *testing.T) {
	s := newSite(t)
	m := s.build(s.recipe("reboots", `  - name: build
    steps:
      - name: Remember
        action: ExecuteBash
        inputs:
          commands: ["cat /proc/sys/kernel/random/boot_id"]
      - name: RunTwice
        action: ExecuteBash
        inputs:
          commands:
            - echo run >> /var/lib/runs
            - '[ $(wc -l < /var/lib/runs) -ge 2 ] || exit 194'
      - name: Restart
        action: Reboot
      - name: AnotherBoot
        action: ExecuteBash
        inputs:
          commands:
            - test $(wc -l < /var/lib/runs) -eq 2
            - test "{{ build.Remember.outputs.stdout }}" != "$(cat /proc/sys/kernel/random/boot_id)"
            - test "$(journalctl --list-boots 2>/dev/null | wc -l)" -ne 1 || true
  - name: test
    steps:
      - name: Finished
        action: ExecuteBash
        inputs:
          commands:
            - test $(wc -l < /var/lib/runs) -eq 2
            - grep -q no_timer_check /proc/cmdline
            - '! ls /var/lib/apt/lists/*InRelease /var/lib/cloud/* 2>/dev/null'
`), "--test=quick")
	if len(m.Tests) != 1 || m.Tests[0].Name != "direct-virtio" || m.Tests[0].Firmware != "direct" || m.Tests[0].Status != builder.TestPassed {
		t.Errorf("tests %+v", m.Tests)
	}
	s.expectClean()
}

// TestFailingTest wants an image whose tests fail to leave no file.
func TestFailingTest(t *testing.T) {
	s := newSite(t)
	recipe := s.recipe("bad-image", `  - name: test
    steps:
      - name: NotThere
        action: Assert
        inputs:
          fileExists: /not/there
`)
	// By BIOS or by UEFI: whichever was there first.
	expect(t, s.fail(recipe), "ingot: test (", "-virtio): step \"NotThere\" of bad-image-component failed", "phase:     test")
	s.expectClean()
	if stdout, _ := s.run(0, "images"); !strings.Contains(stdout, "FAILED") {
		t.Errorf("the catalog says\n%s", stdout)
	}
	if files, _ := filepath.Glob(filepath.Join(s.out, "*")); len(files) > 0 {
		t.Errorf("a failed image left %v", files)
	}
}

// TestKill kills builds in every stage with a signal that cannot be caught. Nothing may be left, and the next build works.
func TestKill(t *testing.T) {
	s := newSite(t)
	hello := example(t, "hello.yaml")
	slow := s.recipe("slow", "  - name: build\n    steps:\n      - name: Sleep\n        action: ExecuteBash\n        inputs:\n          commands: [sleep 1000]\n")
	stage := func(name string) func(builder.Event) bool {
		return func(e builder.Event) bool { return e.Type == builder.StageStarted && e.Stage == name }
	}
	for _, c := range []struct {
		name, recipe string
		until        func(builder.Event) bool
		after        time.Duration
		args         []string
	}{
		{"resolve", hello, stage("resolve"), 50 * time.Millisecond, nil},
		{"boot", hello, stage("boot"), 5 * time.Second, []string{"--no-cache"}},
		{"apply", slow, func(e builder.Event) bool {
			return e.Component != nil && e.Component.Type == component.StepStarted
		}, time.Second, nil},
		{"finalise", hello, stage("finalise"), 2 * time.Second, nil},
		{"flatten", hello, stage("flatten"), 300 * time.Millisecond, nil},
		{"test", hello, stage("test"), 5 * time.Second, nil},
		{"distribute", hello, stage("distribute"), 500 * time.Millisecond, []string{"--test=none"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := s.follow(c.until, c.recipe, c.args...)
			time.Sleep(c.after)
			if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			cmd.Wait()
			s.expectClean()
		})
	}
	s.build(hello, "--test=none")
	s.expectClean()
	stdout, _ := s.run(0, "images", "hello")
	if n := strings.Count(stdout, "FAILED"); n < 4 || !strings.Contains(stdout, "AVAILABLE") {
		t.Errorf("the catalog says\n%s", stdout)
	}
}

// TestKillWhileBootstrapping kills a build that makes its base, which is where the most processes run.
func TestKillWhileBootstrapping(t *testing.T) {
	s := newSite(t)
	if err := os.Remove(filepath.Join(s.home, "bases")); err != nil {
		t.Fatal(err)
	}
	cmd := s.follow(func(e builder.Event) bool { return strings.Contains(e.Detail, "installing") }, example(t, "hello.yaml"))
	time.Sleep(2 * time.Second)
	cmd.Process.Signal(syscall.SIGKILL)
	cmd.Wait()
	s.expectClean()
	entries, _ := os.ReadDir(filepath.Join(s.home, "bases"))
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".lock") {
			t.Errorf("left in bases: %s", e.Name())
		}
	}
}

// TestInterrupt wants Ctrl-C to end a build in order: exit status 130, CANCELLED, nothing left.
func TestInterrupt(t *testing.T) {
	s := newSite(t)
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		cmd := s.follow(func(e builder.Event) bool { return e.Type == builder.StageStarted && e.Stage == "boot" }, example(t, "hello.yaml"), "--no-cache")
		time.Sleep(2 * time.Second)
		cmd.Process.Signal(signal)
		cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != 130 {
			t.Errorf("%v: exit status %d", signal, code)
		}
		s.expectClean()
	}
	if stdout, _ := s.run(0, "images"); strings.Count(stdout, "CANCELLED") != 2 {
		t.Errorf("the catalog says\n%s", stdout)
	}
}

// TestTwoBuilds runs two builds of one recipe at once.
func TestTwoBuilds(t *testing.T) {
	s := newSite(t)
	hello := example(t, "hello.yaml")
	versions := make(chan string, 2)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			out, err := s.command("build", hello, "-o", s.out, "--test=none").Output()
			if err != nil {
				t.Error(err)
			}
			version, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(string(out)), "hello "), " ")
			versions <- version
		})
	}
	wg.Wait()
	if a, b := <-versions, <-versions; a == b || a == "" || b == "" {
		t.Errorf("two builds at once have the versions %q and %q", a, b)
	}
	s.expectClean()
}

// TestFullDisk gives a build an output folder that is too small, and one a home that is.
func TestFullDisk(t *testing.T) {
	s := newSite(t)
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a small file system")
	}
	small := func(folder, size string) (unmount func()) {
		if err := errors.Join(os.MkdirAll(folder, 0o700), syscall.Mount("tmpfs", folder, "tmpfs", 0, "size="+size)); err != nil {
			t.Skipf("cannot mount a small file system: %v", err)
		}
		return func() { syscall.Unmount(folder, 0) }
	}
	unmount := small(s.out, "64m")
	expect(t, s.fail(example(t, "hello.yaml"), "--test=none"), "flatten:", "no space left on device", s.out)
	s.expectClean()
	unmount()

	// QEMU stops a guest whose disk's file can grow no more.
	defer small(filepath.Join(s.home, "work"), "150m")()
	recipe := s.recipe("fills", "  - name: build\n    steps:\n      - name: Fill\n        action: ExecuteBash\n        inputs:\n          commands: [head -c 400M /dev/urandom > /var/fill; sync]\n")
	expect(t, s.fail(recipe, "--test=none"), "the host's file system is full: no space left on device")
	s.expectClean()
}
