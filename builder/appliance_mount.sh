# Mounts the file system of type $1 on /dev/sda at $2, as it is: read-only, and without a replay of its journal.
# What is wrong is told on the standard error in a few lines.
set -u
type=$1 at=$2
export LC_ALL=C
for try in $(seq 300); do
	[ -b /dev/sda ] && break
	sleep 0.02
done
if ! [ -b /dev/sda ]; then
	echo "the guest does not see the disk" >&2
	exit 1
fi
case $type in
xfs) options=norecovery,nouuid ;;
btrfs) options=rescue=nologreplay,subvolid=5 ;; # with all subvolumes in their places
*) options=noload ;;
esac
options=ro,nosuid,nodev,noexec,noatime,$options

dmesg --clear
if ! wrong=$(mount -t "$type" -o "$options" /dev/sda "$at" 2>&1); then
	# The kernel says more than mount does.
	kernel=$(dmesg --notime --level=emerg,alert,crit,err,warn | grep -i sda | grep -v -e 'First 128 bytes' -e 'Unmount and run' | tail -n 3)
	printf '%s\n' "${kernel:-${wrong%%$'\n'*}}" >&2
	exit 1
fi
