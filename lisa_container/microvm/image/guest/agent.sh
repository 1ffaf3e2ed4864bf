#!/bin/sh
# Guest side of a VM's control channel, the second serial port. The host sends scripts, each ended by a
# line with a single dot; the answer to each is a line with the exit code.
exec </dev/ttyS1 >/dev/ttyS1 2>/dev/console
stty raw -echo
printf 'ready\n'
script=
while IFS= read -r line; do
	if [ "$line" = . ]; then
		(eval "$script") >/dev/console </dev/null
		printf 'done %d\n' "$?"
		script=
	else
		script="$script$line
"
	fi
done
