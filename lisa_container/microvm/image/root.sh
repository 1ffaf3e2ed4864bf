#!/bin/sh
# Make the disk of a root file system, in namespaces of its own and as their root.
# $1: the root file system, $2: a tar of files to put into it, $3: the user, $4: the folder with finish.sh.
# OUT, SIZE: as for finish.sh. SOURCE: a folder, or an archive if UNPACK is the command that extracts it.
set -eu
root=$1
clean_up() {
	umount -R "$root/dev" 2>/dev/null || :
	# Its files belong to ids that only these namespaces know.
	rm -rf --one-file-system "$root"
}
trap clean_up EXIT
if [ -n "$UNPACK" ]; then
	# shellcheck disable=SC2086 # words are wanted
	$UNPACK "$SOURCE" "$root"
else
	cp -a --reflink=auto "$SOURCE" "$root"
fi
missing=
while read -r path package; do
	[ -e "$root/$path" ] || [ -L "$root/$path" ] || missing="$missing $package"
done <<END
usr/bin/busybox busybox-static
usr/bin/perl perl-base
usr/bin/sudo sudo
usr/sbin/init systemd-sysv
usr/sbin/sshd openssh-server
usr/bin/ip iproute2
usr/bin/udevadm udev
END
if [ -n "$missing" ]; then
	echo "the root file system lacks packages that a virtual machine needs:$missing" >&2
	exit 1
fi
for folder in dev proc run sys tmp; do
	mkdir -p "$root/$folder"
done
mount --rbind /dev "$root/dev"
chroot "$root" tar -C / -x <"$2"
chroot "$root" env PATH=/usr/sbin:/usr/bin:/sbin:/bin sh /usr/lib/lisa-vm/prepare "$3"
umount -R "$root/dev"
sh "$4/finish.sh" "$root"
