package qemu

import (
	"strings"
	"testing"
)

func TestRequirements(t *testing.T) {
	needQEMU(t)
	seen := map[string]Requirement{}
	for _, r := range Requirements(t.Context(), "", "tcg") {
		t.Logf("%+v", r)
		seen[r.Name] = r
		if r.Detail == "" || !r.Found && r.Fix == "" || r.Found && r.Fix != "" {
			t.Errorf("%+v says too little or too much", r)
		}
	}
	for _, name := range []string{"QEMU", "accelerator", "firmware bios"} {
		if !seen[name].Found {
			t.Errorf("%s: %+v", name, seen[name])
		}
	}
	for _, name := range []string{"firmware uefi", "firmware uefi-secure-boot"} {
		if _, ok := seen[name]; !ok {
			t.Errorf("%s is not listed", name)
		}
	}
	t.Setenv("PATH", t.TempDir())
	r := Requirements(t.Context(), "", "auto")[0]
	if r.Found || !strings.Contains(r.Fix, "qemu-system-x86") {
		t.Errorf("without QEMU: %+v", r)
	}
	if r := Requirements(t.Context(), "vax", "auto")[0]; r.Found {
		t.Errorf("vax: %+v", r)
	}
}

func TestAtLeast(t *testing.T) {
	for version, want := range map[string]bool{"6.2.0": true, "6.1.9": false, "10.0": true, "7": false, "": false, "x.y": false} {
		if got := atLeast(version, minVersion); got != want {
			t.Errorf("%s: %v", version, got)
		}
	}
}
