"""What carries from step to step beside the files: the working directory and the environment.

A step's text is run in the shell as `sh -c` would, and when that shell ends it leaves in a file
where it is and what it exports. Only what the step changed is carried: `HOME`, say, is each user's
own. The kernel tells both, /proc/$$/environ the environment that the shell was started with and
/proc/self/environ that of a program it starts now (proc(5)): no value needs quoting, and none is
written by a shell that does not know how. The file is on /dev/shm, which is memory in every
container of docker and podman, and is there for a moment only.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_FOLDER = Path("/dev/shm")

# PATH may be one without any program, that of the shell and ours included. The text is one of
# eval's, so that an end of it that is no end (a backslash, an open here-document) swallows nothing
# of ours; the blank keeps bash from taking it for options. `2>/dev/null` hides us from a trace (set
# -x). A text that sets a trap on EXIT of its own replaces ours, which matters only where it calls
# `exit` too. All is one line, so that the shell's messages count the lines of the text.
_SHELL = " ".join(
    line.strip()
    for line in """
lisa_container_text=$1; lisa_container_file=$2; lisa_container_cat=$(command -v cat);
shift 2;
[ -z "${lisa_container_path+x}" ] || export PATH="$lisa_container_path";
unset lisa_container_path;
lisa_container_save() {
    lisa_container_code=$?;
    if [ "$lisa_container_file" ]; then
        (
            set +eu;
            umask 077;
            {
                command pwd -P;
                command printf '\\000';
                "$lisa_container_cat" "/proc/$$/environ";
                command printf '=\\000';
                "$lisa_container_cat" /proc/self/environ;
            } >"$lisa_container_file"
        ) || :;
        lisa_container_file=;
    fi;
    return "$lisa_container_code";
};
trap '{ lisa_container_save; } 2>/dev/null' EXIT;
eval " $lisa_container_text";
{ lisa_container_save; } 2>/dev/null
""".strip().splitlines()
)
_OURS = "lisa_container_"
_VARIABLE = f"{_OURS}step"

# What a shell sets by itself.
_SHELLS_OWN = {"_", "PWD", "OLDPWD", "SHLVL"}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

_UNSET = 'while [ "$1" != = ]; do unset "$1"; shift; done; shift; exec "$@"'


def new_file() -> str:
    """A path in a container, for a moment."""
    return str(_FOLDER / f"lisa_container.{secrets.token_hex(8)}")


def carrying(shell: str, text: str, file: str) -> list[str]:
    """The words of a command that runs a text as `sh -c` does, and leaves a file for `after`.

    Args:
        shell: to run it.
        text: for it.
        file: to be left, where the shell comes to an end of its own.
    """
    # Lists of processes, and the log, have the words: they are short.
    return [shell, "-c", f'eval "${_VARIABLE}"', shell, f"{text}\n", file]


def carrying_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment for such a command.

    Args:
        environment: for the text.
    """
    result = {**environment, _VARIABLE: f"unset {_VARIABLE}; {_SHELL}"}
    if "PATH" in result:  # the shell itself is found by the container's own
        result[f"{_OURS}path"] = result.pop("PATH")
    return result


@dataclass(frozen=True)
class Context:
    """Where the next step starts.

    Args:
        cwd: absolute path; nothing for the container's own.
        environment: variables that steps have set.
        unset: variables of the container that steps have taken away.
    """

    cwd: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    unset: frozenset[str] = frozenset()

    def words(self, words: Sequence[str]) -> list[str]:
        """The words of a command, made to run without what is unset.

        Args:
            words: of the command.
        """
        if not self.unset:
            return list(words)
        # A name cannot have "=" in it.
        return ["sh", "-c", _UNSET, "sh", *sorted(self.unset), "=", *words]

    def after(self, state: bytes, own: Mapping[str, str], has_cwd: bool) -> Context:
        """The context behind a step.

        Args:
            state: the file that it left.
            own: variables that it was given for itself alone.
            has_cwd: the same of the working directory.
        """
        cwd, _, rest = state.partition(b"\0")
        begin, _, end = rest.partition(b"=\0")
        before, now = _parse(begin), _parse(end)
        environment, unset = dict(self.environment), set(self.unset)
        for name in (before.keys() | now.keys()) - own.keys():
            if before.get(name) == now.get(name):
                continue
            if name in now:
                environment[name] = now[name]
                unset.discard(name)
            else:
                environment.pop(name, None)
                unset.add(name)
        where = cwd[:-1].decode("utf-8", errors="surrogateescape")
        return Context(self.cwd if has_cwd or not where else where, environment, frozenset(unset))


def _parse(environment: bytes) -> dict[str, str]:
    found = {}
    for entry in environment.split(b"\0"):
        name, equals, value = entry.decode("utf-8", errors="surrogateescape").partition("=")
        is_ours = name in _SHELLS_OWN or name.startswith(_OURS)
        if equals and not is_ours and _NAME.fullmatch(name):
            found[name] = value
    return found
