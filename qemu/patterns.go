package qemu

import "regexp"

// Pattern is a message on the serial console that tells how a guest is failing.
type Pattern struct {
	Name   string
	Regexp *regexp.Regexp
	// Cause is what the user is told; $1 … are the regular expression's groups. A line that matches a detail with
	// an empty cause is nothing to tell.
	Cause string
	// Hint is what to do about it. A detail's hint is more particular than that of the failure it explains, and
	// takes its place.
	Hint string
	// Fatal patterns end every VM.Await. The others are details, kept to explain a failure: firmware tries several
	// boot options before one works, and a system with a failed mount may still come up.
	Fatal bool
}

// Finding is a Pattern that matched.
type Finding struct {
	Name, Cause, Hint string
	Line              string // as seen on the console
}

func (p *Pattern) match(line string) *Finding {
	m := p.Regexp.FindStringSubmatchIndex(line)
	if m == nil {
		return nil
	}
	cause := string(p.Regexp.ExpandString(nil, p.Cause, line, m))
	return &Finding{Name: p.Name, Cause: cause, Hint: p.Hint, Line: line}
}

const (
	rootDiskHint  = "check root= on the kernel command line, and that the initrd has the driver of the disk's interface (virtio_blk, nvme, virtio_scsi, ahci)"
	fstabHint     = "a file system in /etc/fstab that is missing or damaged is the usual reason: name it by UUID, or give it the option nofail"
	bootOrderHint = "the disk has no boot loader for this firmware: for BIOS code in the first sector and a BIOS-boot partition, for UEFI EFI/BOOT/BOOTX64.EFI on the EFI system partition"
	grubHint      = "the boot loader does not find its files: check the file system's UUID in its configuration and that /boot is complete"
	secureHint    = "the boot loader or kernel is not signed by a key the firmware trusts: use the distribution's signed shim and GRUB, or boot without Secure Boot"
)

// Patterns returns the messages that are looked for, in the order in which they are tried: of those that match a
// line the first counts. All are anchored where the program that prints them allows it, so that a log line that
// quotes one does not match.
func Patterns() []Pattern {
	fatal := func(name, re, cause, hint string) Pattern {
		return Pattern{name, regexp.MustCompile(re), cause, hint, true}
	}
	note := func(name, re, cause, hint string) Pattern {
		return Pattern{name, regexp.MustCompile(re), cause, hint, false}
	}
	// printk's optional time stamp and thread, and systemd's "[FAILED]" column. The kernel does not begin a new line for
	// its message when a login prompt waits in the last one.
	const kernel = `^(?:\S+ login: )?(?:<\d+>)?(?:\[ *\d+\.\d+\] ?)?(?:\[ *[TC]\d+\] )?`
	const status = `^(?:\[ *\d+\.\d+\] ?)?(?:systemd\[1\]: )?`
	return []Pattern{
		// Linux
		fatal("kernel panic", kernel+`Kernel panic - not syncing: (VFS: Unable to mount root fs.*)`,
			"the guest's kernel panicked: $1", rootDiskHint),
		fatal("kernel panic", kernel+`Kernel panic - not syncing: (No working init found.*)`,
			"the guest's kernel panicked: $1", "the root file system has no program to start as init: check root= and init= on the kernel command line"),
		fatal("kernel panic", kernel+`Kernel panic - not syncing: (Attempted to kill init.*)`,
			"the guest's kernel panicked: $1", "the first process ended: the console lines before the panic say why"),
		fatal("kernel panic", kernel+`Kernel panic - not syncing: (.*(?:Out of memory|out of memory).*)`,
			"the guest's kernel panicked: $1", "give the VM more memory"),
		fatal("kernel panic", kernel+`Kernel panic - not syncing: ?(.*)`,
			"the guest's kernel panicked: $1", "the console lines before the panic say where"),
		note("root device", kernel+`VFS: (Cannot open root device.*?)(?:; please append.*)?$`, "$1", ""),
		note("out of memory", kernel+`Out of memory: Killed process \d+ \((.*?)\)`, "out of memory: the kernel killed $1", ""),
		note("file system error", kernel+`((?:EXT4-fs|BTRFS|XFS) .*(?:error|corrupt|Corrupt).*)`, "$1", ""),
		note("disk error", kernel+`(?:blk_update_request: )?(.*I/O error, dev \S+).*`, "$1", ""),
		note("oops", kernel+`(BUG: (?:unable to handle|kernel NULL pointer).*|kernel BUG at .*|Oops: .*)`, "kernel $1", ""),
		note("hung task", kernel+`INFO: (task \S+ blocked for more than \d+ seconds)`, "$1", ""),

		// initramfs-tools, dracut
		fatal("initramfs prompt", `^\(initramfs\)`,
			"the boot stopped at the initramfs prompt", rootDiskHint),
		fatal("root device missing", `^ALERT! +(.*does not exist\.).*Dropping to a shell`,
			"the initramfs did not find the root device: $1", rootDiskHint),
		fatal("file system check", `^(?:The root filesystem on (\S+) requires a manual fsck|fsck exited with status code (?:4|8|12))`,
			"the root file system is damaged and was not mounted", "check it with e2fsck -f; a guest that was not shut down cleanly is the usual reason"),
		fatal("dracut shell", `^(?:dracut:/ ?#|dracut:\S*#|Entering emergency mode\. Exit the shell to continue\.)`,
			"the boot stopped at the dracut emergency shell", rootDiskHint),
		note("dracut", `(?:dracut-initqueue\[\d+\]: |^)Warning: (.*does not exist)`, "$1", ""),

		// systemd
		fatal("emergency mode", `^(?:You are in (?:emergency|rescue) mode|Welcome to (?:emergency|rescue) mode|(?:Give root password|Press Enter) for maintenance)`,
			"the guest came up in emergency mode", fstabHint),
		fatal("emergency mode", status+`\[ *OK *\] (?:Reached target|Started) (?:emergency|rescue)\.(?:target|service)`,
			"the guest came up in emergency mode", fstabHint),
		fatal("init froze", `systemd\[1\]: Freezing execution`,
			"systemd gave up and froze", "the console lines before it say why"),
		note("mount", status+`\[FAILED\] Failed to mount (?:.* - )?(.*?)\.?$`, "failed to mount $1", ""),
		note("device", status+`\[ *TIME *\] Timed out waiting for device (?:.* - )?(.*?)\.?$`, "timed out waiting for the device $1", ""),
		note("dependency", status+`\[DEPEND\] Dependency failed for (?:.* - )?(.*?)\.?$`, "dependency failed for $1", ""),
		note("unit", status+`\[FAILED\] Failed to start (?:.* - )?(.*?)\.?$`, "failed to start $1", ""),

		// GRUB
		fatal("grub rescue", `^grub rescue>`, "GRUB stopped at its rescue prompt", grubHint),
		fatal("grub prompt", `^grub>`, "GRUB stopped at its prompt", grubHint),
		fatal("secure boot", `^error: (?:.*: )?((?:bad shim signature|prohibited by secure boot policy|verification requested but nobody cares).*?)\.?$`,
			"Secure Boot refused what GRUB wanted to load: $1", secureHint),
		note("grub", `^(error: (?:.*: )?(?:no such|unknown|unrecognized|file|disk|attempt|symbol|can't find|you need).*?)\.?$`, "GRUB: $1", ""),

		// UEFI firmware and shim
		note("boot option", `^BdsDxe: failed to (?:load|start) Boot[0-9A-F]{4} "EFI Internal Shell"`, "", ""),
		note("boot option", `^BdsDxe: failed to (?:load|start) Boot[0-9A-F]{4} (".*?") from .*: (Security Violation|Access Denied)$`,
			"UEFI could not boot $1: $2", secureHint),
		note("boot option", `^BdsDxe: failed to (?:load|start) Boot[0-9A-F]{4} (".*?") from .*: (.*)`,
			"UEFI could not boot $1: $2", ""),
		fatal("secure boot", `^ *(?:Verification failed: |Something has gone seriously wrong: |ERROR: ).*Security (?:Policy )?Violation`,
			"Secure Boot refused the boot loader", secureHint),
		fatal("uefi shell", `^(?:Shell>|FS\d+:\\.*>)$`,
			"the firmware found nothing to boot and stopped at the UEFI shell", bootOrderHint),
		fatal("no bootable device", `^BdsDxe: No bootable option or device was found`,
			"the firmware found nothing to boot", bootOrderHint),
		fatal("firmware crash", `^!!!! \S+ Exception Type`,
			"the firmware, or a boot loader under it, crashed", "the console lines after it name the module"),

		// SeaBIOS and boot sectors
		fatal("no bootable device", `^No bootable device\.`,
			"the BIOS found nothing to boot", bootOrderHint),
		fatal("boot sector", `^(Missing operating system|Invalid partition table|Error loading operating system|Operating system not found|BOOTMGR is missing|NTLDR is missing)`,
			"the disk's boot sector stopped: $1", bootOrderHint),
		note("boot failed", `^Boot failed: (.*)`, "BIOS: $1", ""),
	}
}
