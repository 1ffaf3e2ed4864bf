#!/bin/sh
# Run QEMU until the runner closes standard input, which the kernel also does when the runner is
# killed. Then kill QEMU and remove its folder.
#
# usage: sh keeper.sh FOLDER PROGRAM ARGUMENTS…
folder=$1
shift
# Should this shell be killed, the kernel kills QEMU; the next VM removes the folder.
setpriv --pdeathsig KILL "$@" </dev/null >"$folder/qemu.log" 2>&1 &
qemu=$!
echo "$qemu"
exec >/dev/null 2>&1
read -r _
kill -s KILL "$qemu"
wait
rm -rf "$folder"
