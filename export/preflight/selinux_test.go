package preflight

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/ingot-image/ingot/disk"
)

// TestLabels labels files with debugfs, as a system where SELinux enforces has them.
func TestLabels(t *testing.T) {
	make := func(labels map[string]string) string {
		f := good()
		f.files["etc/selinux/config"] = "SELINUX=enforcing\n"
		f.files["etc/selinux/targeted/policy/policy.33"] = "x"
		path := f.raw(t)
		table, err := disk.Partitions(path)
		if err != nil {
			t.Fatal(err)
		}
		at := slices.IndexFunc(table.Partitions, func(p disk.Partition) bool { return p.FileSystem.UUID == fixtureRoot })
		var script strings.Builder
		for name, label := range labels {
			fmt.Fprintf(&script, "ea_set %s security.selinux %s\n", name, label)
		}
		cmd := exec.Command("debugfs", "-w", "-f", "-", fmt.Sprintf("%s?offset=%d", path, table.Partitions[at].Start))
		cmd.Stdin = strings.NewReader(script.String())
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return path
	}
	all := map[string]string{}
	for _, name := range labelled {
		if _, ok := good().files[name]; ok {
			all["/"+name] = "system_u:object_r:bin_t:s0"
		}
	}
	if len(all) < 3 {
		t.Fatalf("the fixture has only %v", all)
	}
	passes(t, "R15", make(all), Request{})
	all["/etc/passwd"] = "system_u:object_r:unlabeled_t:s0"
	fails(t, "R15", make(all), Request{}, Warning, "/etc/passwd", fmt.Sprintf("1 of %d", len(all)))
	delete(all, "/etc/passwd")
	fails(t, "R15", make(all), Request{}, Warning, "/etc/passwd", "have no label")
}
