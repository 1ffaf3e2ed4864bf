"""Program of a resident shell on a terminal, and the encoding of its requests.

The engine gives its exec a terminal, which the shell leads. So that a command sees what it would
see over SSH, each is a job of the shell: the leader of a process group that has the terminal in the
foreground. A child that was forked before the request came reads it, and becomes the command.

Input. The terminal stays as the kernel makes it, because changing it needs a program (stty) and
time. So the kernel reads the requests by lines and echoes them. A line has at most 4095 bytes
(termios(3)), and bytes with a meaning are quoted by ^V. The first character of a line says whether
it continues the former one. The runner drops the echo: all that comes before the mark `>`. In an
echo a token is not a token, because the kernel shows its first byte as `^^`. A probe is sent before
each command; its echo shows whether an earlier command changed the terminal.

Descriptors. 5 is the terminal. 2 is the terminal, too, but only for reading: bash needs it there
for job control, and the shells' own messages about jobs are lost.

Details. The child waits until it has the terminal in the foreground, because reading would stop it
before that. The shell waits for a stopped job until that was continued. After a command the kernel
sends SIGHUP to the foreground group of an SSH login's terminal; here the shell does, if something
of the group is left. bash ends when a job died of SIGINT, even if that is trapped, and tells the
command's end before. At the end of the input, which is ^D, or at a line that is no request, the
reader ends the shell.
"""

from __future__ import annotations

import re

from lisa_container.container.login import LOGIN, TERMINAL_TYPE
from lisa_container.container.session.script import CHECK_MARK, FIND_LEFT, FUNCTIONS, GREET

_READER = r"""
trap - INT EXIT
__k=0
while read -r __w __s </proc/self/stat; do
set -- ${__s##*) }
[ "$3" != "$6" ] || break
__k=$((__k + 1))
[ $__k -lt 9999 ] || exit
done
set --
exec 2>&5 5>&-
{ ulimit -Sw $__y$__w || ulimit -Sx $__y$__w; } 2>/dev/null
while :; do
read -r __l || { kill -9 $$; exit; }
case $__l in "$__t?") echo "$__l" ;; "$__t") break ;; *) kill -9 $$; exit ;; esac
done
__s=
while :; do
IFS= read -r __l || { kill -9 $$; exit; }
case $__l in .*) __s=$__s$__q${__l#.} ;; +*) __s=$__s${__l#+} ;; *) break ;; esac
done
__h
echo "$__t>$__w$__z"
eval "unset __b __c __d __e __f __g __i __j __k __l __n __p __q __r __s __t __u __v __w __x __y __z
$__s"
"""

_SHELL = (
    r"""
set -m
case $- in *m*) ;; *) exit 97 ;; esac
unset SHLVL OLDPWD lisa_container_shell
trap : INT
trap '[ ! "$__r" ] || printf "%s-130 0\n" "$__t"' EXIT
exec 5>&2 2</dev/tty
"""
    + CHECK_MARK
    + LOGIN
    + FUNCTIONS
    + GREET
    + r"""
__q="
" __u= __r=
{ ulimit -Sw ${__y}0 || ulimit -Sx ${__y}0; } && [ -r /proc/self/limits ] || __u=1
while :; do
read -r __b __b __b __b __b </proc/loadavg
("""
    + _READER
    + r""") &
__p=$! __r=1
fg >/dev/null
__c=$? __r= __k=
while read -r __s <"/proc/$__p/stat"; do
set -- ${__s##*) }
case $1 in T) __k=1; sleep 1 ;; *) __k=; fg >/dev/null; __c=$? ;; esac
done
[ ! "$__k" ] || { wait $__p; __c=$?; }
"""
    + FIND_LEFT
    + r"""
[ $__n = 0 ] || kill -HUP -$__p
__h
printf "%s-%s %s\n" "$__t" $__c "$__n$__z"
done
"""
)

TERMINAL_ENVIRONMENT = {"lisa_container_shell": _SHELL, "TERM": TERMINAL_TYPE}
"""Environment of the shell; its command line is that of `script.SHELL`."""

# Largest number of bytes of a request in one line.
_LONGEST_LINE = 1000
# Bytes that a terminal acts on, and ^V, which quotes the next byte.
_SPECIAL, _QUOTE = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]"), b"\x16"
# ^U, which deletes a line, and what the kernel shows for a character and ^U.
_KILL, _KILL_ECHO = b"x\x15", b"x\b \b"

END = b"\x04\n"
"""Input that ends the shell: ^D, or a line that is no request if a command changed the terminal."""


def encode_lines(text: bytes) -> bytes:
    """Return the text of a request in lines for the terminal."""
    lines = []
    for line in text.split(b"\n"):
        pieces = [line[i : i + _LONGEST_LINE] for i in range(0, len(line), _LONGEST_LINE)] or [b""]
        quoted = [_SPECIAL.sub(lambda found: _QUOTE + found.group(), piece) for piece in pieces]
        lines.append(b"." + b"\n+".join(quoted) + b"\n")
    return b"".join(lines)


def check(probe: bytes) -> tuple[bytes, bytes]:
    """Return a probe that finds out how the terminal treats input, and its echo if it is unchanged.

    Args:
        probe: The session's probe, a line that begins with a byte which is shown as `^^`.
    """
    return _KILL + probe, _KILL_ECHO + b"^^" + probe[1:-1] + b"\r\n"
