package managed_test

import (
	"context"
	"slices"
	"testing"

	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/builder/component/action"
	"github.com/ingot-image/ingot/builder/component/managed"
)

func TestDocuments(t *testing.T) {
	want := []string{"hello-world-linux", "reboot-linux", "reboot-test-linux", "simple-boot-test-linux", "update-linux"}
	if got := managed.Names(); !slices.Equal(got, want) {
		t.Fatalf("names %q", got)
	}
	for _, name := range managed.Names() {
		version, data, ok := managed.Lookup(name)
		if !ok || version != "1.0.0" {
			t.Errorf("%s: version %q, %v", name, version, ok)
		}
		d, err := component.Parse(name+".yml", data, action.Modules())
		if err != nil {
			t.Error(err)
			continue
		}
		if d.Name != name || d.Description == "" {
			t.Errorf("%s has the name %q and the description %q", name, d.Name, d.Description)
		}
	}
	for _, name := range []string{"", "nope", "../managed", "update-linux.yml"} {
		if _, _, ok := managed.Lookup(name); ok {
			t.Errorf("found %q", name)
		}
	}
}

// The machine of the test does not reboot, so the document must say so, after the reboot it asked for.
func TestRebootTestFindsAMissingReboot(t *testing.T) {
	_, data, _ := managed.Lookup("reboot-test-linux")
	runner := component.Runner{Modules: action.Modules()}
	request := component.Request{
		Documents:        []component.RunDocument{{Name: "reboot-test-linux", Content: data}},
		Phases:           []string{component.PhaseTest},
		WorkingDirectory: t.TempDir(),
	}
	result, err := runner.Run(context.Background(), request)
	if err != nil || result.Status != component.StatusReboot {
		t.Fatalf("result %+v, error %v", result, err)
	}
	request.Resume = result.State
	result, err = runner.Run(context.Background(), request)
	if err != nil || result.Status != component.StatusFailed || result.Failure.Step != "BootChanged" {
		t.Fatalf("result %+v, error %v", result, err)
	}
}

func TestHelloWorld(t *testing.T) {
	_, data, _ := managed.Lookup("hello-world-linux")
	var text string
	runner := component.Runner{Modules: action.Modules(), Events: func(e component.Event) { text += e.Text }}
	result, err := runner.Run(context.Background(), component.Request{
		Documents:        []component.RunDocument{{Name: "hello-world-linux", Content: data}},
		WorkingDirectory: t.TempDir(),
	})
	if err != nil || result.Status != component.StatusSuccess {
		t.Fatalf("result %+v, error %v", result, err)
	}
	if text != "Hello World! Build.\nHello World! Validate.\nHello World! Test.\n" {
		t.Errorf("printed %q", text)
	}
}
