package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ingot-image/ingot/builder"
	"github.com/ingot-image/ingot/disk"
)

// debianDisk is the disk of the base debian-12, which must not be written to. There is one after newSite.
func debianDisk(t *testing.T) string {
	t.Helper()
	records, _ := filepath.Glob(filepath.Join(sharedBases(t), "*", "base.json"))
	for _, file := range records {
		var record struct{ Name string }
		data, err := os.ReadFile(file)
		if err == nil && json.Unmarshal(data, &record) == nil && record.Name == "debian-12" {
			return filepath.Join(filepath.Dir(file), "disk.raw")
		}
	}
	t.Fatal("there is no base debian-12")
	return ""
}

// TestRehearsal boots an image as EC2 would whose cloud-init is told to look elsewhere. One that comes right is booted by TestDistribute.
func TestRehearsal(t *testing.T) {
	s := newSite(t)
	image := filepath.Join(s.recipes, "elsewhere.raw")
	judge(t, "", "cp", "--sparse=always", "--no-preserve=mode", debianDisk(t), image)
	table, err := disk.Partitions(image)
	if err != nil {
		t.Fatal(err)
	}
	root := table.Partitions[0]
	for _, p := range table.Partitions {
		if p.Size > root.Size {
			root = p
		}
	}
	config := s.write("99_local.cfg", "datasource_list: [ NoCloud ]\n")
	judge(t, "", "debugfs", "-w", "-R", "write "+config+" etc/cloud/cloud.cfg.d/99_local.cfg", fmt.Sprintf("%s?offset=%d", image, root.Start))
	before, err := os.Stat(image)
	if err != nil {
		t.Fatal(err)
	}
	s.killRehearsal(image)
	s.rehearse(1, "legacy-bios", image, "cloud-init-ec2 public-key user-data", map[string]string{
		builder.CheckCloudInit: "datasource_list is [ NoCloud ] in /etc/cloud/cloud.cfg.d/99_local.cfg", builder.CheckGrown: "grew from 3.9 GiB to 5.",
	})
	if after, err := os.Stat(image); err != nil || !after.ModTime().Equal(before.ModTime()) {
		t.Error("the image was changed")
	}
	s.expectClean()
}

// killRehearsal kills a rehearsal while its VM runs: its processes, sockets and overlays go with it.
func (s *site) killRehearsal(image string) {
	s.t.Helper()
	cmd := s.command("check", "--boot", "--boot-mode", "uefi", image)
	told, err := cmd.StderrPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	for lines := bufio.NewScanner(told); lines.Scan(); {
		if !strings.Contains(lines.Text(), "booting from an NVMe disk") {
			continue
		}
		for began := time.Now(); !slices.ContainsFunc(s.leftovers(), func(l string) bool { return strings.Contains(l, "qemu-system") }); time.Sleep(10 * time.Millisecond) {
			if time.Since(began) > 20*time.Second {
				s.t.Fatal("there is no VM to kill")
			}
		}
		cmd.Process.Kill()
		cmd.Wait()
		s.expectClean()
		return
	}
	s.t.Fatal("the rehearsal did not boot the image")
}

// rehearse boots an image by one firmware as EC2 would. The checks that fail must be those given, and what is seen must hold what is given by check.
func (s *site) rehearse(status int, bootMode, image, failed string, seen map[string]string) {
	s.t.Helper()
	out, _ := s.run(status, "check", "--boot", "--boot-mode", bootMode, image, "--json")
	var got struct{ Rehearsal builder.Rehearsal }
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		s.t.Fatal(err)
	}
	if n := len(got.Rehearsal.Boots); n != 1 {
		s.t.Fatalf("%d boots", n)
	}
	boot := got.Rehearsal.Boots[0]
	var names []string
	for _, check := range boot.Failed() {
		names = append(names, check.Name)
	}
	if strings.Join(names, " ") != failed || boot.Passed != (failed == "") {
		s.t.Errorf("failed are %q, want %q: %+v", names, failed, boot.Checks)
	}
	for _, check := range boot.Checks {
		if want := seen[check.Name]; !strings.Contains(check.Seen, want) {
			s.t.Errorf("%s: %q does not hold %q", check.Name, check.Seen, want)
		}
	}
}
