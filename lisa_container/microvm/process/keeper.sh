#!/bin/bash
# Run QEMU until the runner closes standard input, which the kernel also does when the runner is
# killed. Then kill QEMU and remove its folder, unless the runner has said "keep".
#
# usage: bash keeper.sh FOLDER SOCKETS LISTENERS SERVERS PROGRAM ARGUMENTS…
#
# SOCKETS are the descriptors of QEMU's connections. The keeper closes its copies, so that the
# runner sees the end of QEMU. Other shells close only descriptors below 10. SERVERS are command
# lines of programs that serve folders to QEMU, and LISTENERS are the descriptors of their sockets.
folder=$1
sockets=$2
listeners=$3
servers=$4
shift 4

close() {
	for descriptor in $1; do
		exec {descriptor}>&-
	done
}

# Should this shell be killed, the kernel kills its children; the next VM removes the folder.
start() {
	exec setpriv --pdeathsig KILL "$@" </dev/null >>"$folder/qemu.log" 2>&1
}

while read -r server; do
	if [ "$server" ]; then
		(close "$sockets" && eval "start $server") &
	fi
done <<<"$servers"
# A server that has failed refuses QEMU's connection.
close "$listeners"
(start "$@") &
qemu=$!
close "$sockets"
echo "$qemu"
exec >/dev/null 2>&1
read -r order
kill -s KILL "$qemu"
wait "$qemu"
# A server forwards this signal to its child; most have ended with QEMU.
# shellcheck disable=SC2046 # one pid a word
kill -s TERM $(jobs -p)
wait
[ "$order" = keep ] || rm -rf "$folder"
