"""Terminal and user variables that an SSH login gives to a command.

LISA asks for a terminal on every remote node. paramiko's `get_pty`, which LISA's shell uses, asks
for one of this type and size. sshd(8) sets USER, LOGNAME, HOME and SHELL from passwd(5).
"""

from __future__ import annotations

TERMINAL_TYPE = "vt100"
TERMINAL_SIZE = (24, 80)
"""Rows and columns."""

# The engine reads its key sequence for "detach" from the stdin of a terminal's command. A command
# must get all bytes, so the sequence is one that hardly comes.
DETACH_KEYS = "ctrl-@,ctrl-@,ctrl-@,ctrl-@"

# Lines for `sh`. They keep variables that the image or the config has set. A user without a line in
# /etc/passwd has none of them. The real uid is the first number of "Uid:" (proc(5)).
LOGIN = r"""
{
while read -r __a __b __c; do
case $__a in Uid:) break ;; esac
done </proc/self/status
while IFS=: read -r __c __d __e __f __g __h __i; do
[ "$__e" = "${__b%%[!0-9]*}" ] || continue
export USER="${USER-$__c}" LOGNAME="${LOGNAME-$__c}" HOME="${HOME-$__h}"
export SHELL="${SHELL-${__i:-/bin/sh}}"
break
done </etc/passwd
} 2>/dev/null
unset __a __b __c __d __e __f __g __h __i
"""
