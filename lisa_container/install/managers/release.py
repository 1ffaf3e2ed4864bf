"""A program from a release: an archive or the program itself, by URL or from this machine.

This machine fetches it, sees that the checksum is right and sends it into the container: the image
needs no curl, no tar and no certificates for that, and the node no way out. The container gets only
what is known to be right.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import requests
import urllib3.exceptions

from lisa_container.install.digest import file_digest
from lisa_container.install.failures import Failure
from lisa_container.install.managers.base import LanguageManager, Package
from lisa_container.install.tool import Tool
from lisa_container.install.workbench import CommandFailedError, Workbench

_CHUNK = 1 << 20
# Seconds for the connection, and without any data.
_TIMEOUT = (20, 60)


class ChecksumError(CommandFailedError):
    """The file is not the one that the checksum stands for."""

    def __init__(self, expected: str, found: str) -> None:
        super().__init__(Failure.OTHER, f"its checksum is {found}, not {expected}")


class Release(LanguageManager):
    """Unpacks below /opt/lisa_container/release and links the command."""

    name = "release"
    program = "sh"

    def install(self, workbench: Workbench, tool: Tool) -> None:
        root = self.root(tool)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            file = _fetched(workbench, tool, folder)
            kind, digest = _check(workbench, tool, file)
            content = folder / "content"
            content.mkdir()
            command = _unpacked(file, content, tool)
            workbench.note(f"{kind}:{digest} is as expected; the command is {command} in it")
            workbench.do(["rm", "-rf", str(root)])
            workbench.do(["mkdir", "-p", str(root.parent)])
            workbench.executor.copy_to(content, root)
            (folder / "origin").write_text(f"{kind}:{digest}\n{command}\n")
            workbench.executor.copy_to(folder / "origin", root.with_name(f".{root.name}.origin"))
        # The copy belongs to the container's user; a tool belongs to root.
        workbench.do(["chown", "-R", "0:0", str(root)])
        workbench.do(["chmod", "755", f"{root}/{command}"])
        name = tool.command or tool.name
        if Path(command).name != name:
            workbench.do(["ln", "-sf", command, f"{root}/{name}"])
            command = name
        workbench.link([f"{root}/{command}"])

    def describe(self, workbench: Workbench, tool: Tool) -> Package:
        root = self.root(tool)
        checksum = workbench.do(["cat", f"{root.parent}/.{root.name}.origin"]).split()[0]
        command = f"{workbench.bin_folder}/{tool.command or tool.name}"
        origin = tool.url or Path(tool.file).resolve().as_uri()
        return Package(tool.version, (command,), _shown(workbench, tool, origin), checksum)

    def undo(self, workbench: Workbench, tool: Tool) -> None:
        root = self.root(tool)
        workbench.ask(["rm", "-rf", str(root), f"{root.parent}/.{root.name}.origin"])


def _shown(workbench: Workbench, tool: Tool, text: str) -> str:
    """A text without the secrets of the URL: what is behind its question mark often is one."""
    query = tool.url.partition("?")[2]
    return workbench.mask(text.replace(query, "***") if query else text)


@contextlib.contextmanager
def _quiet(tool: Tool) -> Iterator[None]:
    """urllib3 writes what is behind the question mark into its debug log."""
    query = tool.url.partition("?")[2]

    def is_harmless(record: logging.LogRecord) -> bool:
        return not query or query not in record.getMessage()

    log = logging.getLogger("urllib3.connectionpool")
    log.addFilter(is_harmless)
    try:
        yield
    finally:
        log.removeFilter(is_harmless)


def _fetched(workbench: Workbench, tool: Tool, folder: Path) -> Path:
    if tool.file:
        file = Path(tool.file)
        if not file.is_file():
            raise CommandFailedError(Failure.NOT_FOUND, f"this machine has no file '{file}'")
        return file
    # The name tells the kind of archive; it may not lead out of the folder.
    name = tool.url.partition("?")[0].rpartition("/")[2] or "download"
    file = folder / f"fetched-{name}"
    workbench.note(f"fetching {_shown(workbench, tool, tool.url)}")
    try:
        # As it is: the checksum is of what lies there, not of what a server makes of it.
        headers = {"Accept-Encoding": "identity"}
        with (
            _quiet(tool),
            requests.get(tool.url, stream=True, timeout=_TIMEOUT, headers=headers) as answer,
        ):
            if answer.status_code != 200:
                raise CommandFailedError(
                    _failure_of(answer.status_code),
                    f"the server answered {answer.status_code} {answer.reason}",
                )
            with file.open("wb") as target:
                for chunk in answer.iter_content(_CHUNK):
                    target.write(chunk)
            length = answer.headers.get("Content-Length", "")
            if length.isdigit() and int(length) != file.stat().st_size:
                raise CommandFailedError(Failure.UNREACHABLE, "the connection broke on the way")
    except requests.exceptions.SSLError as error:
        raise CommandFailedError(Failure.UNTRUSTED, _shown(workbench, tool, str(error))) from error
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise CommandFailedError(
            Failure.UNREACHABLE, _shown(workbench, tool, str(error))
        ) from error
    return file


def _failure_of(status: int) -> Failure:
    if status in (401, 403, 407):
        return Failure.UNAUTHORIZED
    if status in (404, 410):
        return Failure.NOT_FOUND
    return Failure.UNREACHABLE if status in (408, 425, 429) or status >= 500 else Failure.OTHER


def _check(workbench: Workbench, tool: Tool, file: Path) -> tuple[str, str]:
    kind, expected = tool.digest
    kind = kind or "sha256"
    found = file_digest(file, kind)
    if expected and found != expected:
        raise ChecksumError(f"{kind}:{expected}", f"{kind}:{found}")
    if not expected:
        workbench.note(f"no checksum was given for '{file}'")
    return kind, found


def _unpacked(file: Path, folder: Path, tool: Tool) -> str:
    """Put what is in a file into a folder; the command's path in there."""
    name = tool.command or tool.name
    if tarfile.is_tarfile(file):
        _untar(file, folder)
    elif zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            archive.extractall(folder)  # it strips '..' and leading slashes
    else:
        shutil.copyfile(file, folder / name)
        return name
    found = sorted(
        (path for path in folder.rglob(name) if path.is_file()),
        key=lambda path: (path.parent.name != "bin", len(path.parts)),
    )
    if not found:
        there = sorted(
            str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()
        )
        raise CommandFailedError(
            Failure.OTHER,
            f"there is no file '{name}' in the archive. Name the program by command=…; in it are: "
            f"{', '.join(there[:10])}{'…' if len(there) > 10 else ''}",
        )
    return str(found[0].relative_to(folder))


def _untar(file: Path, folder: Path) -> None:
    if not hasattr(tarfile, "data_filter"):
        raise CommandFailedError(
            Failure.OTHER,
            "this Python cannot unpack archives safely; use 3.9.17, 3.10.12, 3.11.4 or newer",
        )
    try:
        with tarfile.open(file) as archive:
            # It refuses what would be written outside, and devices.
            archive.extractall(folder, filter="data")
    except (tarfile.TarError, EOFError, OSError) as error:
        raise CommandFailedError(Failure.OTHER, f"its archive is not sound: {error}") from error
