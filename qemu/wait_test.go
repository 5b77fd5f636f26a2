package qemu

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestExplain checks what a user reads for recorded consoles.
func TestExplain(t *testing.T) {
	for file, want := range map[string]struct{ cause, hint string }{
		"ovmf-secure-unsigned": {`the firmware found nothing to boot (UEFI could not boot "UEFI Misc Device": Access Denied)`, secureHint},
		"ovmf-secure-no-disk":  {"the firmware found nothing to boot", bootOrderHint},
		"grub-no-device":       {"GRUB stopped at its prompt (GRUB: error: no such device: 183a0778-af43-8a0d-bd67-e839c2cc1ff5)", grubHint},
		"systemd-mount-failed": {"the guest came up in emergency mode (timed out waiting for the device /dev/disk/by-uuid/dead-beef; ", fstabHint},
	} {
		data, err := os.ReadFile(filepath.Join("testdata", "console", file+".txt"))
		if err != nil {
			t.Fatal(err)
		}
		c, guest := testConsole(t, nil, 0)
		feed(t, guest, string(data))
		finish(c, guest)
		vm := &VM{console: c, done: make(chan struct{})}
		e := vm.explain(t.Context(), Wait{Name: "the agent", Hint: "not this"}, WaitFatal, 0)
		if !strings.HasPrefix(e.Cause, want.cause) || e.Hint != want.hint || e.Reason != WaitFatal || len(e.Console) == 0 {
			t.Errorf("%s: %+v", file, e)
		}
	}
}
