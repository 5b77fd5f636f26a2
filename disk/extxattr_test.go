package disk

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestXattr reads what debugfs writes, within inodes and in blocks of their own.
func TestXattr(t *testing.T) {
	need(t, mke2fs, debugfs)
	const label = "system_u:object_r:shadow_t:s0"
	long := strings.Repeat("x", 700)
	for name, args := range map[string][]string{"in the inode": {"-t", "ext4", "-I", "256"}, "in a block": {"-t", "ext4", "-I", "128", "-O", "^metadata_csum"}, "ext2": {"-t", "ext2", "-b", "1024"}} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "fs")
			output(t, mke2fs, append(append([]string{"-q", "-F"}, args...), path, "8M")...)
			output(t, debugfs, "-w", "-R", "write /dev/null f", path)
			output(t, debugfs, "-w", "-R", "write /dev/null bare", path)
			output(t, debugfs, "-w", "-R", "symlink l f", path)
			for attr, value := range map[string]string{"security.selinux": label, "user.one": "1", "user.empty": "", "trusted.long": long} {
				output(t, debugfs, "-w", "-R", "ea_set f "+attr+" "+value, path)
			}
			st, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			e, err := OpenExt(path, Extent{Size: st.Size()})
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			for attr, want := range map[string]string{"security.selinux": label, "user.one": "1", "trusted.long": long} {
				if got, err := e.Xattr("f", attr); err != nil || string(got) != want {
					t.Errorf("%s: %q, %v", attr, got, err)
				}
			}
			for _, c := range [][2]string{{"f", "security.selinu"}, {"f", "user.two"}, {"f", "nothing"}, {"bare", "security.selinux"}, {"l", "security.selinux"}, {"missing", "user.one"}} {
				if got, err := e.Xattr(c[0], c[1]); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%s of %s: %q, %v", c[1], c[0], got, err)
				}
			}
		})
	}
}

// FuzzXattr looks for attributes in what may be any.
func FuzzXattr(f *testing.F) {
	f.Add([]byte("\x07\x06\x40\x00\x00\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00selinux\x00\x00\x00\x00\x00label"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, err := findXattr(b, b, "security.selinux"); err == nil && len(v) > len(b) {
			t.Fatal("more than there is")
		}
	})
}
