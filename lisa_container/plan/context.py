"""Working directory and environment that a step passes on to the next step.

The shell runs a step's text as `sh -c` does. When the shell ends, it writes its working directory
and its environment to a file. The next step gets only what the step changed, because `HOME`, for
example, differs between users.

Both environments come from the kernel (proc(5)), so no shell has to quote a value:
`/proc/$$/environ` holds what the shell was started with, `/proc/self/environ` what it exports now.
The file lies for a moment in /dev/shm, a tmpfs in every container of Docker and Podman. Any
user may make files there and read all command lines. So the file's name is a secret until it is
there: a command gets it in its environment, which only its own user can read.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_FOLDER = Path("/dev/shm")

FILE_VARIABLE = "lisa_container_file"
"""Environment variable with the path of a file that a helper command writes or reads."""

# Notes on this script:
# - The step may set a PATH without any program, so `cat` is looked up first.
# - `eval` keeps an unfinished text (a last backslash, an open here-document) from swallowing our
#   code. The blank before the text keeps bash from reading it as options.
# - `2>/dev/null` hides our code from a trace (set -x).
# - A step that sets its own trap on EXIT replaces ours. That matters only if it also calls `exit`.
# - The script is one line, so that line numbers in the shell's messages match the step's text.
_SHELL = " ".join(
    line.strip()
    for line in """
lisa_container_text=$1; lisa_container_cat=$(command -v cat);
shift;
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
_PREFIX = "lisa_container_"
_VARIABLE = f"{_PREFIX}step"

# Variables that every shell sets itself.
_SET_BY_SHELL = {"_", "PWD", "OLDPWD", "SHLVL"}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

_UNSET = 'while [ "$1" != = ]; do unset "$1"; shift; done; shift; exec "$@"'


def temporary_path() -> str:
    """Return a new path for a short-lived file in a container."""
    return str(_FOLDER / f"lisa_container.{secrets.token_hex(8)}")


def wrap_command(shell: str, text: str) -> list[str]:
    """Return the words that run `text` as `sh -c` does and then write the state file.

    Args:
        shell: shell to run, such as `bash`.
        text: the step's command line.
    """
    # Process lists and the log show these words, so they are short. The script is in a variable.
    return [shell, "-c", f'eval "${_VARIABLE}"', shell, f"{text}\n"]


def wrap_environment(environment: Mapping[str, str], file: str) -> dict[str, str]:
    """Return `environment` with the variables that `wrap_command` needs.

    Args:
        environment: the step's variables.
        file: path of the state file for `Context.advance`. A killed shell does not write it.
    """
    script = f"unset {_VARIABLE}; {FILE_VARIABLE}={file}; {_SHELL}"
    result = {**environment, _VARIABLE: script}
    if "PATH" in result:  # the container's own PATH finds the shell
        result[f"{_PREFIX}path"] = result.pop("PATH")
    return result


@dataclass(frozen=True)
class Context:
    """Working directory and environment in which the next step starts.

    Args:
        cwd: absolute path; empty for the container's own working directory.
        environment: variables that steps have set.
        unset: variables of the container that steps have unset.
    """

    cwd: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    unset: frozenset[str] = frozenset()

    def apply_unset(self, words: Sequence[str]) -> list[str]:
        """Return the words of a command that runs `words` without the unset variables."""
        if not self.unset:
            return list(words)
        # "=" ends the names, because no name contains it.
        return ["sh", "-c", _UNSET, "sh", *sorted(self.unset), "=", *words]

    def advance(self, state: bytes, own: Mapping[str, str], has_cwd: bool) -> Context:
        """Return the context after a step.

        Args:
            state: content of the step's state file.
            own: variables set for this step only; they are not passed on.
            has_cwd: whether the step had its own working directory, which is not passed on.
        """
        # Only a whole entry separates: `NAME=` and a zero byte may be an empty variable.
        front, _, end = state.partition(b"\0=\0")
        cwd, _, begin = front.partition(b"\0")
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
    variables = {}
    for entry in environment.split(b"\0"):
        name, equals, value = entry.decode("utf-8", errors="surrogateescape").partition("=")
        is_internal = name in _SET_BY_SHELL or name.startswith(_PREFIX)
        if equals and not is_internal and _NAME.fullmatch(name):
            variables[name] = value
    return variables
