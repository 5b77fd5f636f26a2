package qemu

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestChooseAccelerator(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	device := file("kvm", "", 0o600)
	intel := file("intel", "processor\t: 0\nvmx flags\t: vnmi\nflags\t\t: fpu vme vmx ssse3\n", 0o600)
	amd := file("amd", "processor\t: 0\nflags\t\t: fpu svm\n", 0o600)
	pvm := file("pvm", "processor\t: 0\nvmx flags\t: vnmi\nflags\t\t: fpu hypervisor svm_lock\n", 0o600)
	none := filepath.Join(dir, "none")
	for _, test := range []struct {
		name, want, device, cpuinfo string
		choice, reason, err         string
	}{
		{"intel", "auto", device, intel, KVM, "the CPU has vmx", ""},
		{"amd", "", device, amd, KVM, "the CPU has svm", ""},
		{"pvm", "auto", device, pvm, TCG, "neither vmx nor svm", ""},
		{"no device", "auto", none, intel, TCG, "there is no " + none, ""},
		{"no cpuinfo", "auto", device, none, TCG, "cannot tell", ""},
		{"forced kvm on pvm", KVM, device, pvm, KVM, "asked for", ""},
		{"forced kvm without a device", KVM, none, intel, "", "", "kvm_intel"},
		{"forced tcg", TCG, device, intel, TCG, "asked for", ""},
		{"unknown", "xen", device, intel, "", "", `unknown accelerator "xen"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, err := kvmProbe{test.device, test.cpuinfo}.choose(test.want)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Fatalf("got %v, want %q", err, test.err)
				}
				return
			}
			if err != nil || a.Name != test.choice || !strings.Contains(a.Reason, test.reason) {
				t.Fatalf("got %v, %v; want %s because %q", a, err, test.choice, test.reason)
			}
		})
	}
	t.Run("not permitted", func(t *testing.T) {
		locked := file("locked", "", 0)
		if os.Geteuid() == 0 {
			// Root may open everything; a thread may be somebody else to the file system (setfsuid(2)).
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			defer unix.Setfsuid(0)
			unix.Setfsuid(65534)
		}
		_, err := kvmProbe{locked, intel}.choose(KVM)
		if err == nil || !strings.Contains(err.Error(), "usermod -aG kvm") {
			t.Errorf("got %v", err)
		}
	})
}

func TestLimit(t *testing.T) {
	for name, want := range map[string]time.Duration{KVM: time.Second, TCG: TCGScale * time.Second} {
		if got := (Accelerator{Name: name}).Limit(time.Second); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

func TestTCGThreads(t *testing.T) {
	for _, test := range []struct {
		cpus           int
		forced         string
		version, wants string
	}{
		{2, "", "7.2.22", "single"}, {2, "", "8.1.5", "single"}, {2, "", "8.2.0", "multi"}, {2, "", "10.0", "multi"},
		{1, "", "7.2.22", "multi"}, {0, "", "7.2.22", "multi"}, {2, "multi", "7.2.22", "multi"}, {2, "single", "9.0.0", "single"},
	} {
		if got := tcgThreads(&Config{CPUs: test.cpus, TCGThread: test.forced}, test.version); got != test.wants {
			t.Errorf("%+v: %s", test, got)
		}
	}
}
