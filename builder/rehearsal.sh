#!/bin/sh
# The user data of an instance in Ingot's rehearsal: it tells on the serial console what it finds. Twice, for the kernel may write in between.
nonce=@NONCE@
key=@KEY@
tell() {
	printf '\r\n%s:%s=%s:%s\r\n' "$nonce" "$1" "$(printf '%s' "$2" | tr '\r\n' '  ')" "$nonce" >/dev/ttyS0
}
users=
while IFS=: read -r name _ _ _ _ home _; do
	if grep -qF "$key" "$home/.ssh/authorized_keys" 2>/dev/null; then
		# cloud-init lets root in only to be told who may.
		grep -F "$key" "$home/.ssh/authorized_keys" | grep -q command= || users="$users $name"
	fi
done </etc/passwd
ssh=no
grep -qi ':0016 .* 0A ' /proc/net/tcp /proc/net/tcp6 2>/dev/null && ssh=yes
set -- $(df -Pk / | tail -n 1)
for round in 1 2; do
	printf '<1>%s:kmsg=yes:%s\n' "$nonce" "$nonce" >/dev/kmsg
	printf '\r\n%s:console=yes:%s\r\n' "$nonce" "$nonce" >/dev/console
	tell datasource "$(head -n 1 /var/lib/cloud/instance/datasource 2>/dev/null)"
	tell users "$users"
	tell ssh "$ssh"
	tell device "$1"
	tell rootkib "$2"
	tell consoles "$(cat /sys/class/tty/console/active 2>/dev/null)"
	tell user "$(id -u)"
	sleep 1
done
tell done yes
