package inspect

import (
	"bytes"
	"encoding/binary"
	"io"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
)

const maxKernels = 64

// Drivers that clouds and hypervisors present disks and networks to, by module name. The first ones are EC2's.
var drivers = []string{"nvme", "nvme_core", "ena", "xen_blkfront", "xen_netfront", "ixgbevf",
	"virtio_pci", "virtio_blk", "virtio_scsi", "virtio_net", "hv_storvsc", "hv_netvsc", "vmw_pvscsi", "vmxnet3", "mptspi", "e1000", "e1000e", "ahci", "gve",
	"ext4", "xfs", "btrfs", "vfat", "dm_mod"}

// kernels finds the kernels in /boot and beside their modules, the newest first.
func (r *Root) kernels(b *Boot) []Kernel {
	var out []Kernel
	byVersion := map[string]bool{}
	var names []string
	for _, pattern := range []string{"vmlinuz*", "vmlinux*", "Image*", "kernel-*", "bzImage*"} {
		names = append(names, list(r, "boot", pattern)...)
	}
	for _, folder := range r.moduleFolders() {
		names = append(names, path.Join(folder, "vmlinuz"))
	}
	for _, e := range b.Entries { // those elsewhere: /boot/MACHINE/VERSION/linux
		if name := strings.TrimPrefix(e.Kernel, "/"); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	seen := map[string]bool{}
	for _, name := range names {
		st, err := r.Lstat(name)
		if err != nil || !st.Mode().IsRegular() || seen[name] || len(out) >= maxKernels {
			continue
		}
		seen[name] = true
		k, ok := r.kernel(name)
		if !ok || byVersion[k.Version] && strings.HasPrefix(name, "usr/lib/modules/") {
			continue
		}
		byVersion[k.Version] = true
		out = append(out, k)
	}
	slices.SortStableFunc(out, func(a, b Kernel) int { return compareVersions(b.Version, a.Version) })
	budget := int64(maxInitrdTotal)
	for i := range out {
		r.describeKernel(&out[i], b, &budget)
	}
	return out
}

// moduleFolders are the folders of modules, one for each version.
func (r *Root) moduleFolders() []string {
	folder := "usr/lib/modules"
	if !exists(r, folder) {
		folder = "lib/modules"
	}
	return list(r, folder, "*")
}

var nameVersion = regexp.MustCompile(`^(?:vmlinuz|vmlinux|Image|kernel|bzImage)-(.+?)(?:\.old|\.efi|\.gz)?$`)

// kernel reads the header of what may be a kernel: Linux Documentation/arch/x86/boot.rst, arch/arm64/booting.rst; ok is false if it is none.
func (r *Root) kernel(name string) (k Kernel, ok bool) {
	k = Kernel{Path: "/" + name}
	f, err := r.Open(name)
	if err != nil {
		return k, false
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() || st.Size() < 1024 {
		return k, false
	}
	k.Size = st.Size()
	head := make([]byte, min(st.Size(), 64<<10))
	if _, err := io.ReadFull(f, head); err != nil {
		return k, false
	}
	le := binary.LittleEndian
	switch {
	case string(head[0x202:0x206]) == "HdrS":
		k.Architecture = "x86_64"
		if xload := le.Uint16(head[0x236:]); le.Uint16(head[0x206:]) >= 0x20c && xload&1 == 0 { // XLF_KERNEL_64
			k.Architecture = "i386"
		}
		if at := int(le.Uint16(head[0x20e:])) + 0x200; at > 0x200 && at < len(head) {
			banner, _, _ := bytes.Cut(head[at:min(at+512, len(head))], []byte{0})
			k.Banner = printable(string(banner))
			k.Version, _, _ = strings.Cut(k.Banner, " ")
		}
	case string(head[0x38:0x3c]) == "ARM\x64", string(head[4:8]) == "zimg": // EFI zboot
		k.Architecture = "aarch64"
	case string(head[0x38:0x3c]) == "RSC\x05", string(head[0x30:0x35]) == "RISCV":
		k.Architecture = "riscv64"
	case string(head[:4]) == "\x7fELF":
		k.Architecture = elfMachine(head)
	case head[0] == 0x1f && head[1] == 0x8b: // Image.gz: its architecture is that of the system
	default:
		return k, false
	}
	if k.Version == "" {
		if m := nameVersion.FindStringSubmatch(path.Base(name)); m != nil {
			k.Version = printable(m[1])
		} else if path.Base(name) == "vmlinuz" {
			k.Version = printable(path.Base(path.Dir(name)))
		}
	}
	return k, true
}

// elfMachine is the architecture of an ELF program, as uname -m says.
func elfMachine(head []byte) string {
	if len(head) < 20 || string(head[:4]) != "\x7fELF" {
		return ""
	}
	var order binary.ByteOrder = binary.LittleEndian
	if head[5] == 2 {
		order = binary.BigEndian
	}
	switch order.Uint16(head[18:]) {
	case 3:
		return "i386"
	case 62:
		return "x86_64"
	case 183:
		return "aarch64"
	case 40:
		return "arm"
	case 243:
		return "riscv64"
	case 21:
		if order == binary.LittleEndian {
			return "ppc64le"
		}
		return "ppc64"
	case 22:
		return "s390x"
	}
	return ""
}

// architecture is that of the first program of the system that is found.
func (r *Root) architecture() string {
	for _, name := range []string{"sbin/init", "usr/lib/systemd/systemd", "bin/sh", "usr/bin/sh", "bin/busybox", "usr/bin/env"} {
		f, err := r.Open(name)
		if err != nil {
			continue
		}
		head := make([]byte, 64)
		n, _ := io.ReadFull(f, head)
		f.Close()
		if m := elfMachine(head[:n]); m != "" {
			return m
		}
	}
	return ""
}

// describeKernel finds what belongs to a kernel: whether it is the default, its initrd, its drivers.
func (r *Root) describeKernel(k *Kernel, b *Boot, budget *int64) {
	initrd := ""
	for _, e := range b.Entries {
		if e.Kernel != k.Path {
			continue
		}
		k.Default = k.Default || e.Default
		for _, name := range e.Initrds { // the last one: those before are microcode
			if exists(r, strings.TrimPrefix(name, "/")) && (initrd == "" || e.Default) {
				initrd = strings.TrimPrefix(name, "/")
			}
		}
	}
	if initrd == "" {
		initrd = r.initrdByName(strings.TrimPrefix(k.Path, "/"), k.Version)
	}
	modules := newModules(r, k.Version)
	k.Modules = modules.found
	var inside map[string]bool
	if initrd != "" {
		k.Initrd, inside = r.readInitrd(initrd, budget)
	}
	for _, name := range drivers {
		d := Driver{Name: name, Kernel: modules.kind[name], Initrd: inside[name]}
		if d.Kernel != "" || d.Initrd {
			k.Drivers = append(k.Drivers, d)
		}
	}
}

// initrdByName finds the initrd of a kernel by the names that distributions use.
func (r *Root) initrdByName(kernel, version string) string {
	folder, base := path.Split(kernel)
	_, suffix, _ := strings.Cut(base, "-") // vmlinuz-SUFFIX
	var names []string
	for _, s := range []string{suffix, version} {
		if s == "" {
			continue
		}
		for _, pattern := range []string{"initrd.img-*", "initramfs-*.img", "initramfs-*", "initrd-*", "initrd-*.img", "initrd.img.*"} {
			name := strings.Replace(pattern, "*", s, 1)
			names = append(names, path.Join(folder, name), path.Join("boot", name))
		}
	}
	if base == "vmlinuz" {
		names = append(names, path.Join(folder, "initrd"), path.Join(folder, "initrd.img"), path.Join(folder, "initramfs.img"))
	}
	for _, name := range names {
		if st, err := r.Stat(name); err == nil && st.Mode().IsRegular() {
			return name
		}
	}
	return ""
}

// modules are those drivers that a kernel has.
type modules struct {
	found bool
	kind  map[string]string
}

// newModules reads modules.dep and modules.builtin: depmod(8).
func newModules(r *Root, version string) modules {
	m := modules{kind: map[string]string{}}
	if version == "" || !fs.ValidPath(version) {
		return m
	}
	for _, folder := range []string{"usr/lib/modules", "lib/modules"} {
		dir := path.Join(folder, version)
		if st, err := r.Stat(dir); err != nil || !st.IsDir() {
			continue
		}
		m.found = true
		for line := range strings.Lines(text(r, path.Join(dir, "modules.dep"))) {
			name, _, _ := strings.Cut(line, ":")
			m.kind[moduleName(name)] = "module"
		}
		for line := range strings.Lines(text(r, path.Join(dir, "modules.builtin"))) {
			m.kind[moduleName(strings.TrimSpace(line))] = "builtin"
		}
		break
	}
	return m
}

// moduleName is the name of a module by its file: "kernel/drivers/block/xen-blkfront.ko.xz" is xen_blkfront.
func moduleName(file string) string {
	base, _, ok := strings.Cut(path.Base(file), ".ko")
	if !ok {
		return ""
	}
	return strings.ReplaceAll(base, "-", "_")
}
