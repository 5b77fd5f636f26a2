package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ingot-image/ingot/builder"
	"github.com/ingot-image/ingot/builder/catalog"
)

// TestBuild casts the smallest recipe in every format, tests it by every firmware and disk, and has what came out judged by
// other people's programs. Then it builds on what came out.
func TestBuild(t *testing.T) {
	s := newSite(t)
	m := s.build(example(t, "hello.yaml"), "--format", "raw,qcow2,vmdk,ova")
	s.expectClean()
	if m.Name != "hello" || m.Version != "1.0.0/1" || m.OS == "" || m.Accelerator == "" || m.QEMUVersion == "" {
		t.Errorf("manifest: %+v", m)
	}
	if len(m.Inputs) != 3 || !slices.ContainsFunc(m.Packages, func(p builder.Package) bool { return p.Name == "cloud-init" && p.Version != "" }) {
		t.Errorf("inputs %v, %d packages", m.Inputs, len(m.Packages))
	}
	var tests, stages []string
	for _, test := range m.Tests {
		tests = append(tests, test.Name+" "+test.Format+" "+test.Status)
	}
	if want := []string{"bios-virtio raw PASSED", "uefi-virtio qcow2 PASSED", "bios-nvme vmdk PASSED", "bios-virtio-ova ova PASSED"}; !slices.Equal(tests, want) {
		t.Errorf("tests %v, want %v", tests, want)
	}
	for _, stage := range m.Stages {
		stages = append(stages, stage.Name)
	}
	if want := "resolve base boot apply finalise flatten test distribute"; strings.Join(stages, " ") != want {
		t.Errorf("stages %v, want %v", stages, want)
	}

	raw := filepath.Join(s.out, "hello-1.0.0-1.raw")
	for _, o := range m.Outputs {
		path := filepath.Join(s.out, o.Path)
		if info, err := os.Stat(path); err != nil || info.Size() != o.SizeBytes {
			t.Errorf("%s: %v, want %d bytes", path, err, o.SizeBytes)
		}
		judge(t, o.SHA256+"  "+path, "sha256sum", path)
		driver := map[string]string{"raw": "raw", "qcow2": "qcow2", "vmdk": "vmdk", "ova": "vmdk"}[o.Format]
		if o.Format == "ova" {
			judge(t, "", "tar", "-xf", path, "-C", s.recipes)
			unpacked, _ := filepath.Glob(filepath.Join(s.recipes, "*.vmdk"))
			if len(unpacked) != 1 {
				t.Fatalf("in the OVA: %v", unpacked)
			}
			path = unpacked[0]
		}
		if driver != "raw" { // which qemu-img cannot check
			judge(t, "", "qemu-img", "check", "-f", driver, path)
		}
		judge(t, "identical", "qemu-img", "compare", "-f", "raw", "-F", driver, raw, path)
	}
	judge(t, "No problems found", "sgdisk", "-v", raw)
	root := strings.Fields(judge(t, "", "sh", "-c", "sfdisk -d "+raw+" | grep 'raw1 '"))
	start := strings.TrimSuffix(root[3], ",")
	judge(t, "", "sh", "-c", "e2fsck -fn '"+raw+"?offset='$(("+start+"*512))")

	// What finalise promises, read offline.
	listing := judge(t, "", "sh", "-c", "for d in /etc/ssh /var/lib/systemd /var/log/journal /var/lib/cloud /tmp /var/tmp /root /var/lib/apt/lists /run; do "+
		"echo \"ls -p $d\"; done | debugfs -f - '"+raw+"?offset='$(("+start+"*512)) 2>/dev/null")
	for _, bad := range []string{"ssh_host", "random-seed", "instances", "bash_history", "InRelease", "ingot"} {
		if strings.Contains(listing, bad) {
			t.Errorf("the image still has %s:\n%s", bad, listing)
		}
	}
	if id := judge(t, "", "sh", "-c", "debugfs -R 'stat /etc/machine-id' '"+raw+"?offset='$(("+start+"*512)) 2>/dev/null"); !strings.Contains(id, "Size: 0") {
		t.Errorf("machine-id is not empty:\n%s", id)
	}

	// The manifest beside the files is the one that was printed, and the catalog has the same facts.
	var file builder.Manifest
	data, err := os.ReadFile(filepath.Join(s.out, "hello-1.0.0-1.json"))
	if err != nil || json.Unmarshal(data, &file) != nil || len(file.Outputs) != 4 {
		t.Errorf("manifest file: %v, %+v", err, file)
	}
	stdout, _ := s.run(0, "images", "hello/1.0.x", "--json")
	var image catalog.Image
	if err := json.Unmarshal([]byte(stdout), &image); err != nil || image.Status != catalog.Available || len(image.Outputs) != 4 || len(image.Tests) != 4 {
		t.Errorf("catalog: %v, %s", err, stdout)
	}
	stdout, _ = s.run(0, "images")
	expect(t, stdout, "hello", "1.0.0/1", "AVAILABLE", "raw,qcow2,vmdk,ova")

	// The same recipe again: the base is cached, the build number is the next.
	if again := s.build(example(t, "hello.yaml"), "--test=none"); again.Version != "1.0.0/2" || !again.Stages[1].Cached || len(again.Tests) != 0 {
		t.Errorf("the second build is %s, stages %v, tests %v", again.Version, again.Stages, again.Tests)
	}

	// An earlier image, and a file in another format, as parents; a larger volume is grown into.
	s.write("child-component.yaml", `schemaVersion: 1.0
phases:
  - name: build
    steps:
      - name: ParentIsThere
        action: ExecuteBash
        inputs:
          commands:
            - grep Ingot /etc/ingot-hello
            - test $(df --output=size -BG / | tail -n 1 | tr -dc 0-9) -ge 5
`)
	// One of the files looks as if its initrd were not made by initramfs-tools: that guest boots by firmware, and cloud-init
	// starts the agent.
	other := filepath.Join(s.recipes, "other.raw")
	judge(t, "", "cp", "--sparse=always", raw, other)
	judge(t, "", "sh", "-c", "printf 'ln /usr/share/initramfs-tools /usr/share/other-tools\\nunlink /usr/share/initramfs-tools\\n' | "+
		"debugfs -w -f - '"+other+"?offset='$(("+start+"*512))")
	for name, parent := range map[string]string{"from-catalog": "hello/1.x.x", "from-file": filepath.Join(s.out, "hello-1.0.0-1.vmdk"), "by-firmware": other} {
		recipe := s.write(name+".yaml", "name: "+name+"\nsemanticVersion: 2.x.x\nparentImage: "+parent+"\n"+
			"components:\n  - componentArn: child-component.yaml\n"+
			"blockDeviceMappings:\n  - deviceName: /dev/xvda\n    ebs: {volumeSize: 6}\n")
		m := s.build(recipe, "--test=none")
		console, err := os.ReadFile(filepath.Join(s.home, "builds", name, "2.0.0/1/console-build.log"))
		if direct := !strings.Contains(string(console), "GRUB"); err != nil || direct == (name == "by-firmware") {
			t.Errorf("%s: the kernel was started directly: %v, %v", name, direct, err)
		}
		if m.Version != "2.0.0/1" || m.Outputs[0].SizeBytes != 6<<30 {
			t.Errorf("%s: version %s, %d bytes", name, m.Version, m.Outputs[0].SizeBytes)
		}
	}
	s.expectClean()
}

// judge runs a program of somebody else's, which must succeed and print want.
func judge(t *testing.T, want string, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil || !strings.Contains(string(out), want) {
		t.Errorf("%s %s: %v, want %q:\n%s", name, strings.Join(args, " "), err, want, out)
	}
	return string(out)
}
