package preflight

import (
	"os"
	"strings"
	"testing"

	"github.com/ingot-image/ingot/disk"
)

func TestC01Menu(t *testing.T) {
	passes(t, "C01", good().raw(t), Request{})
	const menu = "/boot/grub/grub.cfg"
	two := good()
	two.files["boot/grub/menu.lst"] = "title Old\nkernel /boot/vmlinuz-" + fixtureKernel + " ro\n"
	if f := fails(t, "C01", two.raw(t), Request{Path: ImportImage}, Fatal, "menu.lst", "2 menus"); f.Prevents != "ClientError: Multiple different grub/menu.lst files found." {
		t.Errorf("%+v", f)
	}
	levels(t, "C01", two.raw(t), fatalOnImportImage, menu, "2 menus")
	esp := good()
	esp.esp["EFI/debian/grub.cfg"] = []byte(esp.files["boot/grub/grub.cfg"])
	levels(t, "C01", esp.raw(t), fatalOnImportImage, "EFI/debian/grub.cfg in partition 15", "2 menus")
	none := good()
	delete(none.files, "boot/grub/grub.cfg")
	levels(t, "C01", none.raw(t), fatalOnImportImage, "/boot", "no menu of GRUB")
	link := good() // grub and grub2 are one folder
	link.files["boot/grub2"] = "-> grub"
	passes(t, "C01", link.raw(t), Request{})
	empty := good()
	empty.files["boot/grub/menu.lst"] = "# nothing\n"
	passes(t, "C01", empty.raw(t), Request{})
}

// entries is the fixture with entries of the Boot Loader Specification, as Fedora and Amazon Linux 2023 have them.
func entries(saved string) *fixture {
	f := good()
	f.files["boot/grub/grub.cfg"] = "insmod blscfg\nblscfg\n"
	f.files["boot/grub/grubenv"] = "# GRUB Environment Block\n" + saved + strings.Repeat("#", 900)
	f.files["boot/loader/entries/one.conf"] = "title One\nversion " + fixtureKernel + "\nlinux /boot/vmlinuz-" + fixtureKernel + "\ninitrd /boot/initrd.img-" + fixtureKernel + "\noptions " + fixtureLine + "\n"
	f.files["boot/loader/entries/two.conf"] = "title Two\nversion 5\nlinux /boot/vmlinuz-5\ninitrd /boot/initrd.img-5\n"
	return f
}

func TestC02Entries(t *testing.T) {
	ends(t, "C02", good().raw(t), Request{}, Skipped, "no loader entries")
	passes(t, "C02", entries("saved_entry=one\n").raw(t), Request{Path: ImportImage})
	passes(t, "C01", entries("saved_entry=one\n").raw(t), Request{Path: ImportImage})
	if f := fails(t, "C02", entries("").raw(t), Request{Path: ImportImage}, Fatal, "grubenv", "no saved_entry"); !strings.Contains(f.Prevents, "BLSC-style GRUB found") {
		t.Errorf("%+v", f)
	}
	levels(t, "C02", entries("saved_entry=three\n").raw(t), fatalOnImportImage, "grubenv", "the default entry three does not exist")
	levels(t, "C02", entries("saved_entry=two\n").raw(t), fatalOnImportImage, "/boot/loader/entries/two.conf", "/vmlinuz-5 does not exist")
}

func TestC03BootMode(t *testing.T) {
	both := good().raw(t)
	noBIOS := change(t, both, func(f *os.File, _ int64) { poke(t, f, 0, make([]byte, 440)...) })
	noCore := change(t, both, func(f *os.File, _ int64) { poke(t, f, 1<<20, make([]byte, 4096)...) })
	f := good()
	delete(f.esp, "EFI/BOOT/BOOTX64.EFI")
	f.esp["EFI/debian/grubx64.efi"] = peFile(0x8664)
	noUEFI := f.raw(t)
	neither := change(t, noUEFI, func(f *os.File, _ int64) { poke(t, f, 0, make([]byte, 440)...) })
	arm := good()
	arm.files["usr/lib/systemd/systemd"] = "+x " + elf(183)
	armX64 := arm.raw(t)
	arm.esp["EFI/BOOT/BOOTAA64.EFI"] = peFile(0xaa64)
	armRight := arm.raw(t)
	for _, mode := range []string{"", legacyBIOS, uefi, uefiPreferred} {
		passes(t, "C03", both, Request{BootMode: mode})
	}
	passes(t, "C03", noBIOS, Request{})
	passes(t, "C03", noBIOS, Request{BootMode: uefi})
	passes(t, "C03", noUEFI, Request{})
	passes(t, "C03", noUEFI, Request{BootMode: legacyBIOS})
	passes(t, "C03", armRight, Request{BootMode: uefi})
	for _, path := range []Path{ImportImage, ImportSnapshot, EBSDirect} {
		fails(t, "C03", noBIOS, Request{Path: path, BootMode: legacyBIOS}, Fatal, "sector 0", "no boot code")
		fails(t, "C03", noCore, Request{Path: path, BootMode: legacyBIOS}, Fatal, "offset 1048576", "no core image")
		fails(t, "C03", noUEFI, Request{Path: path, BootMode: uefi}, Fatal, "partition 15", `no \EFI\BOOT\BOOTX64.EFI: firmware of a new instance finds none of EFI/debian/grubx64.efi`)
		fails(t, "C03", neither, Request{Path: path}, Fatal, "sector 0", "no boot code")
		fails(t, "C03", armX64, Request{Path: path}, Fatal, "partition 15", "BOOTAA64.EFI")
		fails(t, "C03", armRight, Request{Path: path, BootMode: legacyBIOS}, Fatal, "boot mode", "UEFI only")
	}
	fails(t, "C03", both, Request{Path: ImportImage, BootMode: uefiPreferred}, Fatal, "boot mode", "not uefi-preferred")
	fails(t, "C03", noUEFI, Request{BootMode: uefiPreferred}, Fatal, "partition 15", "BOOTX64.EFI")
	fails(t, "C03", noBIOS, Request{BootMode: uefiPreferred}, Warning, "sector 0", "no boot code")
	fails(t, "C03", write(t, "disk.raw", make([]byte, 1<<20)), Request{}, Fatal, "the disk", "nothing to boot")
}

func TestC04Kernel(t *testing.T) {
	passes(t, "C04", good().raw(t), Request{})
	kernel, initrd := "boot/vmlinuz-"+fixtureKernel, "boot/initrd.img-"+fixtureKernel
	for _, name := range []string{kernel, initrd} {
		f := good()
		delete(f.files, name)
		levels(t, "C04", f.raw(t), alwaysFatal, "/boot/grub/grub.cfg", "/"+name+", which does not exist")
	}
	none := good()
	delete(none.files, kernel)
	delete(none.files, initrd)
	delete(none.files, "boot/grub/grub.cfg")
	levels(t, "C04", none.raw(t), alwaysFatal, "/boot", "no kernel")
	without := good()
	delete(without.files, initrd)
	without.files["boot/grub/grub.cfg"] = strings.Replace(without.files["boot/grub/grub.cfg"], "\tinitrd /"+initrd+"\n", "", 1)
	levels(t, "C04", without.raw(t), alwaysFatal, "/"+kernel, "no initramfs")
	without.files["usr/lib/modules/"+fixtureKernel+"/modules.builtin"] += "kernel/drivers/nvme/host/nvme.ko\n"
	without.files["usr/lib/modules/"+fixtureKernel+"/modules.dep"] = ""
	levels(t, "C04", without.raw(t), alwaysWarning, "/"+kernel, "no initramfs: it must have")
	broken := good()
	broken.files[initrd] = "no archive at all, but something else"
	for _, path := range []Path{ImportImage, ImportSnapshot, EBSDirect} {
		for _, id := range []string{"C04", "D01", "D03"} { // what is not understood is not wrong
			ends(t, id, broken.raw(t), Request{Path: path}, Unknown, "not understood")
		}
	}
	text := good()
	text.files[kernel] = strings.Repeat("no kernel ", 1000)
	levels(t, "C04", text.raw(t), alwaysFatal, "/"+kernel, "no kernel")
}

func TestC06Architecture(t *testing.T) {
	raw := good().raw(t)
	passes(t, "C06", raw, Request{})
	for _, path := range []Path{ImportImage, ImportSnapshot, EBSDirect} {
		passes(t, "C06", raw, Request{Path: path, Architecture: "x86_64"})
		fails(t, "C06", raw, Request{Path: path, Architecture: "arm64"}, Fatal, "/bin/sh", "made for x86_64, and the AMI is to be arm64")
		fails(t, "C06", raw, Request{Path: path, Architecture: "arm64"}, Fatal, "default kernel", "made for x86_64")
	}
	arm := good()
	for name, content := range arm.files {
		if strings.Contains(content, "\x7fELF") {
			arm.files[name] = "+x " + elf(183)
		}
	}
	mixed := arm.raw(t)
	fails(t, "C06", mixed, Request{}, Fatal, "default kernel", "made for x86_64, and the programs are made for arm64")
	image := make([]byte, 4096) // arm64's: Linux Documentation/arch/arm64/booting.rst
	copy(image[0x38:], "ARM\x64")
	arm.files["boot/vmlinuz-"+fixtureKernel] = string(image)
	file := arm.raw(t)
	passes(t, "C06", file, Request{})
	passes(t, "C06", file, Request{Path: EBSDirect, Architecture: "arm64"})
	fails(t, "C06", convert(t, file, disk.VMDK), Request{Path: ImportImage, Architecture: "arm64"}, Fatal, "/bin/sh", "import-image takes x86_64 only")
	old := good()
	for name, content := range old.files {
		if strings.Contains(content, "\x7fELF") {
			old.files[name] = "+x " + elf(3)
		}
	}
	passes(t, "C06", old.raw(t), Request{Architecture: "x86_64"}) // a 64-bit kernel runs programs of 32 bits
}
