"""What the resident shell and we say to each other.

The shell (any POSIX `sh` with `setsid` beside it) runs a worker at a time. A worker leads a session
and process group of its own, was started before the request came, and reads it. It then does one of
two things:

- it becomes the command, which therefore leads its group, and the shell starts the next worker;
- where nobody can tell the difference, its child becomes the command, and the worker stays. Its
  child was forked before the request came, and reads it; so a trivial command costs the start of
  its own program and little else. A command that leaves processes behind takes the worker with
  it, so that no two commands share a group. Whether it may have left some, the kernel tells at
  once: /proc/loadavg ends with the number of the process made last (proc(5)), so all that it can
  have left are among the few made since.

Marks begin with a token that nobody can guess; it reaches the shell and its workers by their stdin,
since commands can read what is in /proc:

    stdout   <token>?            the answer to that: shell and worker are there
             <token>><pid>       the worker has the whole request, and this pid in the container;
                                 from here on the command may have run
             …                   the command's own bytes
             <token>!            there is no such working directory; nothing was run
             <token>-<code> <n>  it ended with this exit code; n is 1 if it left processes behind
    stderr   …                   the command's own bytes
             <token>-            it ended
"""

from __future__ import annotations

import os
import re
import secrets
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

# Descriptor 3 takes the worker's pid past its output; 4 and 5 are the real stdout and stderr (on
# its own stderr a shell would report a command that was killed). The worker is no background job,
# which would have SIGINT ignored. It outlives what its command does to the group by traps, which a
# child does not inherit. Its first request, which tells it the token, it takes itself; later ones
# its child takes, and gives one that the worker shall take back by SIGURG, which nobody else sends.
# At the end of stdin (we are gone) whoever reads ends the shell and the worker. `b` and `e`: the
# newest process before and after; one at least was made, else the kernel does not tell (gVisor).
# `kill -0 -PID` is the one form that dash, busybox and bash all know. bash sends itself the SIGINT
# a command died of: the trap outlives it. SHLVL and OLDPWD would tell the command that shells were
# here before it.
_SHELL = """
command -v setsid >/dev/null || exit 97
unset SHLVL OLDPWD lisa_container_shell
trap : INT
export lisa_container_worker='unset lisa_container_worker
echo $$ >&3
exec 3>&- 5>&2 2>/dev/null
__m= __k=
while read -r __t || kill -9 $PPID $$; do
case $__t in *\\?) echo "$__t" ;; *) break ;; esac
done
case $__t in *+) __t=${__t%+} ;; *) __m=1 ;; esac
trap : HUP INT QUIT ABRT USR1 USR2 PIPE ALRM TERM
trap __m=1 URG
while [ ! "$__m" ]; do
read -r __b __b __b __b __b </proc/loadavg
(exec 2>&5 5>&-
while [ "$__k" ]; do
read -r __l || kill -9 $PPID $$
case $__l in "$__t?") echo "$__l" ;; "$__t+") break ;; *) kill -URG $$; exit ;; esac
done
__s=
while IFS= read -r __l || { kill -9 $PPID $$; exit; }; do
[ "$__l" != "$__t" ] || break
__s=$__s$__l"
"
done
echo "$__t>$$"
exec </dev/null
eval "unset __b __c __e __k __l __m __s __t
$__s")
__c=$?
[ ! "$__m" ] || break
__k=1
read -r __e __e __e __e __e </proc/loadavg
[ "$__e" -gt "$__b" ] && [ "$__e" -lt $((__b + 99)) ] || exit $__c
while [ $__b != $__e ]; do
__b=$((__b + 1))
[ ! -e /proc/$__b ] || exit $__c
done
echo "$__t-" >&5
echo "$__t-$__c 0"
done
trap - HUP INT QUIT ABRT USR1 USR2 PIPE ALRM TERM URG
__s=
while IFS= read -r __l || kill -9 $PPID $$; do
[ "$__l" != "$__t" ] || break
__s=$__s$__l"
"
done
exec 2>&5 5>&-
echo "$__t>$$"
eval "unset __b __c __e __k __l __m __s __t
$__s"'
exec 4>&1 5>&2 2>/dev/null
read -r __t
while :; do
__p=$(exec setsid sh -c 'eval "$lisa_container_worker"' 3>&1 >&4 2>&5 4>&- 5>&-)
__c=$?
if kill -0 -$__p; then __n=1; else __n=0; fi
printf "%s-\\n" "$__t" >&5
printf "%s-%s %s\\n" "$__t" $__c $__n
done
"""
# The shell's words and environment. A list of processes shows the words only, so they are short.
SHELL = ["sh", "-c", 'eval "$lisa_container_shell"']
SHELL_ENVIRONMENT = {"lisa_container_shell": _SHELL}

# A longer request takes the shell too long to read; the kernel itself allows no argument longer
# than four times this (MAX_ARG_STRLEN, execve(2)).
LONGEST_REQUEST = 32 * 1024
# A stdin (bytes) up to which it goes within the request.
LONGEST_STDIN = 4 * 1024

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Names a shell keeps for itself: set in it, they would mean something else.
_RESERVED = {"IFS", "PPID", "OPTIND", "LINENO", "UID", "EUID", "SHELLOPTS", "BASHOPTS"}

# What would notice that it is not the leader of its group: a text with the shell's own pid, or with
# what may have it or handles signals; and setsid(1), which forks only where it leads.
_NEEDS_LEAD = re.compile(
    r"\$\$|\$\{\$"
    r"|(?:^|[;&|({\n`!]|\b(?:if|then|elif|else|while|until|do)\s)\s*\.\s"
    r"|(?<![^\s;&|(){}`!])(?:source|eval|trap|setsid)(?!\S)"
)

# Bytes that mean themselves in a format of printf and between single quotes.
_PLAIN = frozenset(
    b'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 \n\t.,:;_=+/<>()[]{}"'
)


@dataclass(frozen=True)
class Options:
    """What a command gets beside its words.

    Args:
        cwd: absolute path, or nothing for the container's own.
        environment: added to the container's.
        stdin: bytes to read; None has it read end-of-file at once.
        interactive: give it the session's own stdin instead.
        merge_stderr: write its stderr to its stdout.
        is_signalled: somebody may want its pid, or send it signals; else it may only be killed.
    """

    cwd: str = ""
    environment: Mapping[str, str] | None = None
    stdin: bytes | None = None
    interactive: bool = False
    merge_stderr: bool = False
    is_signalled: bool = False


def new_token() -> str:
    """A token. It begins with a byte that is rare in what commands write (RS of ASCII)."""
    return f"\x1e{secrets.token_urlsafe(9)}"


def greeting(token: str) -> bytes:
    """What the shell is told first."""
    return f"{token}\n".encode()


def probe(token: str) -> bytes:
    """Asks for the mark `?`."""
    return f"{token}?\n".encode()


def request(token: str, command: str | Sequence[str], options: Options) -> bytes | None:
    """The request for a command, or None where the shell cannot do it as the engine would.

    Args:
        token: of the session.
        command: text for the shell, or words to run without one.
        options: what it gets.
    """
    if not isinstance(command, str) and [*command[:2]] == ["sh", "-c"] and len(command) == 3:
        command = command[2]  # that is what the worker is already
    # Short, since a shell reads it byte by byte.
    lines = []
    if options.cwd:
        missing = f"{{ echo '{token}!'; exit 126; }}"
        lines.append(f"cd -P {shlex.quote(options.cwd)} 2>/dev/null || {missing}; unset OLDPWD")
    for name, value in (options.environment or {}).items():
        if not _NAME.fullmatch(name) or name in _RESERVED:
            return None
        lines.append(f"export {name}={shlex.quote(value)}")
    if options.merge_stderr:
        lines.append("exec 2>&1")
    leads = options.is_signalled or options.interactive or _leads(command)
    if not isinstance(command, str):
        command = f"unset SHLVL;exec {shlex.join(command)}"  # it has no shell above it
    if options.stdin:
        if len(options.stdin) > LONGEST_STDIN:
            return None
        command = f"printf {_format(options.stdin)} | eval {shlex.quote(command)}"
    elif leads and not options.interactive:
        lines.append("exec </dev/null")
    lines.append(command)
    text = os.fsencode("\n".join(lines))
    if b"\0" in text or len(text) > LONGEST_REQUEST:
        return None
    begin = token if leads else f"{token}+"
    return os.fsencode(f"{begin}\n") + text + os.fsencode(f"\n{token}\n")


def _leads(command: str | Sequence[str]) -> bool:
    """Whether it must lead its process group."""
    if isinstance(command, str):
        return bool(_NEEDS_LEAD.search(command))
    return any(word.rpartition("/")[2] == "setsid" for word in command)


def _format(data: bytes) -> str:
    """A quoted format for the shell's `printf` (printf(1p): `\\ddd` is a byte by octal number)."""
    return "'" + "".join(chr(x) if x in _PLAIN else f"\\{x:03o}" for x in data) + "'"


@dataclass(frozen=True)
class Mark:
    """What stands behind a token, up to the end of its line."""

    text: str


class Splitter:
    """Takes a stream apart into the command's own bytes and the marks.

    Args:
        token: of the session.
    """

    def __init__(self, token: str) -> None:
        self._token = token.encode()
        self._left = b""

    def feed(self, data: bytes) -> Iterator[bytes | Mark]:
        """The next pieces. Bytes that could be the beginning of a token wait for the next call."""
        self._left += data
        while self._left:
            start = self._left.find(self._token)
            if start < 0:
                start = len(self._left) - self._beginning(self._left)
            if start:
                yield self._left[:start]
                self._left = self._left[start:]
            end = self._left.find(b"\n")
            if end < 0 or not self._left.startswith(self._token):
                return
            text = self._left[len(self._token) : end].decode("ascii", "replace")
            self._left = self._left[end + 1 :]
            yield Mark(text)

    def _beginning(self, buffer: bytes) -> int:
        """How many of the last bytes could begin a token."""
        # The token's first byte comes in it once only.
        start = buffer.rfind(self._token[:1], max(0, len(buffer) - len(self._token) + 1))
        return len(buffer) - start if start >= 0 and self._token.startswith(buffer[start:]) else 0
