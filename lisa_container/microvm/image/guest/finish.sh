#!/bin/sh
# Hook of mmdebstrap, outside of the root file system: copy the kernel's files and make the disk.
# $1: the root file system. OUT: folder of the results, with the empty file disk.raw; SIZE: of the disk.
set -eu
for kernel in "$1"/boot/vmlinuz-*; do
	[ -e "$kernel" ] || continue
	cat "$kernel" >"$OUT/kernel"
	cat "$1/boot/config-${kernel##*/vmlinuz-}" >"$OUT/config"
done
mkdir -p "$1/usr/lib/modules"
tar -C "$1/usr/lib/modules" -cf "$OUT/modules.tar" .
cat "$1/usr/bin/busybox" >"$OUT/busybox"
# The root file system has /proc, /sys and /dev mounted; a bind mount shows what is below them.
mkdir "$1/mnt/root"
# shellcheck disable=SC2016 # the inner shell expands it
unshare --mount sh -c 'mount --bind "$1" "$1/mnt/root" && cd / &&
	mke2fs -q -F -t ext4 -L root -d "$1/mnt/root" "$OUT/disk.raw" "$SIZE"' sh "$1"
