"""What the resident shell and we say to each other.

The shell (any POSIX `sh` with `setsid` beside it) runs a worker at a time. A worker leads a session
and process group of its own, reads one request, and becomes the command: it was started before the
request came, so its start costs nothing. Marks begin with a token that nobody can guess; it reaches
the shell and its workers by their stdin, since commands can read what is in /proc:

    stdout   +<pid>              a worker waits; the command will have this pid in the container
             <token>>            it has the whole request: from here on the command may have run
             …                   the command's own bytes
             <token>!            there is no such working directory; nothing was run
             <token>-<code> <n>  it ended with this exit code; n is 1 if it left processes behind
    stderr   …                   the command's own bytes
             <token>-            it ended
"""

from __future__ import annotations

import os
import re
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
echo "+$$"
read -r t || kill -9 $PPID $$
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
printf "%s-\\n" $t >&5
printf "%s-%s %s\\n" $t $c $n
done
"""

# A longer request takes the shell too long to read; the kernel itself allows no argument longer
# than four times this (MAX_ARG_STRLEN, execve(2)).
LONGEST_REQUEST = 32 * 1024

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Names a shell keeps for itself: set in it, they would mean something else.
_RESERVED = {"IFS", "PPID", "OPTIND", "LINENO", "UID", "EUID", "SHELLOPTS", "BASHOPTS"}


def request(
    token: str,
    command: str | Sequence[str],
    cwd: str,
    environment: Mapping[str, str],
    stdin: bool,
) -> bytes | None:
    """The request for a command, or None where the shell cannot do it as the engine would.

    Args:
        token: of the session.
        command: text for the shell, or words to run without one.
        cwd: absolute path, or nothing for the container's own.
        environment: added to the container's.
        stdin: give it the session's stdin; without it reads end-of-file.
    """
    # The first line leaves no trace of the worker's own variables, and says that it has it all.
    lines = [f"unset t l s; set --; echo '{token}>'"]
    if cwd:
        missing = f"{{ echo '{token}!'; exit 126; }}"
        lines.append(f"cd {shlex.quote(cwd)} 2>/dev/null || {missing}; unset OLDPWD")
    for name, value in environment.items():
        if not _NAME.fullmatch(name) or name in _RESERVED:
            return None
        lines.append(f"export {name}={shlex.quote(value)}")
    if not stdin:
        lines.append("exec </dev/null")
    lines.append(command if isinstance(command, str) else f"exec {shlex.join(command)}")
    text = os.fsencode("\n".join(lines))
    if b"\0" in text or len(text) > LONGEST_REQUEST:
        return None
    return os.fsencode(f"{token}\n") + text + os.fsencode(f"\n{token}\n")


def greeting(token: str) -> bytes:
    """What the shell is told first."""
    return f"{token}\n".encode()


@dataclass(frozen=True)
class Mark:
    """What stands behind a token, up to the end of its line."""

    text: str


class Splitter:
    """Takes a stream apart into the command's own bytes and the marks.

    Args:
        token: of the session.
        greets: a worker greets at the beginning and behind each end: that line is a mark, too.
    """

    def __init__(self, token: str, greets: bool) -> None:
        self._token = token.encode()
        self._greets = greets
        self._greeting = greets
        self._left = b""

    def feed(self, data: bytes) -> Iterator[bytes | Mark]:
        """The next pieces. Bytes that could be the beginning of a token wait for the next call."""
        self._left += data
        while True:
            start = 0 if self._greeting else self._left.find(self._token)
            if start < 0:
                start = len(self._left) - self._beginning(self._left)
            if start:
                yield self._left[:start]
                self._left = self._left[start:]
            end = self._left.find(b"\n")
            if end < 0 or not (self._greeting or self._left.startswith(self._token)):
                return
            skip = 0 if self._greeting else len(self._token)
            text = self._left[skip:end].decode("ascii", "replace")
            self._left = self._left[end + 1 :]
            self._greeting = self._greets and text.startswith("-")
            yield Mark(text)

    def _beginning(self, buffer: bytes) -> int:
        """How many of the last bytes could begin a token."""
        for count in range(min(len(self._token) - 1, len(buffer)), 0, -1):
            if buffer.endswith(self._token[:count]):
                return count
        return 0
