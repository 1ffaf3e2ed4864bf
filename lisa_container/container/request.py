"""Request for a command in a container, and the receivers of its output."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import IO, Any, Callable, TypeVar, Union

from lisa_container.config.checks import require_encodable
from lisa_container.container.login import LOGIN, TERMINAL_TYPE
from lisa_container.errors import ConfigError
from lisa_container.masking import KNOWN, protect, secret_values, secrets_in_command

T = TypeVar("T")

Command = Union[str, Sequence[str]]
"""A string for the container's `sh -c`, or a sequence to run without a shell."""

Stdin = Union[bytes, str, IO[bytes], None]
"""Stdin as a user gives it: bytes, text or a binary file."""

Sink = Callable[[bytes], None]
"""Receiver of a piece of output."""

NO_BASH = '[ ! "${BASH_VERSION-}" ]'
"""Condition for a shell: it is not bash."""

UNSET_OWN = (
    '{ [ "${KSH_VERSION-}" ] || unset SHLVL; unset PWD OLDPWD; '
    f"{NO_BASH} || declare -a SHLVL; }} 2>/dev/null"
)
"""Line for a shell that becomes another program, which must not see the shell's own variables.

bash sets SHLVL at the last moment, but hands on no array. ksh93 crashes without it.
"""


@dataclass(frozen=True)
class CommandRequest:
    """Command to run in a container, with its user, environment and input.

    Args:
        command: A string for the container's `sh -c`, or a sequence to run without a shell.
        cwd: Working directory; the container's own by default.
        environment: Environment variables to add to the container's.
        user: `name`, `uid` or `uid:gid`; the container's own by default.
        stdin: Bytes or a binary file that the command reads; None means end-of-file at once.
        interactive: Give the command a stdin that the caller writes to, instead of `stdin`.
        merge_stderr: Have the command write its stderr to its stdout; needs a shell in the image.
        privileged: Give the command all capabilities.
        start_timeout: Seconds that the engine may take to start the command; None means no limit
            as long as the engine answers.
        is_awaited: Whether the caller waits for the end at once and reads the output itself.
        terminal: Run the command on a terminal, as a command of an SSH login: stderr comes within
            stdout, and what `RunningCommand.write` gets is echoed.
        login: Set the variables of an SSH login; needs a shell in the image.
        nohup: Have the command ignore SIGHUP, and give it no stdin; needs a shell in the image.
    """

    command: Command
    cwd: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    stdin: bytes | IO[bytes] | None = None
    interactive: bool = False
    merge_stderr: bool = False
    privileged: bool = False
    start_timeout: float | None = None
    is_awaited: bool = False
    terminal: bool = False
    login: bool = False
    nohup: bool = False

    def __post_init__(self) -> None:
        """Check that all texts can be given to a program.

        Raises:
            ConfigError: One has half of a character; the message names the argument.
        """
        for name in ("command", "cwd", "environment", "user"):
            require_encodable(name, getattr(self, name))

    @classmethod
    def of(
        cls,
        command: Command,
        *,
        cwd: str | PurePath | None = None,
        working_dir: str | PurePath | None = None,
        update_envs: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        stdin: Stdin = None,
        **others: Any,
    ) -> CommandRequest:
        """Return a request with the arguments in LISA's words, in Docker's, or in both.

        Args:
            command: See the class.
            cwd: Working directory, in LISA's word.
            working_dir: Working directory, in Docker's word.
            update_envs: Environment variables to add, in LISA's word.
            environment: Environment variables to add, in Docker's word.
            stdin: Bytes, text or a binary file that the command reads.
            others: Further fields.

        Raises:
            ConfigError: One thing was given in both words, or a text has half of a character.
        """
        require_encodable("stdin", stdin)
        return cls(
            command,
            cwd=str(either("cwd", cwd, "working_dir", working_dir) or ""),
            environment=either("update_envs", update_envs, "environment", environment) or {},
            stdin=os.fsencode(stdin) if isinstance(stdin, str) else stdin,
            **others,
        )

    @property
    def is_for_shell(self) -> bool:
        """Whether the command is a string for the container's shell."""
        return isinstance(self.command, str)

    def argv(self, mark: str = "") -> list[str]:
        """Return the program and its arguments, as the engine starts them.

        Args:
            mark: Mark for the command's processes, if a shell starts the command; see `signals`.
        """
        argv = to_argv(self.command)
        lines = self.prelude()
        redirection = " 2>&1" if self.merge_stderr else ""
        if not mark and not lines and not redirection:
            return argv
        if mark:
            lines = [f"{{ ulimit -Sw {mark} || ulimit -Sx {mark}; }} 2>/dev/null", *lines]
        script = "\n".join([*lines, UNSET_OWN, f'exec "$@"{redirection}'])
        return ["sh", "-c", script, "sh", *argv]

    @property
    def needs_shell(self) -> bool:
        """Whether only a shell of the container can start the command."""
        return self.is_for_shell or self.login or self.nohup or self.merge_stderr

    def prelude(self, with_login: bool = True) -> list[str]:
        """Return lines for a shell to run before the command.

        Args:
            with_login: Whether the shell has yet to set the variables of a login.
        """
        lines = [LOGIN] if self.login and with_login else []
        return [*lines, "trap '' HUP", "exec </dev/null"] if self.nohup else lines

    @property
    def exec_environment(self) -> dict[str, str]:
        """Environment variables for the engine to add to the container's."""
        terminal = {"TERM": TERMINAL_TYPE} if self.terminal else {}
        return {**terminal, **self.environment}

    @property
    def has_stdin(self) -> bool:
        """Whether the command gets a stdin to read from."""
        return self.interactive or self.stdin is not None

    @property
    def text(self) -> str:
        """Command line for logs, errors and records: without secrets."""
        return KNOWN.command(self._line)

    def protect_secrets(self) -> None:
        """Make LISA's logs mask the secrets of the command line and of the environment."""
        protect(secret_values(self.environment) | secrets_in_command(self._line))

    @property
    def _line(self) -> str:
        """Command line as a shell would have it."""
        command = self.command
        return command if isinstance(command, str) else shlex.join(to_argv(command))


@dataclass(frozen=True)
class Sinks:
    """Receivers of a command's output.

    Args:
        stdout: Called with each piece of stdout.
        stderr: Called with each piece of stderr.
        poll: Called now and then while the caller waits; an exception in it ends the waiting.
    """

    stdout: Sink | None = None
    stderr: Sink | None = None
    poll: Callable[[], None] | None = None


def to_argv(command: Command) -> list[str]:
    """Return the program and its arguments; a string becomes an argument of `sh -c`."""
    return ["sh", "-c", command] if isinstance(command, str) else [str(x) for x in command]


def either(name: str, value: T | None, other_name: str, other: T | None) -> T | None:
    """Return the value of an argument that has two names; None if it was not given.

    Args:
        name: One name.
        value: Value given by this name.
        other_name: The other name.
        other: Value given by the other name.

    Raises:
        ConfigError: The argument was given by both names.
    """
    if value is not None and other is not None:
        raise ConfigError(
            f"'{name}' and '{other_name}': both are given, and they are two names of one argument; "
            "give one of them"
        )
    return other if value is None else value
