"""Protocol between this process and the resident shell.

The shell (any POSIX `sh`, with `setsid` beside it) runs one worker at a time. A worker leads its
own session and process group. It was started before the request came, and reads it. Then it does
one of two things:

- It becomes the command, which so leads its group, and the shell starts the next worker.
- If the command cannot notice the difference, a child of the worker becomes the command, and the
  worker stays. The child was forked before the request came, and reads it. So a trivial command
  costs little more than the start of its program. If a command leaves processes behind, the worker
  ends too, so that no two commands share a group. The kernel shows at once whether a command may
  have left some: /proc/loadavg ends with the pid of the newest process (proc(5)), so only the few
  processes since then must be checked.

A fresh `sh -c` runs a string, like the engine's exec. Its start takes half a millisecond. So a
string of plain words that runs programs is evaluated in place, which makes no difference to them.

Marks begin with a secret token. It reaches the shell and its workers through their stdin, because
commands can read /proc. With it goes the session's number, which is not secret and marks the
session's processes (see `script`):

    stdout   <token>?            answer to the probe: shell and worker are ready
             <token>><pid>       the worker has the whole request, and this pid in the container;
                                 from here on the command may have run
             …                   output of the command
             <token>!            the working directory does not exist; nothing was run
             <token>-<code> <n>  the command ended with this exit code; n is 1 if it left processes
                                 behind, and 2 if younger processes live and may be its own
             … <kills>           the marks > and - end with the number of kills at the memory limit
                                 so far, if the container has such a limit
    stderr   …                   error output of the command
             <token>-            the command ended

On a terminal there is no stderr, and requests have another form; see `terminal`.
"""

from __future__ import annotations

import os
import re
import secrets
import shlex
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from lisa_container.container.request import (
    NO_BASH,
    UNSET_OWN,
    Command,
    CommandRequest,
    to_argv,
)
from lisa_container.container.session.terminal import encode_lines
from lisa_container.errors import EngineError

# Largest request, in bytes: a longer one takes the shell too long to read. The kernel's limit for
# one argument is four times as large (MAX_ARG_STRLEN, execve(2)).
LONGEST_REQUEST = 32 * 1024
# Largest request on a terminal, in bytes. The kernel holds 8 KiB of a terminal's output, and echoes
# late what does not fit: the rest of the echo would come after the mark of the command's begin.
LONGEST_ON_TERMINAL = 4 * 1024
# Largest stdin, in bytes, that is part of the request.
LONGEST_STDIN = 4 * 1024

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Variables that a shell uses or changes itself.
_RESERVED = re.compile(
    r"IFS|PPID|OPTIND|OPTARG|LINENO|E?UID|GROUPS|SHELLOPTS|SHLVL|PWD|OLDPWD|_|BASH.*|DIRSTACK"
    r"|FUNCNAME|RANDOM|SRANDOM|SECONDS|EPOCH.*|HISTCMD|PIPESTATUS|COMP_.*|__[a-z]"
)

# Commands that notice that they do not lead their group: a string that uses the shell's own pid,
# may read it from elsewhere, or handles signals; and setsid(1), which forks only in a leader.
_NEEDS_LEAD = re.compile(
    r"\$\$|\$\{\$"
    r"|(?:^|[;&|({\n`!]|\b(?:if|then|elif|else|while|until|do)\s)\s*\.\s"
    r"|(?<![^\s;&|(){}`!])(?:source|eval|trap|setsid)(?!\S)"
)

# A command that does not notice whether it is evaluated in place: a program, or a builtin that
# reports no error, with plain or quoted words and redirections that always work.
_QUOTED = r"""'[^'\n]*'|"[^"\\$`!\n]*\""""
_WORD = rf"(?:[A-Za-z0-9_./:,@%+-]|{_QUOTED})(?:[A-Za-z0-9_./:,@%+=-]|{_QUOTED})*"
_REDIRECTION = r"(?: ?(?:[12]?>/dev/null|</dev/null|2>&1|[1]?>&2))"
_SIMPLE = rf"(?:exit [0-9]{{1,2}}|(?!exit )[A-Za-z0-9_./+-]+(?: {_WORD})*{_REDIRECTION}*)"
_PLAIN_TEXT = re.compile(rf"{_SIMPLE}(?: ?(?:;|&&|\|\||\|) ?{_SIMPLE})*")
_PROGRAM = re.compile(rf"(?:^|;|&&|\|) ?([A-Za-z0-9_./+-]+)(?: {_WORD})*{_REDIRECTION}*")
_ONE_PROGRAM = re.compile(rf"[A-Za-z0-9_./+-]+(?: {_WORD})*")
_LONGEST_PLAIN = 200
# Builtins that never report an error with the name of the shell.
_QUIET = {"echo", "true", "false", "exit"}
# Keywords and builtins of common shells: they may act on the shell, or print its name. (Programs of
# the same name in /bin make no difference.)
_OWN = re.compile(
    r"\.|alias|bg|bind|break|builtin|caller|case|cd|chdir|command|compgen|complete|compopt|continue"
    r"|coproc|declare|dirs|disown|do|done|elif|else|enable|esac|eval|exec|export|fc|fg|fi|for"
    r"|function|getopts|hash|help|history|if|in|jobs|kill|let|local|logout|mapfile|newgrp|popd"
    r"|printf|pushd|pwd|read|readarray|readonly|return|select|set|shift|shopt|source|suspend|test"
    r"|then|time|times|trap|type|typeset|ulimit|umask|unalias|unset|until|wait|while"
)

# Largest size, in bytes, of a mark behind the token; the longest legal one has 10.
_LONGEST_MARK = 64
# The greatest pid of Linux is 2^22 (PID_MAX_LIMIT). 1 is the container's first process.
_KILLS = r"(?: ([0-9]{1,18}))?"
_PID = re.compile(rf">([1-9][0-9]{{0,6}}){_KILLS}", re.ASCII)
_END = re.compile(rf"-([0-9]{{1,3}}) ([012]){_KILLS}", re.ASCII)

# Bytes without a special meaning in a format of printf and between single quotes.
_PLAIN = frozenset(
    b'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 \n\t.,:;_=+/<>()[]{}"'
)


def new_token(number: int) -> str:
    """Return a new token of a session, which begins with a byte that is rare in output (RS)."""
    return f"\x1e{number}{secrets.token_urlsafe(9)}"


def greeting(token: str, number: int, is_limited: bool = False) -> bytes:
    """Return the first line for the shell.

    Args:
        token: Token of the session.
        number: Number of the session.
        is_limited: Whether the container has a memory limit, so that the kills there are of use.
    """
    return f"{token} {number}{' 1' if is_limited else ''}\n".encode()


def probe(token: str) -> bytes:
    """Return the line that asks for the mark `?`."""
    return f"{token}?\n".encode()


def is_kept(names: Collection[str]) -> bool:
    """Return whether a shell passes on variables of these names unchanged."""
    return all(_NAME.fullmatch(name) for name in names) and not is_changed(names)


def is_changed(names: Collection[str]) -> bool:
    """Return whether a shell uses or changes a variable of these names itself."""
    return any(_RESERVED.fullmatch(name) for name in names)


def encode_request(token: str, request: CommandRequest) -> bytes | None:
    """Return a request as the shell reads it, or None if only the engine can run the command.

    Args:
        token: Token of the session.
        request: Command to run.
    """
    command: Command = request.command
    if not isinstance(command, str):
        command = to_argv(command)
    if not isinstance(command, str) and [*command[:2]] == ["sh", "-c"] and len(command) == 3:
        command = command[2]  # the worker is such a shell already
    environment = dict(request.environment)
    if not is_kept(environment):
        return None
    # The request is short, because a shell reads it byte by byte. A shell on a terminal has set the
    # variables of a login already.
    lines = request.prelude(with_login=not request.terminal)
    if request.cwd:
        missing = f"{{ echo '{token}!'; exit 126; }}"
        lines.append(f"cd -P {shlex.quote(request.cwd)} 2>/dev/null || {missing}")
    # The command's shell is found by the container's own PATH, because it is the container's shell.
    path = environment.pop("PATH", None)
    lines += [f"export {name}={shlex.quote(value)}" for name, value in environment.items()]
    if request.merge_stderr:
        lines.append("exec 2>&1")
    leads = request.terminal or not request.is_awaited or request.interactive or _leads(command)
    first = "" if path is None else f"export PATH={shlex.quote(path)}"
    run = _to_run(command, first, is_plain=not (first or request.cwd or request.terminal))
    if request.stdin:
        if not isinstance(request.stdin, bytes) or len(request.stdin) > LONGEST_STDIN:
            return None
        run = f"printf {_format(request.stdin)} | {{ {run}\n}}"
    elif leads and not request.interactive:
        lines.append("exec </dev/null")
    lines.append(run)
    text = os.fsencode("\n".join(lines))
    if b"\0" in text or len(text) > (LONGEST_ON_TERMINAL if request.terminal else LONGEST_REQUEST):
        return None
    begin = token if leads else f"{token}+"
    body = encode_lines(text) if request.terminal else text + b"\n"
    return os.fsencode(f"{begin}\n") + body + os.fsencode(f"{token}\n")


def _to_run(command: str | Sequence[str], first: str, is_plain: bool) -> str:
    """Return the lines that run a command.

    Args:
        command: String or words.
        first: Line to run before the command.
        is_plain: Whether a fresh shell would see the same environment (`cd` exports PWD).
    """
    if not isinstance(command, str):
        # The engine would run the command without a shell.
        return f"{UNSET_OWN}\n{first}\nexec {shlex.join(command)}"
    programs = _programs(command) if is_plain else None
    fresh = shlex.quote(f"{first}; {command}" if first else command)
    if programs is None:
        return f"{UNSET_OWN}\nexec sh -c {fresh}"
    if not programs:
        return command
    # `command -v` accepts a folder, too.
    checks = [f"[ -f {name} ]" for name in programs if "/" in name]
    checks += [f"command -v {name}" for name in programs]
    # bash becomes a program that is all of its string, and counts SHLVL down. Of a longer string,
    # only a fresh bash knows which programs that concerns.
    level = f"{NO_BASH} || SHLVL=0" if _ONE_PROGRAM.fullmatch(command) else NO_BASH
    there = " && ".join([f"{{ {level}; }}", *checks])
    otherwise = f"{{ {UNSET_OWN}; exec sh -c {fresh}; }}"
    return f"{{ {there}; }} >/dev/null || {otherwise}\n{command}"


def _programs(text: str) -> list[str] | None:
    """Return the programs that a string runs, or None if it must not be evaluated in place."""
    if len(text) > _LONGEST_PLAIN or not _PLAIN_TEXT.fullmatch(text):
        return None
    names = {match.group(1) for match in _PROGRAM.finditer(text)} - _QUIET
    return None if any(map(_OWN.fullmatch, names)) else sorted(names)


def _leads(command: str | Sequence[str]) -> bool:
    """Return whether a command must lead its process group."""
    if isinstance(command, str):
        return bool(_NEEDS_LEAD.search(command))
    return any(word.rpartition("/")[2] == "setsid" for word in command)


def _format(data: bytes) -> str:
    r"""Return a quoted format for `printf` (printf(1p): `\ddd` is a byte as an octal number)."""
    return "'" + "".join(chr(x) if x in _PLAIN else f"\\{x:03o}" for x in data) + "'"


class ProtocolError(EngineError):
    """The container's shell broke the protocol: the shell or a process there is hostile."""

    def __init__(self, answer: object) -> None:
        """Build the message."""
        super().__init__(
            f"the resident shell gave a wrong answer ({str(answer)[:_LONGEST_MARK]!r}); the "
            "container's 'sh', or a process of the same user in it, wrote that."
        )


@dataclass(frozen=True)
class Mark:
    """Text behind a token, up to the end of the line; a terminal adds a carriage return."""

    text: str

    def pid(self) -> int:
        """Return the pid in the mark `>`.

        Raises:
            ProtocolError: The mark has no pid.
        """
        match = _PID.fullmatch(self.text)
        if match is None:
            raise ProtocolError(self.text)
        return int(match.group(1))

    def end(self) -> tuple[int, int]:
        """Return the exit code and the number in the mark `-` on stdout.

        Raises:
            ProtocolError: The mark lacks them.
        """
        match = _END.fullmatch(self.text)
        if match is None or int(match.group(1)) > 255:
            raise ProtocolError(self.text)
        return int(match.group(1)), int(match.group(2))

    def kills(self) -> int | None:
        """Return the number of kills at the memory limit in the mark `>` or `-`, if it has one."""
        match = _PID.fullmatch(self.text) or _END.fullmatch(self.text)
        number = match.group(match.re.groups) if match else None
        return None if number is None else int(number)


class Splitter:
    """Splitter of a stream into the command's output and the marks.

    Args:
        token: Token of the session.
    """

    def __init__(self, token: str) -> None:
        """Begin with an empty stream."""
        self._token = token.encode()
        self._left = b""

    def feed(self, data: bytes) -> Iterator[bytes | Mark]:
        """Yield the next pieces; a possible beginning of a token waits for the next call.

        Raises:
            ProtocolError: A mark does not end.
        """
        self._left += data
        while self._left:
            start = self._left.find(self._token)
            if start < 0:
                start = len(self._left) - self._beginning(self._left)
            if start:
                yield self._left[:start]
                self._left = self._left[start:]
            if not self._left.startswith(self._token):
                return
            start = len(self._token)
            end = self._left.find(b"\n", start, start + _LONGEST_MARK)
            if end < 0:
                if len(self._left) >= start + _LONGEST_MARK:
                    raise ProtocolError(self._left[start : start + _LONGEST_MARK])
                return
            text = self._left[len(self._token) : end].decode("ascii", "replace").removesuffix("\r")
            self._left = self._left[end + 1 :]
            yield Mark(text)

    def _beginning(self, buffer: bytes) -> int:
        """Return the number of last bytes that could begin a token."""
        # The token contains its first byte only once.
        start = buffer.rfind(self._token[:1], max(0, len(buffer) - len(self._token) + 1))
        return len(buffer) - start if start >= 0 and self._token.startswith(buffer[start:]) else 0
