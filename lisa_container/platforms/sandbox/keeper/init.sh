#!/bin/sh
# pid 1 of a node. Creates the users, starts the daemons, and reaps orphaned processes.
set -u

cd /run/sandbox || exit 1
. ./settings
rm settings

# First, because it takes longest. The init script is preferred, so that `service docker` works.
# dockerd starts itself anew three times for each container on its default network. A quarter of that
# processor time is Go's garbage collection, which may wait for more garbage (100 is the default).
start_docker() (
	export GOGC=400
	if [ -x /etc/init.d/docker ]; then
		/etc/init.d/docker start
	else
		setsid dockerd >>/var/log/docker.log 2>&1 &
	fi
)
[ -z "$START_DOCKER" ] || start_docker

make_user() {
	id "$1" >/dev/null 2>&1 || useradd --create-home --shell "$(command -v bash || echo /bin/sh)" "$1"
	[ -z "$DOCKER_GROUP" ] || usermod --append --groups docker "$1"
	home=$(eval "echo ~$1")
	mkdir -p -m 700 "$home/.ssh"
	echo "$AUTHORIZED_KEY" >"$home/.ssh/authorized_keys"
	chown -R "$1:" "$home/.ssh"
}
make_user "$USER_NAME"
make_user "$PASSWORD_USER_NAME"
echo "$PASSWORD_USER_NAME:$PASSWORD" | chpasswd
unset PASSWORD

rm -f /etc/ssh/ssh_host_*
ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
mkdir -p -m 755 /run/sshd
# Since version 9.8, sshd blocks the machine for a while after a failed login, which some tests cause.
if "$(command -v sshd)" -t -o PerSourcePenalties=no 2>/dev/null; then
	sed -i '1i PerSourcePenalties no' /etc/ssh/sshd_config
fi
start_sshd() {
	if [ -x /etc/init.d/ssh ]; then
		/etc/init.d/ssh start
	else
		"$(command -v sshd)"
	fi
}
# A node without sshd is of no use, so fail at once.
start_sshd || exit 1

# Orphans become children of pid 1; the shell's `wait` reaps them.
while :; do
	sleep 86400 &
	wait
done
