#!/bin/busybox sh
# First process of a VM: loads the modules of the disk, mounts it, and starts the guest's init.
export PATH=/bin
alias mount='busybox mount' insmod='busybox insmod'
mount -t devtmpfs dev /dev
mount -t proc proc /proc
echo "lisa-vm: initrd"
for module in /lib/*.ko; do
	[ ! -e "$module" ] || insmod "$module" || echo "lisa-vm: $module could not be loaded"
done
root=/dev/vda
init=/sbin/init
for word in $(busybox cat /proc/cmdline); do
	case $word in
	root=*) root=${word#root=} ;;
	init=*) init=${word#init=} ;;
	esac
done
# Drivers find their devices a little later.
tries=0
until [ -b "$root" ] || [ "$tries" = 200 ]; do
	busybox usleep 20000
	tries=$((tries + 1))
done
if ! mount -t ext4 -o rw "$root" /root; then
	echo "lisa-vm: the disk $root could not be mounted; block devices: $(busybox ls /sys/class/block 2>/dev/null)"
	# The kernel panics when its first process ends.
	exit 1
fi
mount --move /dev /root/dev
busybox umount /proc
exec busybox switch_root /root "$init"
