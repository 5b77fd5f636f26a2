package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/ingot-image/ingot/builder/recipe"
	"github.com/ingot-image/ingot/builder/seed"
)

// packer builds five.yaml with Packer's QEMU builder as a Packer user would: from a copy of the same base disk, on the same machine type
// with the same CPU model, accelerator, memory and virtual CPUs, with shell scripts over ssh that do what the components do, and the
// script that cleans Ingot's images as the last of them. It waits for nothing but ssh, and flushes of the disk are not waited for either.
//
// (Packer 1.6.6's use_backing_file would save the copy of the base, but does not work with QEMU 6.1 and later: it leaves out the format
// of the backing file.)
type packer struct {
	bench    *buildBench
	dir      string
	template string
}

func newPacker(s *buildBench, cpus, memory int) *packer {
	for _, tool := range []string{"packer", "ssh-keygen"} {
		if _, err := exec.LookPath(tool); err != nil {
			s.b.Skipf("%s is not installed; -packer=false leaves Packer out", tool)
		}
	}
	p := &packer{bench: s, dir: filepath.Join(s.dir, "packer")}
	check := func(err error) {
		if err != nil {
			s.b.Fatal(err)
		}
	}
	check(os.Mkdir(p.dir, 0o700))
	key := filepath.Join(p.dir, "key")
	check(exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).Run())
	public, err := os.ReadFile(key + ".pub")
	check(err)
	user, err := json.Marshal(map[string]any{
		"disable_root": false,
		"users":        []any{map[string]any{"name": "root", "ssh_authorized_keys": []string{strings.TrimSpace(string(public))}}},
	})
	check(err)
	cloudInit := filepath.Join(p.dir, "seed.iso")
	check(seed.Write(cloudInit, seed.LabelNoCloud, []seed.File{
		{Name: "meta-data", Mode: 0o644, Data: []byte(`{"instance-id": "i-packer", "local-hostname": "packer"}`)},
		{Name: "user-data", Mode: 0o644, Data: append([]byte("#cloud-config\n"), user...)},
	}))
	scripts := []string{}
	for i := range p.components() {
		scripts = append(scripts, p.script(i))
	}
	finalise, err := filepath.Abs(filepath.Join(repository, "builder", "finalise.sh"))
	check(err)
	out := filepath.Join(p.dir, "out")
	template, err := json.MarshalIndent(map[string]any{
		"builders": []any{map[string]any{
			"type":    "qemu",
			"iso_url": s.base.Disk, "iso_checksum": "none", "disk_image": true, "disk_size": fmt.Sprintf("%dM", s.base.Size>>20),
			"format": "qcow2", "vm_name": "five.qcow2", "output_directory": out,
			"accelerator": "tcg", "machine_type": "q35", "cpus": cpus, "memory": memory, "headless": true,
			"net_device": "virtio-net",
			// Its own -drive arguments, and the seed: the cloud kernel has no driver for a CD-ROM drive.
			"qemuargs": [][]string{
				{"-cpu", "max"},
				{"-drive", "file=" + filepath.Join(out, "five.qcow2") + ",if=virtio,cache=unsafe,discard=unmap,format=qcow2"},
				{"-drive", "file=" + cloudInit + ",if=virtio,format=raw,readonly=on"},
			},
			"boot_wait":    "-1s",
			"ssh_username": "root", "ssh_private_key_file": key, "ssh_timeout": "15m", "ssh_handshake_attempts": 1000,
			"shutdown_command": "systemctl poweroff", "shutdown_timeout": "10m",
		}},
		"provisioners": []any{
			map[string]any{"type": "shell", "scripts": scripts},
			map[string]any{"type": "shell", "script": finalise},
		},
	}, "", "  ")
	check(err)
	p.template = filepath.Join(p.dir, "five.json")
	check(os.WriteFile(p.template, template, 0o644))
	return p
}

// components are the files of the recipe's components.
func (p *packer) components() (files []string) {
	data, err := os.ReadFile(p.bench.recipe)
	if err != nil {
		p.bench.b.Fatal(err)
	}
	r, err := recipe.Parse(p.bench.recipe, data)
	if err != nil {
		p.bench.b.Fatal(err)
	}
	for _, c := range r.Components {
		files = append(files, filepath.Join(filepath.Dir(p.bench.recipe), c.ComponentARN.Path))
	}
	return files
}

func (p *packer) script(i int) string { return filepath.Join(p.dir, fmt.Sprintf("%d.sh", i+1)) }

// build runs Packer once and gives the seconds it took.
func (p *packer) build() float64 {
	for i, file := range p.components() {
		script, err := shellScript(file)
		if err == nil {
			err = os.WriteFile(p.script(i), []byte(script), 0o755)
		}
		if err != nil {
			p.bench.b.Fatal(err)
		}
	}
	cmd := exec.Command("packer", "build", "-color=false", "-timestamp-ui", p.template)
	cmd.Dir = p.dir
	cmd.Env = append(os.Environ(), "PACKER_CACHE_DIR="+filepath.Join(p.dir, "cache"))
	start := time.Now()
	output, err := cmd.CombinedOutput()
	took := time.Since(start).Seconds()
	if err != nil {
		p.bench.b.Fatalf("packer: %v\n%s", err, output)
	}
	fmt.Fprintf(os.Stderr, "  %-22s %7.2f s\n", "Packer", took)
	if err := os.RemoveAll(filepath.Join(p.dir, "out")); err != nil {
		p.bench.b.Fatal(err)
	}
	return took
}

// shellScript is what a component document's build and validate phases do, as a shell script. It knows the actions that five.yaml uses,
// and no references.
func shellScript(file string) (string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	var document struct {
		Phases []struct {
			Name  string
			Steps []struct {
				Name, Action string
				Inputs       yaml.Node
			}
		}
	}
	if err := yaml.Unmarshal(data, &document); err != nil {
		return "", err
	}
	var script strings.Builder
	script.WriteString("#!/bin/bash\nset -eu\n")
	for _, phase := range document.Phases {
		if phase.Name == "test" {
			continue
		}
		for _, step := range phase.Steps {
			text, err := shellStep(step.Action, &step.Inputs)
			if err != nil {
				return "", fmt.Errorf("%s: step %s: %w", file, step.Name, err)
			}
			fmt.Fprintf(&script, "\n# %s\n%s", step.Name, text)
		}
	}
	return script.String(), nil
}

func shellStep(action string, inputs *yaml.Node) (string, error) {
	var text strings.Builder
	var files []struct{ Path, Content, Permissions string }
	switch action {
	case "ExecuteBash":
		var in struct{ Commands []string }
		if err := inputs.Decode(&in); err != nil {
			return "", err
		}
		fmt.Fprintf(&text, "bash -c \"$(cat <<'END-OF-STEP'\n%s\nEND-OF-STEP\n)\"\n", strings.Join(in.Commands, "\n"))
		return text.String(), nil
	case "Assert":
		var in struct {
			BinaryExists string `yaml:"binaryExists"`
		}
		if err := inputs.Decode(&in); err != nil || in.BinaryExists == "" {
			return "", fmt.Errorf("an assertion that is not known here: %v", err)
		}
		return "command -v " + in.BinaryExists + "\n", nil
	case "CreateFile", "CreateFolder", "DeleteFile":
		if err := inputs.Decode(&files); err != nil {
			return "", err
		}
	default:
		return "", fmt.Errorf("the action %s is not known here", action)
	}
	for _, f := range files {
		switch action {
		case "CreateFile":
			fmt.Fprintf(&text, "cat >%[1]s <<'END-OF-FILE'\n%[2]sEND-OF-FILE\nchmod %[3]s %[1]s\n", f.Path, f.Content, f.Permissions)
		case "CreateFolder":
			fmt.Fprintf(&text, "install -d -m %s %s\n", f.Permissions, f.Path)
		case "DeleteFile":
			fmt.Fprintf(&text, "rm %s\n", f.Path)
		}
	}
	return text.String(), nil
}

// TestPackersScripts wants every component of five.yaml to have a script for Packer that is bash, and the one of files to make those files.
func TestPackersScripts(t *testing.T) {
	documents, err := filepath.Glob(filepath.Join(repository, "testdata/recipes/components/five/*.yaml"))
	if err != nil || len(documents) != 5 {
		t.Fatalf("%v, %v", documents, err)
	}
	for _, document := range documents {
		script, err := shellScript(document)
		if err != nil {
			t.Error(err)
			continue
		}
		check := exec.Command("bash", "-n")
		check.Stdin = strings.NewReader(script)
		if out, err := check.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", document, err, out)
		}
		if filepath.Base(document) != "application.yaml" {
			continue
		}
		// The same in a folder of the test's: the script itself counts the files in the end.
		dir := t.TempDir()
		run := exec.Command("bash")
		run.Stdin = strings.NewReader(strings.ReplaceAll(script, "/opt/shop", dir+"/shop"))
		if out, err := run.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		page, err := os.ReadFile(filepath.Join(dir, "shop/templates/front.html"))
		if err != nil || !strings.Contains(string(page), "<h1>$title</h1>\n") {
			t.Errorf("%q, %v", page, err)
		}
	}
}
