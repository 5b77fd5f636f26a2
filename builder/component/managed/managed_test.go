package managed_test

import (
	"bytes"
	"context"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ingot-image/ingot/builder/component"
	"github.com/ingot-image/ingot/builder/component/action"
	"github.com/ingot-image/ingot/builder/component/managed"
)

func TestList(t *testing.T) {
	want := []string{
		"amazon-cloudwatch-agent-linux", "apt-repository-test-linux", "aws-cli-version-2-linux", "chrony-time-configuration-test",
		"docker-ce-linux", "ebs-volume-usage-test-linux", "ec2-readiness-linux", "go-stable-linux", "hello-world-linux", "hello-world-windows",
		"powershell-lts-linux", "python-3-linux", "reboot-linux", "reboot-test-linux", "reboot-windows", "simple-boot-test-linux",
		"update-linux", "update-windows", "validate-ssh-host-key-generation-linux", "validate-ssh-public-key-linux",
		"yum-repository-test-linux",
	}
	if got := managed.Names(); !slices.Equal(got, want) {
		t.Errorf("names %q", got)
	}
	list := managed.List()
	if len(list) != len(want) {
		t.Fatalf("%d components", len(list))
	}
	tested := 0
	for i, c := range list {
		if c.Name != want[i] || c.Version != "1.0.0" || c.Description == "" || strings.Contains(c.Description, "\n") {
			t.Errorf("%+v", c)
		}
		platform := managed.Linux
		if strings.Contains(c.Name, "windows") {
			platform = managed.Windows
		}
		if c.Platform != platform {
			t.Errorf("%s is for %s", c.Name, c.Platform)
		}
		if c.Tested {
			tested++
		}
	}
	if tested != 11 {
		t.Errorf("%d components are tested: is one of the names misspelt?", tested)
	}
	for _, name := range []string{"", "nope", "../managed", "update-linux.yml"} {
		if _, _, ok := managed.Lookup(name); ok {
			t.Errorf("found %q", name)
		}
	}
}

// document is a component's, checked for its own platform.
func document(t *testing.T, c managed.Component) *component.Document {
	t.Helper()
	_, data, ok := managed.Lookup(c.Name)
	if !ok {
		t.Fatalf("%s is not found", c.Name)
	}
	d, err := component.Parse(c.Name+".yml", data, action.Modules().For(strings.ToLower(c.Platform)))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDocuments(t *testing.T) {
	for _, c := range managed.List() {
		t.Run(c.Name, func(t *testing.T) {
			d := document(t, c)
			if d.Name != c.Name || strings.Join(strings.Fields(d.Description), " ") != c.Description {
				t.Errorf("the document has the name %q and the description %q", d.Name, d.Description)
			}
			var phases []string
			for _, phase := range d.Phases {
				phases = append(phases, phase.Name)
			}
			// What installs something says whether it is there.
			if slices.Contains(phases, "build") && !strings.HasPrefix(c.Name, "reboot-") && !strings.HasPrefix(c.Name, "update-") && !slices.Contains(phases, "validate") {
				t.Error("there is no phase validate")
			}
		})
	}
}

// A plain address may be changed on its way here.
func TestSourcesAreEncrypted(t *testing.T) {
	address := regexp.MustCompile(`\bhttp://[^\s"']+`)
	for _, c := range managed.List() {
		_, data, _ := managed.Lookup(c.Name)
		if found := address.FindAll(data, -1); found != nil {
			t.Errorf("%s: %q", c.Name, found)
		}
		if bytes.Contains(data, []byte("ignoreCertificateErrors")) {
			t.Errorf("%s ignores errors of certificates", c.Name)
		}
	}
}

var reference = regexp.MustCompile(`\{\{\s*[\w.\[\]-]+\s*\}\}`)

// TestScripts has bash and, where it is installed, shellcheck read the scripts of all documents.
func TestScripts(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("bash is not installed")
	}
	shellcheck, err := exec.LookPath("shellcheck")
	if err != nil {
		t.Log("shellcheck is not installed: the scripts are read by bash only")
	}
	scripts := 0
	for _, c := range managed.List() {
		for _, phase := range document(t, c).Phases {
			for _, step := range phase.Steps {
				if step.Action != "ExecuteBash" {
					continue
				}
				scripts++
				var script strings.Builder
				for _, command := range step.Inputs.Get("commands").Items {
					script.WriteString(reference.ReplaceAllString(command.Text, "resolved") + "\n")
				}
				check := func(program string, args ...string) {
					cmd := exec.Command(program, args...)
					cmd.Stdin = strings.NewReader(script.String())
					if out, err := cmd.CombinedOutput(); err != nil {
						t.Errorf("%s, %s.%s: %s: %v\n%s", c.Name, phase.Name, step.Name, program, err, out)
					}
				}
				check(bash, "-n")
				if shellcheck != "" {
					// Resolved references make constants of what is none; the packages of docker are a list of words.
					check(shellcheck, "--shell=bash", "--severity=warning", "--exclude=SC2050,SC2194", "-")
				}
			}
		}
	}
	if scripts < 30 {
		t.Errorf("found only %d scripts", scripts)
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
