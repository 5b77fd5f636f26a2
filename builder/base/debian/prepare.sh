#!/bin/sh
# Writes into the Debian tree $1 what the installation of the kernel looks at, so that its initramfs is made once and right.
set -eu
root=$1
. "$INGOT_WORK/settings"

# Disks by UUID, whatever the bus calls them (R4). fsck gets into the initramfs because of the root line.
cat >"$root/etc/fstab" <<-END
	UUID=$ROOT_UUID / ext4 errors=remount-ro 0 1
	UUID=$ESP_UUID /boot/efi vfat umask=0077,nofail 0 2
END
chmod 0644 "$root/etc/fstab"
mkdir -p "$root/boot/efi" "$root/etc/initramfs-tools/conf.d"
# Every driver, not just those of the machine that runs update-initramfs (R1).
cat >"$root/etc/initramfs-tools/conf.d/generic" <<-END
	MODULES=most
	RESUME=none
END
chmod 0644 "$root/etc/initramfs-tools/conf.d/generic"
