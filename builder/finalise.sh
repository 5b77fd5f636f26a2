#!/bin/bash
# Run in the guest as root, last of all: makes an image out of an instance. It does what EC2 Image Builder's own sanitize
# script does, honours the same skip_cleanup_* markers in the working directory, and closes that script's gaps: the
# machine-id is emptied and not only touched; histories, package caches, seeds, logins and temporary files go too.
#
# Files are removed, not shredded: the trim at the end gives their blocks back, and what is trimmed is not exported.
#
# In an emulated guest each program that is started costs a tenth of a second, and systemctl more than two. So what goes is
# gathered first and removed by one rm, and bash does by itself what it can.
set -u
shopt -s nullglob dotglob
work=${1:-/tmp}

# The markers are looked at first of all, since they go with the other temporary files.
markers=" $(cd "$work" 2>/dev/null && echo skip_cleanup_*) "
kept() { [[ $markers == *" skip_cleanup_$1 "* ]]; }
has() { type -P "$1" >/dev/null; }

# Every home, wherever it is.
declare -A homes=()
while IFS=: read -r _ _ _ _ _ home _; do
	[[ -n $home && $home != / && -d $home/. ]] && homes[$home]=1
done < <(getent passwd)

# What is to go: anything, or only what is no folder.
gone=()
any() { gone+=("$@"); }
files() {
	local path
	for path; do [[ -d $path && ! -L $path ]] || gone+=("$path"); done
}

# Services whose stopping would write again what is removed below.
systemctl --quiet stop systemd-random-seed.service systemd-update-utmp.service chrony.service chronyd.service systemd-timesyncd.service \
	syslog.socket rsyslog.service apt-daily.timer apt-daily-upgrade.timer 2>/dev/null
# auditd refuses to be stopped through systemctl.
has auditctl && service auditd stop >/dev/null 2>&1
journalctl --relinquish-var 2>/dev/null

if ! kept cloudinit_files; then
	files /etc/sudoers.d/90-cloud-init-users /etc/locale.conf
	files /var/log/cloud-init.log /var/log/cloud-init-output.log
	any /var/lib/cloud/*
	files /etc/netplan/50-cloud-init.yaml /etc/network/interfaces.d/50-cloud-init /etc/systemd/network/10-cloud-init-*.network
	files /etc/ssh/sshd_config.d/50-cloud-init.conf
fi

if ! kept instance_files; then
	files /etc/.updated /var/.updated /etc/aliases.db /etc/hostname
	files /var/lib/misc/postfix.aliasesdb-stamp /var/lib/postfix/master.lock /var/spool/postfix/pid/master.pid
	files /var/cache/yum/x86_64/2/.gpgkeyschecked.yum
	files /etc/udev/rules.d/70-persistent-net.rules /etc/udev/rules.d/75-persistent-net-generator.rules
fi

if ! kept ssh_files; then
	files /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub
	for home in "${!homes[@]}"; do
		files "$home"/.ssh/authorized_keys "$home"/.ssh/authorized_keys2 "$home"/.ssh/known_hosts
	done
fi

if ! kept instance_log_files; then
	# Log files of services stay, empty: some programs refuse to make theirs again.
	while IFS= read -r -d '' log; do
		: >"$log"
	done < <(find /var/log -type f \( \( -name '*.gz' -o -name '*.xz' -o -name '*.[0-9]' -o -name '*.old' -o \
		-name '*-[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9]' \) -delete -o -size +0 -print0 \))
	files /var/log/wtmp /var/log/btmp /var/log/lastlog /var/log/boot.log /var/log/dmesg /var/log/cron
	files /var/log/sa/sa*
fi
any /var/log/journal/*

if ! kept toe_files; then
	any "$work"/TOE_* /var/lib/amazon/toe
fi
if ! kept ssm_log_files; then
	any /var/log/amazon/ssm
fi

# Identity and seeds. An empty machine-id is made anew at the next boot (machine-id(5)).
: >/etc/machine-id
[[ -L /var/lib/dbus/machine-id ]] || files /var/lib/dbus/machine-id
files /var/lib/systemd/random-seed /boot/efi/loader/random-seed /boot/loader/random-seed /var/lib/systemd/credential.secret
files /var/lib/urandom/random-seed /var/lib/chrony/* /var/lib/systemd/timesync/clock
files /var/lib/dhcp/*.leases /var/lib/dhclient/*.lease /var/lib/NetworkManager/*.lease /var/lib/NetworkManager/secret_key
files /var/lib/rsyslog/imjournal.state /var/lib/logrotate/status /var/lib/systemd/timers/stamp-*

# Histories and caches of people and package managers.
for home in "${!homes[@]}"; do
	files "$home"/.*_history "$home"/.lesshst "$home"/.viminfo "$home"/.wget-hsts "$home"/.sudo_as_admin_successful
	any "$home"/.cache
done
if has apt-get; then
	# What apt-get clean removes, unless APT is told to keep it elsewhere.
	any /var/cache/apt/archives/*.deb /var/cache/apt/archives/partial/* /var/cache/apt/*.bin
	for conf in /etc/apt/apt.conf /etc/apt/apt.conf.d/*; do
		[[ -f $conf ]] && mapfile -t lines <"$conf" && [[ ${lines[*]-} == *[Dd][Ii][Rr]* ]] && { apt-get clean; break; }
	done
	for list in /var/lib/apt/lists/*; do
		[[ $list == */partial ]] && any "$list"/* || any "$list"
	done
	any /var/cache/debconf/*-old /var/lib/dpkg/*-old
	files /var/log/apt/* /var/log/dpkg.log /var/log/alternatives.log
fi
has dnf && dnf -q clean all
has yum && any /var/cache/yum/*
has zypper && zypper -q clean --all
any /var/crash/* /var/lib/systemd/coredump/*

# Of a working directory of the recipe's own only what the service makes there is ours to remove.
files "$work"/skip_cleanup_* "$work"/perform_cleanup

for ((i = 0; i < ${#gone[@]}; i += 500)); do
	rm -rf -- "${gone[@]:i:500}"
done
find /tmp /var/tmp -xdev -mindepth 1 -delete 2>/dev/null

# What the service's script calls a failure, and what an image must never carry.
status=0
if ! kept ssh_files; then
	left=(/etc/ssh/ssh_host_*_key)
	for home in "${!homes[@]}"; do
		left+=("$home/.ssh/authorized_keys")
	done
	for path in "${left[@]}"; do
		[[ -e $path ]] && { echo "could not remove $path" >&2; status=1; }
	done
fi
[[ -s /etc/machine-id ]] && { echo "could not empty /etc/machine-id" >&2; status=1; }

# Blocks are free to be trimmed when what freed them is on the disk.
sync
fstrim --all || { echo "could not trim the file systems" >&2; status=1; }
exit $status
