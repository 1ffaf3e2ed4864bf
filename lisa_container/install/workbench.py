"""Access of a package manager to one container, with its settings and a log."""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from types import TracebackType
from typing import IO, TYPE_CHECKING, Callable, cast

from lisa_container.container.result import CommandResult
from lisa_container.errors import ContainerError
from lisa_container.escaping import plain_lines
from lisa_container.install.failures import Failure, Phrases, classify
from lisa_container.install.settings import FOLDER, PackageSettings
from lisa_container.masking import MaskedFile, Masking, protect

if TYPE_CHECKING:
    from lisa_container.container.container import Container

ROOT = PurePosixPath("/opt/lisa_container")
"""Folder of tools that no system manager tracks."""

# A tmpfs in every container of Docker and podman, so no layer contains it.
_MEMORY = "/dev/shm"

# Runs as root. Only root can read the files but the certificates.
_WRITE = 'umask 077; cat >"$1/$2" && chmod "$3" "$1/$2"'
_LINK = r"""
folder=$1; shift
mkdir -p "$folder" || exit
for file; do
    link=$folder/${file##*/}
    case $(readlink "$link") in
    "") [ ! -e "$link" ] || { echo "$link is in the way: it conflicts with this tool"; exit 1; } ;;
    ROOT/*) ;;
    *) echo "$link is in the way: it conflicts with this tool"; exit 1 ;;
    esac
    ln -sf "$file" "$link" || exit
done
""".replace("ROOT", str(ROOT))
_LINK_CONFLICT: Phrases = {Failure.CONFLICT: "it conflicts with this tool"}


class CommandFailedError(Exception):
    """A manager's command failed. The installer turns this into an error for the user.

    Args:
        failure: the cause.
        output: end of the command's output, without secrets.
    """

    def __init__(self, failure: Failure, output: str) -> None:
        """Keep the cause and the output."""
        self.failure = failure
        self.output = output
        super().__init__(output)


class Workbench:
    """Container during an installation. As a context manager, it provides the package settings.

    Args:
        executor: the running container.
        settings: settings that are present in the container during the `with` block.
        log: file for all commands and their output, without secrets.
        timeout: time limit in seconds for one command.
    """

    def __init__(
        self,
        executor: Container,
        settings: PackageSettings,
        log: IO[bytes],
        timeout: float,
    ) -> None:
        """Prepare the access; the settings are written at the begin of the `with` block."""
        self.executor = executor
        self._masking = Masking(protect(settings.secrets))
        self.mask = self._masking.own
        """Masks the secrets of the settings, and credentials in URLs."""
        self._settings = settings
        self._log = MaskedFile(log, self._masking)
        self._timeout = timeout
        self._folder = f"{_MEMORY}/lisa_container.{secrets.token_hex(8)}"
        self._environment: dict[str, str] = {}
        self._bin_folder = ""
        self.on_output: Callable[[bytes], None] | None = None
        """Function that gets the output of the commands as it arrives."""

    def __enter__(self) -> Workbench:
        """Write the settings into the container."""
        if self._settings.files:
            # Mode 711 lets other users, such as apt's, open the certificates by path but not list
            # the folder. mkdir fails if another user made the folder first.
            self._require(["mkdir", "-m", "711", self._folder])
        try:
            for name, content in self._settings.files.items():
                mode = "644" if name == "certificates.pem" else "600"
                content = content.replace(FOLDER.encode(), self._folder.encode())
                self._require(["sh", "-c", _WRITE, "sh", self._folder, name, mode], stdin=content)
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise
        self._environment = {
            name: value.replace(FOLDER, self._folder)
            for name, value in self._settings.environment.items()
        }
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the settings from the container."""
        self._log.flush()
        if not self._settings.files:
            return
        try:
            self.executor.run(["rm", "-rf", self._folder], user="0", timeout=60)
        except ContainerError:
            if kind is None:  # otherwise the first error is more important
                raise

    @property
    def bin_folder(self) -> str:
        """Folder in PATH for new commands: /usr/local/bin, or the first folder of PATH."""
        if not self._bin_folder:
            folders = self.try_run("echo $PATH").stdout.split(":")
            usual = "/usr/local/bin"
            self._bin_folder = usual if usual in folders or not folders[0] else folders[0]
        return self._bin_folder

    def has(self, program: str) -> bool:
        """Return whether the container has a program."""
        return self.try_run(["sh", "-c", 'command -v "$1"', "sh", program]).exit_code == 0

    def try_run(
        self, command: str | Sequence[str], environment: Mapping[str, str] | None = None
    ) -> CommandResult:
        """Run a command as root and return its result, even if it fails.

        Args:
            command: a string for `sh`, or words.
            environment: variables in addition to those of the settings.
        """
        return self._execute(command, environment, keep=True)

    def run(
        self,
        command: str | Sequence[str],
        phrases: Phrases | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> str:
        """Run a command as root that must succeed.

        Args:
            command: a string for `sh`, or words.
            phrases: messages of the command, by the cause of a failure.
            environment: variables in addition to those of the settings.

        Returns:
            The last MiB of stdout and stderr together.

        Raises:
            CommandFailedError: the command failed.
        """
        result = self._execute(command, environment, keep=None, merge_stderr=True)
        if result.exit_code != 0:
            failure = classify(result.stdout, phrases or {})
            raise CommandFailedError(
                failure, self.excerpt(result.stdout) or f"exit code {result.exit_code}"
            )
        return result.stdout

    def link(self, paths: Sequence[str]) -> None:
        """Link commands into `bin_folder`.

        Args:
            paths: paths of the commands below `ROOT`.

        Raises:
            CommandFailedError: a file that is no such link has the name of a command.
        """
        self.run(["sh", "-c", _LINK, "sh", self.bin_folder, *paths], _LINK_CONFLICT)

    def note(self, text: str) -> None:
        """Write a comment line to the log."""
        self._log.write(f"# {text}\n".encode(errors="replace"))
        self._log.flush()

    def excerpt(self, output: str) -> str:
        """Return the relevant last lines of an output for a message, without secrets."""
        lines = plain_lines(self.mask(output))
        errors = [line for line in lines if _is_error(line)]
        return " | ".join((errors or lines)[-6:])[-1200:]

    def _require(self, command: Sequence[str], stdin: bytes | None = None) -> None:
        result = self.executor.run(command, user="0", stdin=stdin, timeout=60)
        if result.exit_code != 0:
            failure = classify(result.stderr, {})
            raise CommandFailedError(
                failure, f"the package settings could not be written: {result.stderr}"
            )

    def _execute(
        self,
        command: str | Sequence[str],
        environment: Mapping[str, str] | None,
        keep: bool | None,
        merge_stderr: bool = False,
    ) -> CommandResult:
        text = command if isinstance(command, str) else shlex.join(command)
        text = self._masking.command(text)
        self._log.write(f"$ {text}\n".encode(errors="replace"))
        self._log.flush()
        log = cast(IO[bytes], self._log)  # run() only writes to it
        result = self.executor.run(
            command,
            user="0",
            update_envs={"LC_ALL": "C", **self._environment, **(environment or {})},
            timeout=self._timeout,
            stdout=log,
            stderr=log,
            on_stdout=self.on_output,
            on_stderr=self.on_output,
            keep_output=keep,
            merge_stderr=merge_stderr,
            nohup=True,
        )
        self._log.flush()
        self.note(f"exit code {result.exit_code}, {result.elapsed:.1f} s")
        return result


def _is_error(line: str) -> bool:
    lower = line.lower()
    return lower.startswith(("e:", "error", "npm err", "problem")) or any(
        word in lower
        for word in ("error:", "depends:", "conflicts:", "nothing provides", "cannot resolve")
    )
