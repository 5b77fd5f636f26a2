package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

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

// TestRehearsal boots a Debian image as EC2 would, and beside it one whose cloud-init is told to look elsewhere.
func TestRehearsal(t *testing.T) {
	s := newSite(t)
	good := debianDisk(t)
	before, err := os.Stat(good)
	if err != nil {
		t.Fatal(err)
	}
	bad := filepath.Join(s.recipes, "elsewhere.raw")
	judge(t, "", "cp", "--sparse=always", "--no-preserve=mode", good, bad)
	table, err := disk.Partitions(bad)
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
	judge(t, "", "debugfs", "-w", "-R", "write "+config+" etc/cloud/cloud.cfg.d/99_local.cfg", fmt.Sprintf("%s?offset=%d", bad, root.Start))

	for _, c := range []struct {
		name, image string
		status      int
		failed      string
		seen        map[string]string
	}{
		{"good", good, 0, "", map[string]string{
			builder.CheckConsole: "the kernel and what it starts", builder.CheckCloudInit: "DataSourceEc2Local", builder.CheckPublicKey: "debian was let in by SSH",
			builder.CheckUserData: "as user id 0", builder.CheckGrown: "grew from 3.9 GiB to 5.",
		}},
		{"elsewhere", bad, 1, "cloud-init-ec2 public-key user-data", map[string]string{
			builder.CheckCloudInit: "datasource_list is [ NoCloud ] in /etc/cloud/cloud.cfg.d/99_local.cfg", builder.CheckGrown: "grew from 3.9 GiB to 5.",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			site := *s
			site.t = t
			out, _ := site.run(c.status, "check", "--boot", c.image, "--json")
			var got struct{ Rehearsal builder.Rehearsal }
			if err := json.Unmarshal([]byte(out), &got); err != nil {
				t.Fatal(err)
			}
			if n := len(got.Rehearsal.Boots); n != 1 {
				t.Fatalf("%d boots", n)
			}
			boot := got.Rehearsal.Boots[0]
			var failed []string
			for _, check := range boot.Failed() {
				failed = append(failed, check.Name)
			}
			if strings.Join(failed, " ") != c.failed || boot.Passed != (c.failed == "") {
				t.Errorf("failed are %q, want %q: %+v", failed, c.failed, boot.Checks)
			}
			for _, check := range boot.Checks {
				if want := c.seen[check.Name]; !strings.Contains(check.Seen, want) {
					t.Errorf("%s: %q does not hold %q", check.Name, check.Seen, want)
				}
			}
		})
	}
	t.Cleanup(func() { // after both
		if after, err := os.Stat(good); err != nil || !after.ModTime().Equal(before.ModTime()) {
			t.Error("the image was changed")
		}
		s.expectClean()
	})
}
