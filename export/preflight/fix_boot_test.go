package preflight

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/ingot-image/ingot/disk"
)

const (
	optionsBefore = "root=UUID=" + fixtureRoot + " ro quiet"
	optionsAdded  = " nvme_core.io_timeout=4294967295 net.ifnames=0 biosdevname=0 console=tty0 console=ttyS0,115200n8"
)

// The command line is changed where the boot loader has it, and nothing else is.
func TestFixBootLoaders(t *testing.T) {
	kernel, initrd := "/boot/vmlinuz-"+fixtureKernel, "/boot/initrd.img-"+fixtureKernel
	for _, c := range []struct {
		name  string
		files map[string]string // those in which %s is the command line are changed
		left  []string
	}{
		{"loader entries", map[string]string{
			fixtureMenu:                    "serial --unit=0 --speed=115200\nterminal_output serial console\ninsmod blscfg\nblscfg\n",
			"boot/loader/entries/one.conf": "title One\nversion " + fixtureKernel + "\nlinux " + kernel + "\ninitrd " + initrd + "\noptions %s\ngrub_class kernel\n",
			"boot/loader/entries/two.conf": "title Two\nversion 5.10\nlinux " + kernel + "\ninitrd " + initrd + "\noptions\t%s\n",
			"boot/grub/grubenv":            environment("saved_entry=one"),
		}, nil},
		{"GRUB Legacy", map[string]string{
			"boot/grub/menu.lst": "default 0\ntimeout 3\ntitle Debian\n\troot (hd0,0)\n\tkernel " + kernel + " %s\n\tinitrd " + initrd + "\n# kernel comment stays\n",
		}, nil},
		{"SYSLINUX", map[string]string{
			"boot/extlinux/extlinux.conf": "DEFAULT linux\nTIMEOUT 30\nLABEL linux\n  LINUX " + kernel + "\n  APPEND %s\n  INITRD " + initrd + "\n",
		}, []string{"C01"}}, // which wants a GRUB
	} {
		t.Run(c.name, func(t *testing.T) {
			f := good()
			delete(f.files, fixtureMenu)
			var changed []string
			for name, text := range c.files {
				if f.files[name] = text; strings.Contains(text, "%s") {
					f.files[name] = fmt.Sprintf(text, optionsBefore)
					changed = append(changed, name)
				}
			}
			_, before, after := fixesBut(t, f.raw(t), Request{Path: EBSDirect}, c.left, "D04")
			onlyChanged(t, before, after, changed...)
			for _, name := range changed {
				if got, want := content(t, after, name), fmt.Sprintf(c.files[name], optionsBefore+optionsAdded); got != want {
					t.Errorf("%s:\n%s\nwant\n%s", name, got, want)
				}
			}
		})
	}
}

// environment is an environment block of GRUB: 1024 bytes.
func environment(setting string) string {
	text := "# GRUB Environment Block\n" + setting + "\n"
	return text + strings.Repeat("#", 1024-len(text))
}

// A /boot of its own is another file system of the disk, with other paths.
func TestFixSeparateBoot(t *testing.T) {
	for _, tool := range []string{"sgdisk", "mke2fs"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("skipped: %v", err)
		}
	}
	const uuid = "b0070000-1234-4abc-8def-000000000002"
	f, boot := good(), t.TempDir()
	f.files["etc/fstab"] += "UUID=" + uuid + " /boot ext4 defaults 0 2\n"
	f.files["boot/"] = ""
	menu := grubConfig("/vmlinuz-"+fixtureKernel, "/initrd.img-"+fixtureKernel, optionsBefore)
	f.files[fixtureMenu] = menu
	for name, text := range f.files {
		inside, ok := strings.CutPrefix(name, "boot/")
		if !ok || strings.HasSuffix(name, "/") {
			continue
		}
		delete(f.files, name)
		file := filepath.Join(boot, inside)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	raw := f.raw(t)
	if err := os.Truncate(raw, f.size+66<<20); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"sgdisk", "--move-second-header", "--new", fmt.Sprintf("2:%d:+64M", f.size/512), "--typecode", "2:8300", raw},
		{"mke2fs", "-q", "-t", "ext4", "-U", uuid, "-d", boot, "-E", fmt.Sprintf("offset=%d", f.size), raw, "64M"},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", args, err, out)
		}
	}
	_, before, after := fixesBut(t, raw, Request{Path: EBSDirect}, []string{"B08", "B09"}, "D04") // it is small, and the last
	onlyChanged(t, before, after, fixtureMenu)
	if got, want := content(t, after, fixtureMenu), strings.Replace(menu, optionsBefore, optionsBefore+optionsAdded, 1); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

// A journal that waits to be replayed holds another fstab than the one that is in its place: that is what the copy has, mended.
func TestFixJournal(t *testing.T) {
	f := good()
	f.files["etc/fstab"] = "UUID=" + fixtureRoot + " / ext4 defaults 0 1\n# " + strings.Repeat("x", 200) + "\n"
	text := "# of the journal\n/dev/vda1 / ext4 defaults 0 1\n"
	text += "#" + strings.Repeat("y", len(f.files["etc/fstab"])-len(text)-2) + "\n"
	raw := f.raw(t)
	run := func(commands string) string {
		var out strings.Builder
		image, err := os.OpenFile(raw, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer image.Close()
		err = disk.Run(t.Context(), disk.Command{Tool: debugfs, Files: []*os.File{image}, Stdin: strings.NewReader(commands), Stdout: &out,
			Args: []string{"-w", "-f", "-", fmt.Sprintf("%s?offset=%d", disk.FilePath(0), f.hybrid().Root().Start)}})
		if err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	blocks := strings.Fields(run("blocks /etc/fstab\n"))
	block := blocks[len(blocks)-1]
	if _, err := strconv.Atoi(block); err != nil {
		t.Fatalf("%q: %v", blocks, err)
	}
	page := filepath.Join(t.TempDir(), "block")
	if err := os.WriteFile(page, []byte(text+strings.Repeat("\x00", 4096-len(text))), 0o644); err != nil {
		t.Fatal(err)
	}
	run("journal_open\njournal_write -b " + block + " " + page + "\njournal_close\n")
	_, before, after := fixes(t, raw, Request{Path: EBSDirect}, "B07")
	onlyChanged(t, before, after, "etc/fstab")
	if got, want := content(t, after, "etc/fstab"), strings.Replace(text, "/dev/vda1", "UUID="+fixtureRoot, 1); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}
