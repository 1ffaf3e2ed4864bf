#!/bin/sh
# A machine of the test's own, in new namespaces: the same files as this machine's, but what is written
# to them can be seen; its own network, whose world is another namespace; its own processes and /run.
#
# Arguments: an empty folder on this machine, then what to run. In the environment: BIND, folders that
# must be there whatever file system they are on; SETUP, shell commands to run first.
set -eu

base=$1
shift
# An overlay's upper folder must not be inside its lower one.
mount -t tmpfs -o mode=755 machine "$base"
mkdir "$base/upper" "$base/work" "$base/root"
mount -t overlay -o "lowerdir=/,upperdir=$base/upper,workdir=$base/work" machine "$base/root"
root=$base/root
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount --rbind /sys/fs/cgroup "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 run "$root/run"
mount -t tmpfs -o mode=1777 tmp "$root/tmp"
for folder in $BIND; do
	mkdir -p "$root$folder"
	mount --bind "$folder" "$root$folder"
done
mkdir -p "$root/run/upper"
mount --bind "$base/upper" "$root/run/upper"

# The world: another namespace at the other end of a cable.
unshare --net sleep infinity &
world=$!
until [ "$(readlink /proc/$world/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.01; done
ip link set lo up
ip link add cable mtu 1400 type veth peer name end mtu 1400 netns "$world"
# Without the address that an interface gives itself after a while.
ip link set cable addrgenmode none
ip addr add 203.0.113.2/24 dev cable
ip link set cable up
ip route add default via 203.0.113.1
nsenter --target "$world" --net ip -batch - <<END
link set lo up
addr add 203.0.113.1/24 dev end
link set end up
END
export WORLD=$world

eval "${SETUP:-}"
# Not chroot: the root of the mount namespace must be this machine's, too.
mkdir "$root/run/outside"
cd "$root"
pivot_root . run/outside
cd /
umount -l /run/outside
rmdir /run/outside
exec "$@"
