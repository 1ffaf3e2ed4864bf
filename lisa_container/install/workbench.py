"""The place where a manager works: one container, its settings, its log."""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from types import TracebackType
from typing import IO, TYPE_CHECKING, cast

from lisa_container.command import CommandResult
from lisa_container.errors import ContainerError
from lisa_container.install.failures import Failure, Phrases, classify
from lisa_container.install.masking import Mask, MaskedFile
from lisa_container.install.settings import FOLDER, PackageSettings

if TYPE_CHECKING:
    from lisa_container.executor import ContainerExecutor

ROOT = PurePosixPath("/opt/lisa_container")
"""Where tools go that no system manager keeps account of."""

# A tmpfs in every container of docker and podman: it is in no layer.
_MEMORY = "/dev/shm"

# As root: whatever user the container has. Others must get through the folder (apt's own user for
# fetching), yet not see the files; certificates are for all.
_WRITE = 'umask 077; mkdir -p "$1" && chmod 711 "$1" && cat >"$1/$2" && chmod "$3" "$1/$2"'
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
    """A manager's command failed; the installer makes an error for the user of it.

    Args:
        failure: the cause.
        said: the end of what it printed, without secrets.
    """

    def __init__(self, failure: Failure, said: str) -> None:
        self.failure = failure
        self.said = said
        super().__init__(said)


class Workbench:
    """A container in which something is being installed; a context manager, for the settings.

    Args:
        executor: the container, running.
        settings: lent to it.
        log: gets everything that is run here and all that it prints, without secrets.
        timeout: seconds that one command may take.
    """

    def __init__(
        self,
        executor: ContainerExecutor,
        settings: PackageSettings,
        log: IO[bytes],
        timeout: float,
    ) -> None:
        self.executor = executor
        self.mask = Mask(settings.secrets)
        self._settings = settings
        self._log = MaskedFile(log, self.mask)
        self._timeout = timeout
        self._folder = f"{_MEMORY}/lisa_container.{secrets.token_hex(8)}"
        self._environment: dict[str, str] = {}
        self._bin_folder = ""

    def __enter__(self) -> Workbench:
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
        self._log.flush()
        if not self._settings.files:
            return
        try:
            self.executor.run(["rm", "-rf", self._folder], user="0", timeout=60)
        except ContainerError:
            if kind is None:  # else the container has died, say, and that is told
                raise

    @property
    def bin_folder(self) -> str:
        """Where to put a command so that it is found: /usr/local/bin, unless PATH lacks that."""
        if not self._bin_folder:
            folders = self.ask("echo $PATH").stdout.split(":")
            usual = "/usr/local/bin"
            self._bin_folder = usual if usual in folders or not folders[0] else folders[0]
        return self._bin_folder

    def has(self, program: str) -> bool:
        """Whether there is such a program."""
        return self.ask(["sh", "-c", 'command -v "$1"', "sh", program]).exit_code == 0

    def ask(
        self, command: str | Sequence[str], environment: Mapping[str, str] | None = None
    ) -> CommandResult:
        """Run a command that may fail, as root.

        Args:
            command: a string for `sh`, or words.
            environment: added to that of the settings.
        """
        return self._run(command, environment, keep=True)

    def do(
        self,
        command: str | Sequence[str],
        phrases: Phrases | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> str:
        """Run a command that must not fail, as root.

        Args:
            command: a string for `sh`, or words.
            phrases: what it says where it fails.
            environment: added to that of the settings.

        Returns:
            What it printed, stdout and stderr together; the last MiB.

        Raises:
            CommandFailedError: it did.
        """
        result = self._run(command, environment, keep=None, merge_stderr=True)
        if result.exit_code != 0:
            failure = classify(result.stdout, phrases or {})
            raise CommandFailedError(
                failure, self.excerpt(result.stdout) or f"exit code {result.exit_code}"
            )
        return result.stdout

    def link(self, paths: Sequence[str]) -> None:
        """Put commands where they are found.

        Args:
            paths: below `ROOT`.

        Raises:
            CommandFailedError: something that is none of ours has the name of one already.
        """
        self.do(["sh", "-c", _LINK, "sh", self.bin_folder, *paths], _LINK_CONFLICT)

    def note(self, text: str) -> None:
        """Put a line of our own into the log."""
        self._log.write(f"# {text}\n".encode(errors="replace"))
        self._log.flush()

    def excerpt(self, said: str) -> str:
        """The end of an output for a message: the lines that matter, without secrets."""
        lines = [line.strip() for line in self.mask(said).splitlines() if line.strip()]
        errors = [line for line in lines if _is_error(line)]
        return " | ".join((errors or lines)[-6:])[-1200:]

    def _require(self, command: Sequence[str], stdin: bytes) -> None:
        result = self.executor.run(command, user="0", stdin=stdin, timeout=60)
        if result.exit_code != 0:
            failure = classify(result.stderr, {})
            raise CommandFailedError(failure, f"settings could not be lent to it: {result.stderr}")

    def _run(
        self,
        command: str | Sequence[str],
        environment: Mapping[str, str] | None,
        keep: bool | None,
        merge_stderr: bool = False,
    ) -> CommandResult:
        text = command if isinstance(command, str) else shlex.join(command)
        self._log.write(f"$ {text}\n".encode(errors="replace"))
        self._log.flush()
        log = cast(IO[bytes], self._log)  # it writes, and more is not asked of it
        result = self.executor.run(
            command,
            user="0",
            update_envs={"LC_ALL": "C", **self._environment, **(environment or {})},
            timeout=self._timeout,
            stdout=log,
            stderr=log,
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
