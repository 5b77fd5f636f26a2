package builder

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ingot-image/ingot/builder/agent"
	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/disk"
	"github.com/ingot-image/ingot/qemu"
)

func TestTestCases(t *testing.T) {
	raw, vmdk := file{disk.Raw, "a.raw"}, file{disk.VMDK, "a.vmdk"}
	for _, c := range []struct {
		name  string
		files []file
		modes bootModes
		want  string
	}{
		{"both", []file{raw, vmdk}, bootModes{bios: true, uefi: true}, "bios-virtio raw, uefi-virtio vmdk, bios-nvme raw"},
		{"one file", []file{vmdk}, bootModes{bios: true, uefi: true}, "bios-virtio vmdk, uefi-virtio vmdk, bios-nvme vmdk"},
		{"more files than boots", []file{raw, vmdk, raw, {disk.VHD, "a.vhd"}}, bootModes{bios: true, uefi: true},
			"bios-virtio raw, uefi-virtio vmdk, bios-nvme raw, bios-virtio-vhd vhd"},
		{"only UEFI", []file{raw}, bootModes{uefi: true}, "uefi-virtio raw, uefi-nvme raw"},
		{"only BIOS", []file{raw}, bootModes{bios: true}, "bios-virtio raw, bios-nvme raw"},
	} {
		var got []string
		for _, tc := range testCases(c.files, c.modes) {
			got = append(got, tc.name()+" "+string(tc.file.format))
		}
		if strings.Join(got, ", ") != c.want {
			t.Errorf("%s: %v, want %s", c.name, got, c.want)
		}
	}
}

func TestJudge(t *testing.T) {
	var warnings []string
	j := &job{builder: &Builder{Events: func(e Event) {
		if e.Type == Warning {
			warnings = append(warnings, e.Detail)
		}
	}}}
	for _, c := range []struct {
		ready agent.Ready
		want  string
	}{
		{agent.Ready{State: "running", CloudInit: "done"}, ""},
		{agent.Ready{State: "degraded", CloudInit: "done", FailedUnits: []string{"a.service"}}, ""},
		{agent.Ready{State: "running", CloudInit: "error", CloudErrors: []string{"('scripts_user', RuntimeError())"}}, "cloud-init failed in the guest: ('scripts_user'"},
		{agent.Ready{State: "maintenance", CloudInit: "done"}, "maintenance"},
	} {
		err := j.judge("bios-virtio", &c.ready)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("judge(%+v) = %v, want %q", c.ready, err, c.want)
		}
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0], "a.service") {
		t.Errorf("warnings: %v", warnings)
	}
}

func TestWhileAlive(t *testing.T) {
	hang := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	lives := func(context.Context) error { return nil }
	const every, limit = time.Millisecond, 5 * time.Millisecond

	if err := whileAlive(t.Context(), every, limit, hang, hang); !errors.Is(err, errNoAnswer) {
		t.Errorf("a guest that no longer answers gives %v", err)
	}
	failed := errors.New("failed")
	if err := whileAlive(t.Context(), every, limit, lives, func(context.Context) error {
		time.Sleep(10 * every)
		return failed
	}); err != failed {
		t.Errorf("failing work gives %v", err)
	}
	if err := whileAlive(t.Context(), every, limit, lives, func(context.Context) error { return nil }); err != nil {
		t.Errorf("work that is done gives %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(5*time.Millisecond, cancel)
	if err := whileAlive(ctx, every, time.Hour, hang, hang); !errors.Is(err, context.Canceled) {
		t.Errorf("an interrupted wait gives %v", err)
	}
}

func TestFailureLines(t *testing.T) {
	seven := 7
	f := stepFailed(StageApply, &component.Failure{
		Component: "web", Phase: "build", Step: "Install", Action: "ExecuteBash", ExitCode: &seven, Message: "exit status 7", Stderr: "one\ntwo\n",
	})
	f.Log = "/logs"
	want := `apply: step "Install" of web failed in phase build: exit status 7
  component: web
  phase:     build
  step:      Install
  action:    ExecuteBash
  exit:      7
  stderr:
    | one
    | two
  logs:      /logs`
	if got := strings.Join(f.Lines(), "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}

	wait := &qemu.WaitError{Name: "the guest's agent to start", Cause: "the guest's kernel panicked", Hint: "look", Console: []string{"Kernel panic"}}
	f = asFailure(StageBoot, wait)
	f.Test = "bios-virtio"
	lines := strings.Join(f.Lines(), "\n")
	for _, part := range []string{"boot (bios-virtio): ", "kernel panicked", "    | Kernel panic", "hint:      look"} {
		if !strings.Contains(lines, part) {
			t.Errorf("%q is not in\n%s", part, lines)
		}
	}
	if f = asFailure(StageBoot, context.Canceled); !f.Cancelled() || f.ErrorMessage != "interrupted" {
		t.Errorf("an interruption is %+v", f)
	}
}

// TestNoDocuments is about a phase that no component has: there is nothing to run, and that is well.
func TestNoDocuments(t *testing.T) {
	result, err := (&machine{}).run(t.Context(), component.Request{Phases: []string{"test"}}, nil)
	if err != nil || result.Status != component.StatusSuccess {
		t.Errorf("run = %+v, %v", result, err)
	}
}

func TestKeepFailed(t *testing.T) {
	folder := t.TempDir()
	staging := filepath.Join(folder, ".staging")
	raw := file{disk.Raw, filepath.Join(staging, "bad-1.0.0-1.raw")}
	failure := &Failure{Stage: StageTest, ErrorMessage: "the guest's kernel panicked", Hint: "look"}
	for _, keep := range []bool{false, true} {
		if err := errors.Join(os.MkdirAll(staging, 0o700), os.WriteFile(raw.path, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
		j := &job{builder: &Builder{}, options: Options{KeepFailed: keep}, output: folder}
		err := j.keepFailed(failure, []file{raw}, nil)
		if !errors.Is(err, failure) || exists(j.final(raw)) != keep {
			t.Errorf("keep %v: %v, the file is there: %v", keep, err, exists(j.final(raw)))
		}
	}
	if !strings.HasPrefix(failure.Hint, "look; the image is kept although its tests failed: ") {
		t.Errorf("hint %q", failure.Hint)
	}
	// What an earlier build left is not replaced.
	if err := os.WriteFile(raw.path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	j := &job{builder: &Builder{}, options: Options{KeepFailed: true}, output: folder}
	if err := j.keepFailed(failure, []file{raw}, nil); !errors.Is(err, fs.ErrExist) || !errors.Is(err, failure) {
		t.Errorf("a second time: %v", err)
	}
}
