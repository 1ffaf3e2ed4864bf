#!/bin/bash
# Run QEMU until the runner closes standard input, which the kernel also does when the runner is
# killed. Then kill QEMU and remove its folder.
#
# usage: bash keeper.sh FOLDER SOCKETS PROGRAM ARGUMENTS…
#
# SOCKETS are the descriptors of QEMU's connections. The keeper closes its copies, so that the
# runner sees the end of QEMU. Other shells close only descriptors below 10.
folder=$1
sockets=$2
shift 2
# Should this shell be killed, the kernel kills QEMU; the next VM removes the folder.
setpriv --pdeathsig KILL "$@" </dev/null >"$folder/qemu.log" 2>&1 &
qemu=$!
for socket in $sockets; do
	exec {socket}>&-
done
echo "$qemu"
exec >/dev/null 2>&1
read -r _
kill -s KILL "$qemu"
wait
rm -rf "$folder"
