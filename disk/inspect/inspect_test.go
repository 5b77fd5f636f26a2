package inspect

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ingot-image/ingot/disk/image"
)

// equal compares what a report says.
func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: %+v, want %+v", what, got, want)
	}
}

func TestInspect(t *testing.T) {
	path := hybrid(t, debian(t))
	r, err := Inspect(t.Context(), openDisk(t, path), Options{})
	if err != nil {
		t.Fatal(err)
	}
	p := r.PartitionTable
	if p.Kind != "gpt" || p.ID != "11111111-2222-4333-8444-555555555555" || !p.PrimaryValid || !p.BackupValid || !p.BackupAtEnd || len(p.Partitions) != 3 {
		t.Errorf("%+v", p)
	}
	fs := r.FileSystems
	if len(fs) != 3 || fs[1].Type != "vfat" || fs[1].Variant != "FAT32" || fs[1].MountPoint != "/boot/efi" || fs[2].MountPoint != "/" || fs[2].UUID != rootUUID ||
		fs[2].OS != "Debian GNU/Linux 12 (bookworm)" || fs[2].Space == nil {
		t.Errorf("%+v", fs)
	}
	equal(t, "firmware", r.Boot.Firmware, []string{BIOS, UEFI, UEFISecureBoot})
	equal(t, "bios", *r.Boot.BIOS, BIOSBoot{Loader: "grub", CoreStart: 1 << 20, CorePartition: 14, CoreFound: true})
	loaders := map[string]string{}
	for _, l := range r.Boot.EFI {
		loaders[l.Path] = fmt.Sprint(l.Loader, " ", l.Version, " ", l.Architecture, " ", l.Default, " ", l.Signed, " ", l.Signers)
	}
	equal(t, "loaders", loaders, map[string]string{
		"EFI/BOOT/BOOTX64.EFI": "shim 15.8 x86_64 true true [Microsoft Corporation UEFI CA 2011]", "EFI/BOOT/grubx64.efi": "grub 2.06-13 x86_64 false false []",
		"EFI/debian/notpe.efi": "unknown   false false []", "EFI/systemd/sdboot.efi": "systemd-boot 252.30-1 aarch64 false false []"})
	s := r.System
	equal(t, "os", s.OS, OS{ID: "debian", Name: "Debian GNU/Linux", PrettyName: "Debian GNU/Linux 12 (bookworm)", Version: "12 (bookworm)", VersionID: "12", Codename: "bookworm", Minor: "12.9", From: "/etc/os-release"})
	equal(t, "architecture", s.Architecture, "x86_64")
	if len(s.Kernels) != 2 {
		t.Fatalf("%+v", s.Kernels)
	}
	newer, k := s.Kernels[0], s.Kernels[1]
	if newer.Version != "6.1.0-10-amd64" || newer.Default || newer.Initrd != nil || newer.Modules {
		t.Errorf("%+v", newer)
	}
	if k.Version != kernelV || !k.Default || k.Banner != kernelV+" (somebody@somewhere) #1 SMP" || !k.Modules || k.Architecture != "x86_64" {
		t.Errorf("%+v", k)
	}
	if i := k.Initrd; i == nil || i.Compression != "zstd" || i.Modules != 1 || i.Problem != "" || i.Path != "/boot/initrd.img-"+kernelV {
		t.Errorf("%+v", i)
	}
	equal(t, "drivers", k.Drivers, []Driver{{"nvme", "module", true}, {"ena", "module", false}, {"xen_blkfront", "module", false}, {"ext4", "builtin", false}})
	equal(t, "packages", s.Packages, Packages{Manager: "dpkg", List: []Package{{"adduser", "3.134", "all"}, {"bash", "5.2-1", "amd64"}}})
	equal(t, "fstab", s.Fstab, []Mount{
		{Source: "UUID=" + rootUUID, Target: "/", Type: "ext4", Options: "defaults", Device: "partition 1", Line: 2},
		{Source: "UUID=1234-5678", Target: "/boot/efi", Type: "vfat", Options: "umask=0077", Device: "partition 15", Line: 3},
		{Source: "/dev/vdb1", Target: "/data disk", Type: "xfs", Options: "defaults", ByName: true, Line: 4},
		{Source: "/dev/vda1", Target: "/mnt", Type: "ext4", Options: "noauto", Device: "partition 1", ByName: true, Line: 5},
		{Source: "tmpfs", Target: "/tmp", Type: "tmpfs", Options: "defaults", Line: 6}})
	equal(t, "cloud-init", s.CloudInit, CloudInit{Installed: true, Enabled: true, Datasources: []string{"Ec2", "None"}})
	equal(t, "ssh", s.SSH, SSH{Installed: true, Enabled: true, HostKeys: []string{"/etc/ssh/ssh_host_ed25519_key"}, PermitRootLogin: "no"})
	equal(t, "network", s.Network, Network{Managers: []string{"systemd-networkd"}, DHCP: []string{"/etc/systemd/network/20.network"},
		Static: []string{"/etc/systemd/network/10-fixed.network"}, MACBound: []string{"/etc/systemd/network/10-fixed.network"}})
	equal(t, "identity", s.Identity, Identity{MachineID: "set", Histories: []string{"/root/.bash_history"}})
	equal(t, "accounts", s.Accounts, []Account{{Name: "root", Home: "/root", Shell: "/bin/bash", Password: "none"},
		{Name: "admin", UID: 1000, GID: 1000, Home: "/home/admin", Shell: "/bin/bash", Password: "set", AuthorizedKeys: 1, PrivateKeys: []string{"/home/admin/.ssh/id_rsa"}}})
	equal(t, "services", s.Services, []string{"cloud-init.service", "ssh.service"})
	equal(t, "entries", len(r.Boot.Entries), 2)
	if e := r.Boot.Entries[0]; !e.Default || e.ID != "gnulinux-simple" || e.Kernel != "/boot/vmlinuz-"+kernelV || !strings.HasSuffix(e.Options, "net.ifnames=0 console=ttyS0") {
		t.Errorf("%+v", e)
	}
	equal(t, "problems", r.Problems, []Problem{{"partition 15", "EFI/debian/notpe.efi: is no program for UEFI"}})
}

// What blkid says of file systems made by others must be what we say, and how full they are must fit.
func TestFileSystems(t *testing.T) {
	for _, test := range []struct {
		kind, tool string
		args       []string
		mib        int64
	}{
		{"ext2", "mke2fs", []string{"-q", "-F", "-t", "ext2"}, 8}, {"ext4", "mke2fs", []string{"-q", "-F", "-t", "ext4", "-L", "label"}, 16},
		{"xfs", "mkfs.xfs", []string{"-q", "-L", "label"}, 320}, {"btrfs", "mkfs.btrfs", []string{"-q", "-L", "a label"}, 128},
		{"vfat", "mkfs.vfat", []string{"-n", "LABEL"}, 8}, {"swap", "mkswap", []string{"-q", "-L", "label"}, 8}, {"ntfs", "mkfs.ntfs", []string{"-q", "-F", "-f"}, 16},
	} {
		t.Run(test.kind, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "fs")
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			os.Truncate(path, test.mib<<20)
			output(t, test.tool, append(test.args, path)...)
			r, err := Inspect(t.Context(), openDisk(t, path), Options{})
			if err != nil {
				t.Fatal(err)
			}
			if r.PartitionTable.Kind != "none" || len(r.FileSystems) != 1 {
				t.Fatalf("%+v", r)
			}
			f := r.FileSystems[0]
			blkid := settings(output(t, "blkid", "-p", "-o", "export", path))
			if f.Type != test.kind || f.UUID != blkid["UUID"] || f.Label != strings.ReplaceAll(blkid["LABEL"], `\ `, " ") || f.Device != "disk" {
				t.Errorf("%+v, but blkid says %v", f, blkid)
			}
			if test.kind == "ntfs" {
				return
			}
			if s := f.Space; s == nil || s.Size < test.mib<<20*7/10 || s.Size > test.mib<<20 || s.Used+s.Free != s.Size || s.Free < s.Size/4 {
				t.Errorf("%+v", s)
			}
			if n := blkid["FSSIZE"]; n != "" && test.kind == "xfs" && n != fmt.Sprint(f.Space.Size) {
				t.Errorf("%d bytes, but blkid says %s", f.Space.Size, n)
			}
		})
	}
}

// An MBR with a file system of its own for /boot, in a logical partition, and a damaged second copy of a GPT.
func TestPartitionTables(t *testing.T) {
	files := debian(t)
	boot := map[string]string{"vmlinuz-" + kernelV: bzImage(kernelV), "initramfs-" + kernelV + ".img": gzipped(cpio("kernel/nvme.ko")),
		"grub2/grub.cfg": "set default=\"${saved_entry}\"\ninsmod blscfg\nblscfg\n", "grub2/grubenv": "# GRUB Environment Block\nsaved_entry=b\nkernelopts=root=LABEL=sys ro\n",
		"loader/entries/a.conf": "title New\nversion 6.2\nlinux /vmlinuz-6.2\n", "loader/entries/b.conf": "title Old\nversion " + kernelV + "\nlinux /vmlinuz-" + kernelV + "\ninitrd /initramfs-" + kernelV + ".img $tuned_initrd\noptions $kernelopts quiet $tuned_params\n"}
	for name := range files {
		if strings.HasPrefix(name, "boot/") {
			delete(files, name)
		}
	}
	files["boot/"] = ""
	files["etc/fstab"] = "LABEL=sys / ext4 defaults\nPARTUUID=12345678-05 /boot ext2 defaults\n"
	path := filepath.Join(t.TempDir(), "disk")
	os.WriteFile(path, nil, 0o600)
	os.Truncate(path, 48<<20)
	script := filepath.Join(t.TempDir(), "script")
	os.WriteFile(script, []byte("label: dos\nlabel-id: 0x12345678\nstart=2048, size=61440, type=83, bootable\nstart=63488, type=5\nstart=65536, size=20480, type=83\n"), 0o600)
	output(t, "sh", "-c", "/sbin/sfdisk -q "+path+" < "+script)
	output(t, "mke2fs", "-q", "-F", "-t", "ext4", "-L", "sys", "-E", "offset=1048576", "-d", tree(t, files), path, "30m")
	output(t, "mke2fs", "-q", "-F", "-t", "ext2", "-E", "offset=33554432", "-d", tree(t, boot), path, "10m")
	r, err := Inspect(t.Context(), openDisk(t, path), Options{})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "table", r.PartitionTable.Kind+" "+r.PartitionTable.ID, "mbr 12345678")
	equal(t, "types", []string{r.PartitionTable.Partitions[0].TypeName, r.PartitionTable.Partitions[1].TypeName}, []string{"Linux", "extended"})
	k := r.System.Kernels
	if len(k) != 1 || !k[0].Default || k[0].Initrd == nil || k[0].Initrd.Compression != "gzip" || !slices.Contains(k[0].Drivers, Driver{"nvme", "module", true}) {
		t.Errorf("%+v, %+v", k, r.Boot)
	}
	if e := r.Boot.Entries; len(e) != 2 || e[0].Title != "New" && e[1].Title != "New" {
		t.Errorf("%+v", e)
	}
	for _, e := range r.Boot.Entries {
		if e.Default != (e.ID == "b") || e.ID == "b" && e.Options != "root=LABEL=sys ro quiet" {
			t.Errorf("%+v", e)
		}
	}
	equal(t, "firmware", r.Boot.Firmware, []string{})

	data, err := os.ReadFile(hybrid(t, map[string]string{"etc/os-release": "ID=x\n"}))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		damage         func() memory
		primary, atEnd bool
		backup         bool
		problem        string
	}{
		{func() memory { data[512+60] ^= 1; return data }, false, true, true, "primary GPT is damaged"},
		{func() memory { data[512+60] ^= 1; return append(slices.Clone(data), make([]byte, 1<<20)...) }, true, false, true, "not at the end"},
		{func() memory { data[len(data)-512+60] ^= 1; return data }, true, false, false, "second copy is missing or damaged"},
	} {
		r, err := Inspect(t.Context(), test.damage(), Options{})
		if err != nil {
			t.Fatal(err)
		}
		p := r.PartitionTable
		if p.PrimaryValid != test.primary || p.BackupAtEnd != test.atEnd || p.BackupValid != test.backup || len(r.Problems) == 0 || !strings.Contains(r.Problems[0].What, test.problem) {
			t.Errorf("%+v, %v, want %q", p, r.Problems, test.problem)
		}
	}
}

// A large disk costs what is on it.
func TestLargeDisk(t *testing.T) {
	path := hybrid(t, debian(t))
	if err := os.Truncate(path, 2<<40); err != nil {
		t.Skipf("skipped: no sparse file of 2 TiB here: %v", err)
	}
	output(t, "sgdisk", "-e", path)
	src := openDisk(t, path)
	start := time.Now()
	r, err := Inspect(t.Context(), src, Options{})
	if err != nil || r.System == nil || !r.PartitionTable.BackupAtEnd {
		t.Fatalf("%+v, %v", r, err)
	}
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("took %v", d)
	}
}

func TestNoDisk(t *testing.T) {
	garbage := make(memory, 1<<20)
	for i := range garbage {
		garbage[i] = byte(i*i>>3 ^ i)
	}
	table := slices.Clone(garbage)
	clear(table)
	copy(table[512:], "EFI PART")
	binary.LittleEndian.PutUint32(table[592:], 1<<31)
	for name, m := range map[string]memory{"garbage": garbage, "zeros": make(memory, 1<<20), "empty": nil, "a byte": {1}, "bad table": table} {
		if r, err := Inspect(t.Context(), m, Options{}); err == nil {
			t.Errorf("%s: %+v", name, r)
		} else if name != "bad table" && !errors.Is(err, ErrNoDisk) {
			t.Errorf("%s: %v", name, err)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("enough")
	cancel(cause)
	if _, err := Inspect(ctx, openDisk(t, hybrid(t, debian(t))), Options{}); !errors.Is(err, cause) {
		t.Errorf("cancelled: %v", err)
	}
}

var _ image.Source = memory(nil)
