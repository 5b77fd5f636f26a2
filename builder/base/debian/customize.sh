#!/bin/sh
# Turns a bootstrapped Debian tree ($1) into a bootable, anonymous cloud system, and puts what the host needs into out/.
# From settings: ROOT_UUID, ESP_UUID, KERNEL_APPEND. Requirements R1 to R16: what keeps an imported image from coming up on EC2.
set -eu
root=$1
. "$INGOT_WORK/settings"
out=$INGOT_WORK/out

write() { # write FILE: from stdin, with its folder, readable by all
	mkdir -p "$root$(dirname "$1")"
	cat >"$root$1"
	chmod 0644 "$root$1"
}
in_root() { chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C DEBIAN_FRONTEND=noninteractive "$@"; }

# --- identity: nothing of the build host, nothing that must be unique (R9, R10) ---------------------------------------------
echo localhost | write /etc/hostname
write /etc/hosts <<-END
	127.0.0.1	localhost
	::1		localhost ip6-localhost ip6-loopback
	ff02::1		ip6-allnodes
	ff02::2		ip6-allrouters
END
rm -f "$root"/etc/.resolv.conf.systemd-resolved.bak "$root"/etc/resolv.conf
ln -s ../run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
rm -f "$root"/etc/ssh/ssh_host_*_key* "$root"/var/lib/dbus/machine-id "$root"/var/lib/systemd/random-seed
: >"$root/etc/machine-id"
in_root passwd --quiet --lock root

# Host keys are made at the first boot: by cloud-init, or by this unit where cloud-init does not run.
write /etc/systemd/system/ssh-host-keys.service <<-END
	[Unit]
	Description=Make missing OpenSSH host keys
	ConditionPathExistsGlob=!/etc/ssh/ssh_host_*_key
	After=cloud-init.service
	Before=ssh.service

	[Service]
	Type=oneshot
	RemainAfterExit=yes
	ExecStart=/usr/bin/ssh-keygen -A

	[Install]
	WantedBy=ssh.service
END
in_root systemctl --quiet enable ssh-host-keys.service ssh.service

# --- package sources: the bootstrap's own, without its settings ---------------------------------------------------------------
rm -f "$root"/etc/apt/apt.conf.d/99mmdebstrap "$root"/etc/dpkg/dpkg.cfg.d/99mmdebstrap "$root"/etc/apt/sources.list.d/*
write /etc/apt/sources.list <"$INGOT_WORK/image-sources.list"

# --- network: DHCP on every Ethernet interface unless cloud-init or an earlier file says otherwise (R8) ------------------------
write /etc/systemd/network/99-default-dhcp.network <<-END
	[Match]
	Name=en* eth*

	[Network]
	DHCP=yes

	[DHCPv4]
	UseDomains=yes
END
# Without a network cable the boot goes on after half a minute instead of two.
write /etc/systemd/system/systemd-networkd-wait-online.service.d/timeout.conf <<-END
	[Service]
	ExecStart=
	ExecStart=/lib/systemd/systemd-networkd-wait-online --any --timeout=30
END
in_root systemctl --quiet enable systemd-networkd.service systemd-resolved.service

# --- console and kernel line (R3, R5, R13) ---------------------------------------------------------------------------------------
write /etc/default/grub <<-END
	GRUB_DEFAULT=0
	GRUB_TIMEOUT=0
	GRUB_RECORDFAIL_TIMEOUT=0
	GRUB_DISTRIBUTOR=Debian
	GRUB_CMDLINE_LINUX_DEFAULT=""
	GRUB_CMDLINE_LINUX="$KERNEL_APPEND"
	GRUB_TERMINAL="console serial"
	GRUB_SERIAL_COMMAND="serial --unit=0 --speed=115200"
	GRUB_DISABLE_OS_PROBER=true
END
in_root systemctl --quiet enable serial-getty@ttyS0.service
echo 'LANG=C.UTF-8' | write /etc/default/locale

# --- boot loader -------------------------------------------------------------------------------------------------------------------
# What grub-install would copy, so that a grub.cfg written by update-grub finds its modules on either firmware.
for platform in i386-pc x86_64-efi; do
	mkdir -p "$root/boot/grub/$platform"
	cp "$root/usr/lib/grub/$platform"/*.mod "$root/usr/lib/grub/$platform"/*.lst "$root/boot/grub/$platform/"
done
mkdir -p "$root/boot/grub/fonts"
cp "$root/usr/share/grub/unicode.pf2" "$root/boot/grub/fonts/"
in_root grub-editenv /boot/grub/grubenv create
kernel=$(in_root sh -c 'ls /boot/vmlinuz-* | sort -V | tail -n 1')
version=${kernel#/boot/vmlinuz-}
# The first grub.cfg; update-grub replaces it when a kernel is installed.
write /boot/grub/grub.cfg <<-END
	serial --unit=0 --speed=115200
	terminal_input console serial
	terminal_output console serial
	set default=0
	set timeout=0
	menuentry 'Debian GNU/Linux' {
		insmod part_gpt
		insmod ext2
		search --no-floppy --fs-uuid --set=root $ROOT_UUID
		linux /boot/vmlinuz-$version root=UUID=$ROOT_UUID ro $KERNEL_APPEND
		initrd /boot/initrd.img-$version
	}
END
write /tmp/early.cfg <<-END
	search.fs_uuid $ROOT_UUID root
	set prefix=(\$root)/boot/grub
END
in_root grub-mkimage -O i386-pc -p /boot/grub -c /tmp/early.cfg -o /tmp/core.img \
	biosdisk part_gpt ext2 search_fs_uuid normal configfile
mv "$root/tmp/core.img" "$out/core.img"
rm "$root/tmp/early.cfg"
cp "$root/usr/lib/grub/i386-pc/boot.img" "$out/boot.img"
cp "$root/usr/lib/shim/shimx64.efi.signed" "$out/shimx64.efi"
cp "$root/usr/lib/shim/mmx64.efi.signed" "$out/mmx64.efi"
cp "$root/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed" "$out/grubx64.efi"
# The signed GRUB looks for its first grub.cfg in /EFI/debian.
cat >"$out/grub.cfg" <<-END
	search.fs_uuid $ROOT_UUID root
	set prefix=(\$root)'/boot/grub'
	configfile \$prefix/grub.cfg
END

# --- for the host --------------------------------------------------------------------------------------------------------------------
cp "$root/boot/vmlinuz-$version" "$out/vmlinuz"
cp "$root/boot/initrd.img-$version" "$out/initrd.img"
cp "$root/usr/lib/os-release" "$out/os-release"
in_root dpkg-query -W -f '${Package} ${Version}\n' >"$out/packages"

# --- traces ----------------------------------------------------------------------------------------------------------------------------
rm -rf "$root"/var/log/apt "$root"/var/log/dpkg.log "$root"/var/log/alternatives.log "$root"/var/log/bootstrap.log \
	"$root"/var/cache/apt/*.bin "$root"/var/cache/debconf/*-old "$root"/var/lib/dpkg/*-old \
	"$root"/root/.bash_history "$root"/etc/passwd- "$root"/etc/group- "$root"/etc/shadow- "$root"/etc/gshadow-
mkdir -p "$root/var/log/apt"
