#!/bin/bash
# Run in the guest as root, last of all: makes an image out of an instance. It does what EC2 Image Builder's own sanitize
# script does, honours the same skip_cleanup_* markers in the working directory, and closes that script's gaps: the
# machine-id is emptied and not only touched; histories, package caches, seeds, logins and temporary files go too.
#
# Files are removed, not shredded: the trim at the end gives their blocks back, and what is trimmed is not exported.
set -u
work=${1:-/tmp}

# Every home, wherever it is.
mapfile -t homes < <(getent passwd | cut -d: -f6 | sort -u | while read -r home; do [ -d "$home/." ] && [ "$home" != / ] && echo "$home"; done)

# The markers are looked at first of all, since they go with the other temporary files.
markers=" $(cd "$work" 2>/dev/null && echo skip_cleanup_*) "
kept() { [[ $markers == *" skip_cleanup_$1 "* ]]; }

# Services whose stopping would write again what is removed below.
for unit in systemd-random-seed.service systemd-update-utmp.service chrony.service chronyd.service systemd-timesyncd.service \
	syslog.socket rsyslog.service apt-daily.timer apt-daily-upgrade.timer; do
	systemctl stop "$unit" 2>/dev/null
done
# auditd refuses to be stopped through systemctl.
command -v auditctl >/dev/null && service auditd stop >/dev/null 2>&1
journalctl --relinquish-var 2>/dev/null

if ! kept cloudinit_files; then
	rm -f /etc/sudoers.d/90-cloud-init-users /etc/locale.conf
	rm -f /var/log/cloud-init.log /var/log/cloud-init-output.log
	rm -rf /var/lib/cloud/*
	rm -f /etc/netplan/50-cloud-init.yaml /etc/network/interfaces.d/50-cloud-init /etc/systemd/network/10-cloud-init-*.network
	rm -f /etc/ssh/sshd_config.d/50-cloud-init.conf
fi

if ! kept instance_files; then
	rm -f /etc/.updated /var/.updated /etc/aliases.db /etc/hostname
	rm -f /var/lib/misc/postfix.aliasesdb-stamp /var/lib/postfix/master.lock /var/spool/postfix/pid/master.pid
	rm -f /var/cache/yum/x86_64/2/.gpgkeyschecked.yum
	rm -f /etc/udev/rules.d/70-persistent-net.rules /etc/udev/rules.d/75-persistent-net-generator.rules
fi

if ! kept ssh_files; then
	rm -f /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub
	for home in "${homes[@]}"; do
		rm -f "$home"/.ssh/authorized_keys "$home"/.ssh/authorized_keys2 "$home"/.ssh/known_hosts
	done
fi

if ! kept instance_log_files; then
	# Log files of services stay, empty: some programs refuse to make theirs again.
	find /var/log -type f \( -name '*.gz' -o -name '*.xz' -o -name '*.[0-9]' -o -name '*.old' -o -name '*-[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9]' \) -delete
	find /var/log -type f -exec truncate -s 0 {} +
	rm -f /var/log/wtmp /var/log/btmp /var/log/lastlog /var/log/boot.log /var/log/dmesg /var/log/cron
	rm -f /var/log/sa/sa*
fi
rm -rf /var/log/journal/*

if ! kept toe_files; then
	rm -rf "$work"/TOE_* /var/lib/amazon/toe
fi
if ! kept ssm_log_files; then
	rm -rf /var/log/amazon/ssm
fi

# Identity and seeds. An empty machine-id is made anew at the next boot (machine-id(5)).
: >/etc/machine-id
[ -L /var/lib/dbus/machine-id ] || rm -f /var/lib/dbus/machine-id
rm -f /var/lib/systemd/random-seed /boot/efi/loader/random-seed /boot/loader/random-seed /var/lib/systemd/credential.secret
rm -f /var/lib/urandom/random-seed /var/lib/chrony/* /var/lib/systemd/timesync/clock
rm -f /var/lib/dhcp/*.leases /var/lib/dhclient/*.lease /var/lib/NetworkManager/*.lease /var/lib/NetworkManager/secret_key
rm -f /var/lib/rsyslog/imjournal.state /var/lib/logrotate/status /var/lib/systemd/timers/stamp-*

# Histories and caches of people and package managers.
for home in "${homes[@]}"; do
	rm -f "$home"/.*_history "$home"/.lesshst "$home"/.viminfo "$home"/.wget-hsts "$home"/.sudo_as_admin_successful
	rm -rf "$home"/.cache
done
if command -v apt-get >/dev/null; then
	apt-get clean
	rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/debconf/*-old /var/lib/dpkg/*-old
	rm -f /var/log/apt/* /var/log/dpkg.log /var/log/alternatives.log
	mkdir -p /var/lib/apt/lists/partial
fi
command -v dnf >/dev/null && dnf -q clean all
command -v yum >/dev/null && rm -rf /var/cache/yum/*
command -v zypper >/dev/null && zypper -q clean --all
rm -rf /var/crash/* /var/lib/systemd/coredump/*

# Temporary files. Of a working directory of the recipe's own only what the service makes there is ours to remove.
find /tmp /var/tmp -xdev -mindepth 1 -delete 2>/dev/null
rm -f "$work"/skip_cleanup_* "$work"/perform_cleanup

# What the service's script calls a failure, and what an image must never carry.
status=0
if ! kept ssh_files; then
	for path in /etc/ssh/ssh_host_*_key "${homes[@]/%//.ssh/authorized_keys}"; do
		[ -e "$path" ] && { echo "could not remove $path" >&2; status=1; }
	done
fi
[ -s /etc/machine-id ] && { echo "could not empty /etc/machine-id" >&2; status=1; }

sync
fstrim --all || { echo "could not trim the file systems" >&2; status=1; }
exit $status
