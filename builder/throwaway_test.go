package builder

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ingot-image/ingot/builder/component"
)

func saveFake(t *testing.T, b *Builder, s savedVM) string {
	t.Helper()
	dir := filepath.Join(b.vmsPath(), s.ID)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s.Version = savedVersion
	if err := s.write(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestKeptVMs(t *testing.T) {
	b := &Builder{Home: t.TempDir()}
	if vms, err := b.KeptVMs(); err != nil || vms == nil || len(vms) != 0 {
		t.Errorf("KeptVMs of an empty home = %v, %v", vms, err)
	}
	now := time.Now().UTC()
	saveFake(t, b, savedVM{ID: "old-1", Saved: now.Add(-time.Hour), Disks: []string{"disk-0.qcow2"}, Memory: "memory-0"})
	dir := saveFake(t, b, savedVM{ID: "new-2", Saved: now, Disks: []string{"disk-0.qcow2"}})
	os.Mkdir(filepath.Join(b.vmsPath(), "half-3"), 0o700) // a kill came between
	vms, err := b.KeptVMs()
	if err != nil || len(vms) != 2 || vms[0].ID != "new-2" || vms[0].Memory || !vms[1].Memory || vms[0].InUse {
		t.Fatalf("KeptVMs = %+v, %v", vms, err)
	}
	// The latest one is locked, in use, and cannot be opened or removed.
	got, lock, err := b.lockKept("")
	if err != nil || got != dir {
		t.Fatalf("lockKept = %s, %v", got, err)
	}
	if vms, _ := b.KeptVMs(); !vms[0].InUse || vms[1].InUse {
		t.Errorf("in use: %+v", vms)
	}
	if _, err := b.OpenVM(t.Context(), VMOpen{VM: "new-2"}); !errors.Is(err, ErrVMInUse) {
		t.Errorf("OpenVM of a VM in use: %v", err)
	}
	if err := b.RemoveVM("new-2"); !errors.Is(err, ErrVMInUse) {
		t.Errorf("RemoveVM of a VM in use: %v", err)
	}
	lock.Close()
	if err := b.RemoveVM("new-2"); err != nil {
		t.Error(err)
	}
	if exists(dir) {
		t.Error("the VM is there after its removal")
	}
	for _, id := range []string{"new-2", "", "..", "../vms/old-1", "half-3", "/"} {
		if err := b.RemoveVM(id); !errors.Is(err, ErrNoSuchVM) {
			t.Errorf("RemoveVM(%q) = %v", id, err)
		}
	}
}

// TestKeptBuilds is about the names of guests of builds.
func TestKeptBuilds(t *testing.T) {
	b := &Builder{Home: t.TempDir()}
	now := time.Now().UTC()
	for i, s := range []savedVM{
		{ID: "web-server-1", Build: "web-server/1.0.0/1"}, {ID: "web-server-2", Build: "web-server/1.0.0/2"}, {ID: "web-server-3", Build: "web-server/1.1.0/1"},
		{ID: "other-4", Build: "other/1.0.0/1"}, {ID: "debian-12-5"},
	} {
		s.Disks, s.Saved = []string{"disk-0.qcow2"}, now.Add(time.Duration(i)*time.Second)
		saveFake(t, b, s)
	}
	for name, want := range map[string]string{
		"": "debian-12-5", "web-server": "web-server-3", "Web Server": "web-server-3", "web-server/1.0.0": "web-server-2", "web-server/1.0.x": "web-server-2",
		"web-server/x.x.x": "web-server-3", "web-server/1.0.0/1": "web-server-1", "other": "other-4", "web-server-1": "web-server-1",
		"web-server/1.0.0/3": "", "web-server/2.x.x": "", "web": "", "web-server/": "", "../vms/other-4": "", "debian-12": "",
	} {
		dir, lock, err := b.lockKept(name)
		if want == "" {
			if !errors.Is(err, ErrNoSuchVM) {
				t.Errorf("lockKept(%q) = %s, %v", name, dir, err)
			}
			continue
		}
		if err != nil || filepath.Base(dir) != want {
			t.Errorf("lockKept(%q) = %s, %v, want %s", name, dir, err, want)
			continue
		}
		lock.Close()
	}
	if err := b.RemoveVM("web-server"); !errors.Is(err, ErrNoSuchVM) || !strings.Contains(err.Error(), "3 of them") {
		t.Errorf("RemoveVM of a name that means three: %v", err)
	}
	if err := b.RemoveVM("web-server/1.0.0/2"); err != nil || exists(filepath.Join(b.vmsPath(), "web-server-2")) {
		t.Errorf("RemoveVM of a build: %v", err)
	}
}

func TestReadSaved(t *testing.T) {
	b := &Builder{Home: t.TempDir()}
	for name, change := range map[string]func(*savedVM){
		"base elsewhere":   func(s *savedVM) { s.BaseDisk = "bases/disk.raw" },
		"layer elsewhere":  func(s *savedVM) { s.Below = []string{"../disk.qcow2"} },
		"disk elsewhere":   func(s *savedVM) { s.Disks = []string{"../../other.qcow2"} },
		"memory elsewhere": func(s *savedVM) { s.Memory = "/etc/passwd" },
		"seed elsewhere":   func(s *savedVM) { s.Seed = ".." },
		"no disk":          func(s *savedVM) { s.Disks = nil },
		"other ID":         func(s *savedVM) { s.ID = "other" },
		"other version":    func(s *savedVM) { s.Version = 99 },
	} {
		s := savedVM{Version: savedVersion, ID: "vm-1", Disks: []string{"disk-0.qcow2"}, Seed: "seed.iso"}
		dir := saveFake(t, b, s)
		if _, err := readSaved(dir); err != nil {
			t.Fatal(err)
		}
		change(&s)
		data, _ := json.Marshal(s)
		if err := os.WriteFile(filepath.Join(dir, savedRecord), data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readSaved(dir); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestNewVMID(t *testing.T) {
	for base, want := range map[string]string{
		"debian-12": "debian-12-", "/tmp/My Image!.qcow2": "my-image-", "web-server/1.0.3/2": "2-", "./.raw": "", strings.Repeat("x", 100): strings.Repeat("x", 24) + "-",
	} {
		id := newVMID(base)
		if !vmID.MatchString(id) || !strings.HasPrefix(id, want) {
			t.Errorf("newVMID(%q) = %q", base, id)
		}
	}
}

// TestRunInVMMistakes is about mistakes that are found before anything is made.
func TestRunInVMMistakes(t *testing.T) {
	b := &Builder{Home: filepath.Join(t.TempDir(), "home")}
	good := component.RunDocument{Name: "a", Path: "a.yml", Content: []byte("schemaVersion: 1.0\nphases:\n- name: build\n  steps:\n  - {name: A, action: ExecuteBash, inputs: {commands: [\"true\"]}}\n")}
	bad := good
	bad.Content = []byte(strings.ReplaceAll(string(good.Content), "ExecuteBash", "ExecuteBsh"))
	for _, test := range []struct {
		base     string
		document component.RunDocument
		want     string
	}{
		{"ubuntu", good, "is no parent image"},
		{"./none.qcow2", good, "none.qcow2"},
		{"web/1.0.x", good, "no finished image"},
		{"debian-12", bad, "ExecuteBash"},
	} {
		_, err := b.RunInVM(t.Context(), VMRun{Base: test.base, Request: component.Request{Documents: []component.RunDocument{test.document}}})
		var problems component.Problems
		if !errors.As(err, &problems) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("RunInVM on %s: %v", test.base, err)
		}
	}
	if exists(b.Home) {
		t.Error("a home was made")
	}
}
