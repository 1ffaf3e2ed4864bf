"""What the resident shell and we say to each other.

The shell (any POSIX `sh` with `setsid` beside it) runs a worker at a time. A worker leads a session
and process group of its own, reads one request, and becomes the command: it was started before the
request came, so its start costs nothing. Marks begin with a token that nobody can guess; it reaches
the shell and its workers by their stdin, since commands can read what is in /proc:

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
# its own stderr the shell would report a command that was killed). The worker is no background
# job, which would have SIGINT ignored. On the end of stdin (we are gone) it ends the shell and
# itself. `kill -0 -PID` is the one form that dash, busybox and bash all know. bash sends itself the
# SIGINT a command died of: the trap outlives it, and a worker does not inherit it. SHLVL and OLDPWD
# would tell the command that shells were here before it.
SCRIPT = """
command -v setsid >/dev/null || exit 97
unset SHLVL OLDPWD
trap : INT
w='echo $$ >&3
exec 3>&-
while read -r t || kill -9 $PPID $$; do
case $t in *\\?) echo "$t" ;; *) break ;; esac
done
while IFS= read -r l || kill -9 $PPID $$; do
[ "$l" != "$t" ] || break
s=$s$l"
"
done
eval "$s"'
exec 4>&1 5>&2 2>/dev/null
read -r t
while :; do
p=$(exec setsid sh -c "$w" 3>&1 >&4 2>&5 4>&- 5>&-)
c=$?
if kill -0 -$p; then n=1; else n=0; fi
printf "%s-\\n" "$t" >&5
printf "%s-%s %s\\n" "$t" $c $n
done
"""

# A longer request takes the shell too long to read; the kernel itself allows no argument longer
# than four times this (MAX_ARG_STRLEN, execve(2)).
LONGEST_REQUEST = 32 * 1024
# A stdin (bytes) up to which it goes within the request.
LONGEST_STDIN = 4 * 1024

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Names a shell keeps for itself: set in it, they would mean something else.
_RESERVED = {"IFS", "PPID", "OPTIND", "LINENO", "UID", "EUID", "SHELLOPTS", "BASHOPTS"}

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
    """

    cwd: str = ""
    environment: Mapping[str, str] | None = None
    stdin: bytes | None = None
    interactive: bool = False
    merge_stderr: bool = False


def new_token() -> str:
    """A token. It begins with a byte that is rare in what commands write (RS of ASCII)."""
    return f"\x1e{secrets.token_hex(10)}"


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
    # The first line says that the worker has it all. The next leaves no trace of its variables; and
    # a program that takes its place has no shell above.
    own = "t l s" if isinstance(command, str) else "t l s SHLVL"
    lines = ['echo "$t>$$"', f"unset {own}; set --"]
    if options.cwd:
        missing = f"{{ echo '{token}!'; exit 126; }}"
        lines.append(f"cd -P {shlex.quote(options.cwd)} 2>/dev/null || {missing}; unset OLDPWD")
    for name, value in (options.environment or {}).items():
        if not _NAME.fullmatch(name) or name in _RESERVED:
            return None
        lines.append(f"export {name}={shlex.quote(value)}")
    if options.merge_stderr:
        lines.append("exec 2>&1")
    if not isinstance(command, str):
        command = f"exec {shlex.join(command)}"
    if options.stdin:
        if len(options.stdin) > LONGEST_STDIN:
            return None
        command = f"printf {_format(options.stdin)} | eval {shlex.quote(command)}"
    elif not options.interactive:
        lines.append("exec </dev/null")
    lines.append(command)
    text = os.fsencode("\n".join(lines))
    if b"\0" in text or len(text) > LONGEST_REQUEST:
        return None
    mark = os.fsencode(f"{token}\n")
    return mark + text + b"\n" + mark


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
