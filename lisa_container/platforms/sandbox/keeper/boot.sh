#!/bin/sh
# First process of a node. It runs in the node's namespaces, but still sees the machine's files. It mounts
# the node's root file system, changes its root to it, and becomes the node's init.
#
# Environment: NODE (the node's folder: upper, work, docker, root, run), ROOTFS, ADDRESS (with prefix
# length), GATEWAY, HOST_NAME, CGROUPS (lines "folder:options"; version 2 has empty options).
# It prints its pid on the machine to stdout. Then it waits for a line on stdin, which comes when the node
# has its network interface.
set -eu

read -r pid _ </proc/self/stat
echo "$pid"
read -r _
exec >&2 </dev/null

root=$NODE/root

# "volatile" saves flushing to disk, because no file outlives the node. Old kernels do not have it.
layers="lowerdir=$ROOTFS,upperdir=$NODE/upper,workdir=$NODE/work"
mount -t overlay -o "$layers,volatile" node "$root" 2>/dev/null ||
	mount -t overlay -o "$layers" node "$root"

# Not a devtmpfs, because a node would share the machine's.
mkdir -p "$root/dev" "$root/proc" "$root/sys" "$root/run" "$root/tmp" "$root/var/lib/docker"
mount -t tmpfs -o mode=755,nosuid dev "$root/dev"
for device in null zero full random urandom tty fuse kvm kmsg loop-control; do
	[ ! -e "/dev/$device" ] || set -- "$@" "/dev/$device"
done
for device in /dev/loop[0-9]*; do
	[ ! -b "$device" ] || set -- "$@" "$device"
done
cp -a "$@" "$root/dev"
if [ -e /dev/net/tun ]; then
	mkdir "$root/dev/net"
	cp -a /dev/net/tun "$root/dev/net"
fi
mkdir "$root/dev/pts" "$root/dev/shm" "$root/dev/mqueue"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5,nosuid,noexec devpts "$root/dev/pts"
mount -t tmpfs -o mode=1777,nosuid,nodev shm "$root/dev/shm"
mount -t mqueue mqueue "$root/dev/mqueue"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
ln -s fd/0 "$root/dev/stdin"
ln -s fd/1 "$root/dev/stdout"
ln -s fd/2 "$root/dev/stderr"
# Output to the console must not appear on the machine's console.
ln -s null "$root/dev/console"

mount -t tmpfs -o mode=755,nosuid,nodev run "$root/run"
mkdir -m 1777 "$root/run/lock"
mkdir -m 700 "$root/run/sandbox"
cp "$NODE"/run/* "$root/run/sandbox"

# dockerd's data is on a real file system, because overlay2 does not work on an overlay.
mount --bind "$NODE/docker" "$root/var/lib/docker"

# /proc and /sys belong to the whole machine, except the network settings. They are read-only, so that a
# test cannot change the machine's settings or write to sysrq-trigger.
read_only() {
	mount --bind "$1" "$1"
	mount -o remount,bind,ro "$1"
}
writable() {
	mount --bind "$1" "$1"
	mount -o remount,bind,rw "$1"
}
mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
[ ! -e "$root/proc/sysrq-trigger" ] || read_only "$root/proc/sysrq-trigger"
read_only "$root/proc/sys"
writable "$root/proc/sys/net"
mount -t sysfs -o nosuid,nodev,noexec sysfs "$root/sys"
mount -o remount,bind,ro "$root/sys"
writable "$root/sys/devices/virtual/net"
# Rootless containers: the kernel lets a user namespace mount /proc and /sys only if it sees a complete
# one. systemd-nspawn does the same.
mkdir "$root/run/sandbox/proc" "$root/run/sandbox/sys"
mount -t proc -o nosuid,nodev,noexec proc "$root/run/sandbox/proc"
mount -t sysfs -o nosuid,nodev,noexec sysfs "$root/run/sandbox/sys"

# Mounted in the node's cgroup namespace, so the node sees only its own subtree.
cgroup=$root/sys/fs/cgroup
case "$CGROUPS" in
:) ;;
*) mount -t tmpfs -o mode=755,nosuid,nodev,noexec cgroup "$cgroup" ;;
esac
while IFS=: read -r folder options; do
	[ -z "$folder" ] || mkdir "$cgroup/$folder"
	if [ -n "$options" ]; then
		mount -t cgroup -o "nosuid,nodev,noexec,$options" cgroup "$cgroup/$folder"
		continue
	fi
	mount -t cgroup2 -o nosuid,nodev,noexec cgroup "$cgroup/$folder"
	# Version 2 enables controllers only for the children of a cgroup without processes.
	mkdir "$cgroup/$folder/init"
	echo $$ >"$cgroup/$folder/init/cgroup.procs"
	for controller in $(cat "$cgroup/$folder/cgroup.controllers"); do
		echo "+$controller" >"$cgroup/$folder/cgroup.subtree_control" || :
	done
done <<END
$CGROUPS
END

echo "$HOST_NAME" >/proc/sys/kernel/hostname
ip -batch - <<END
link set lo up
addr add $ADDRESS dev eth0
link set eth0 up
route add default via $GATEWAY
END

mkdir "$root/run/sandbox/machine"
cd "$root"
pivot_root . run/sandbox/machine
cd /
umount -l /run/sandbox/machine
rmdir /run/sandbox/machine
# Like systemd: otherwise later mounts of the node would not appear in a container that mounts its root.
mount --make-rshared /
exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
	/bin/sh /run/sandbox/init.sh
