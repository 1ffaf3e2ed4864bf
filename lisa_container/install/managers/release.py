"""Program from a release: an archive or the program itself, from a URL or a file of this machine.

This machine downloads the file, checks its checksum and copies it into the container. So the image
needs no curl, tar or certificates, and the node no network. Only checked files reach the container.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import requests
import urllib3.exceptions

from lisa_container.forks import temporary_folder
from lisa_container.images.digest import file_digest
from lisa_container.install.failures import Failure
from lisa_container.install.managers.base import LanguageManager, Package
from lisa_container.install.tool import Tool
from lisa_container.install.workbench import CommandFailedError, Workbench
from lisa_container.parsing import parse_int

_CHUNK = 1 << 20
# Time limits in seconds: for the connection, and between two chunks of data.
_TIMEOUT = (20, 60)


class ChecksumError(CommandFailedError):
    """The file does not have the expected checksum."""

    def __init__(self, expected: str, actual: str) -> None:
        """Build the message."""
        super().__init__(Failure.OTHER, f"its checksum is {actual}, not {expected}")


class Release(LanguageManager):
    """Unpack a release below /opt/lisa_container/release and link its command."""

    name = "release"
    program = "sh"

    def install(self, workbench: Workbench, tool: Tool) -> None:
        """Download and check the file, unpack it into the container, and link its command."""
        root = self.root(tool)
        with temporary_folder("lisa_container_") as name:
            folder = Path(name)
            file = _fetch(workbench, tool, folder)
            kind, digest = _check(workbench, tool, file)
            content = folder / "content"
            content.mkdir()
            command = _unpack(file, content, tool)
            workbench.note(f"{kind}:{digest} is the checksum; the command in it is {command}")
            workbench.run(["rm", "-rf", str(root)])
            workbench.run(["mkdir", "-p", str(root.parent)])
            workbench.executor.copy_to(content, root)
            (folder / "origin").write_text(f"{kind}:{digest}\n{command}\n")
            workbench.executor.copy_to(folder / "origin", root.with_name(f".{root.name}.origin"))
        # The copy belongs to the container's user, but a tool must belong to root.
        workbench.run(["chown", "-R", "0:0", str(root)])
        workbench.run(["chmod", "755", f"{root}/{command}"])
        name = tool.command or tool.name
        if Path(command).name != name:
            workbench.run(["ln", "-sf", command, f"{root}/{name}"])
            command = name
        workbench.link([f"{root}/{command}"])

    def describe(self, workbench: Workbench, tool: Tool) -> Package:
        """Describe the release from its record in the container."""
        root = self.root(tool)
        checksum = workbench.run(["cat", f"{root.parent}/.{root.name}.origin"]).partition("\n")[0]
        command = f"{workbench.bin_folder}/{tool.command or tool.name}"
        origin = tool.url or Path(tool.file).resolve().as_uri()
        return Package(tool.version, (command,), _mask_query(workbench, tool, origin), checksum)

    def undo(self, workbench: Workbench, tool: Tool) -> None:
        """Remove the tool's folder and its record."""
        root = self.root(tool)
        workbench.try_run(["rm", "-rf", str(root), f"{root.parent}/.{root.name}.origin"])


def _mask_query(workbench: Workbench, tool: Tool, text: str) -> str:
    """Mask secrets in a text, including the URL's query, which often is a token."""
    query = tool.url.partition("?")[2]
    return workbench.mask(text.replace(query, "***") if query else text)


@contextlib.contextmanager
def _hide_query(tool: Tool) -> Iterator[None]:
    """Keep the URL's query, which may be a token, out of urllib3's debug log."""
    query = tool.url.partition("?")[2]

    def is_harmless(record: logging.LogRecord) -> bool:
        return not query or query not in record.getMessage()

    log = logging.getLogger("urllib3.connectionpool")
    log.addFilter(is_harmless)
    try:
        yield
    finally:
        log.removeFilter(is_harmless)


def _fetch(workbench: Workbench, tool: Tool, folder: Path) -> Path:
    if tool.file:
        file = Path(tool.file)
        if not file.is_file():
            raise CommandFailedError(Failure.NOT_FOUND, f"this machine has no file '{file}'")
        return file
    # The name determines the kind of archive. It has no '/', so it cannot leave the folder.
    name = tool.url.partition("?")[0].rpartition("/")[2] or "download"
    file = folder / f"fetched-{name}"
    workbench.note(f"fetching {_mask_query(workbench, tool, tool.url)}")
    try:
        # No content encoding, because the checksum is that of the stored file.
        headers = {"Accept-Encoding": "identity"}
        with (
            _hide_query(tool),
            requests.get(tool.url, stream=True, timeout=_TIMEOUT, headers=headers) as answer,
        ):
            if answer.status_code != 200:
                raise CommandFailedError(
                    _classify_status(answer.status_code),
                    f"the server answered {answer.status_code} {answer.reason}",
                )
            with file.open("wb") as target:
                for chunk in answer.iter_content(_CHUNK):
                    target.write(chunk)
            length = parse_int(answer.headers.get("Content-Length", ""))
            if length is not None and length != file.stat().st_size:
                raise CommandFailedError(Failure.UNREACHABLE, "the connection broke on the way")
    except requests.exceptions.SSLError as error:
        raise CommandFailedError(
            Failure.UNTRUSTED, _mask_query(workbench, tool, str(error))
        ) from error
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise CommandFailedError(
            Failure.UNREACHABLE, _mask_query(workbench, tool, str(error))
        ) from error
    return file


def _classify_status(status: int) -> Failure:
    if status in (401, 403, 407):
        return Failure.UNAUTHORIZED
    if status in (404, 410):
        return Failure.NOT_FOUND
    return Failure.UNREACHABLE if status in (408, 425, 429) or status >= 500 else Failure.OTHER


def _check(workbench: Workbench, tool: Tool, file: Path) -> tuple[str, str]:
    kind, expected = tool.digest
    kind = kind or "sha256"
    actual = file_digest(file, kind)
    if expected and actual != expected:
        raise ChecksumError(f"{kind}:{expected}", f"{kind}:{actual}")
    if not expected:
        workbench.note(f"no checksum was given for '{file}'")
    return kind, actual


def _unpack(file: Path, folder: Path, tool: Tool) -> str:
    """Unpack a file into a folder and return the command's path in it."""
    name = tool.command or tool.name
    if tarfile.is_tarfile(file):
        _untar(file, folder)
    elif zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            archive.extractall(folder)  # extractall() removes '..' and leading slashes
    else:
        shutil.copyfile(file, folder / name)
        return name
    matches = sorted(
        (path for path in folder.rglob(name) if path.is_file()),
        key=lambda path: (path.parent.name != "bin", len(path.parts)),
    )
    if not matches:
        names = sorted(
            str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()
        )
        raise CommandFailedError(
            Failure.OTHER,
            f"the archive has no file '{name}'. Name the program with command=…; it contains: "
            f"{', '.join(names[:10])}{'…' if len(names) > 10 else ''}",
        )
    return str(matches[0].relative_to(folder))


def _untar(file: Path, folder: Path) -> None:
    if not hasattr(tarfile, "data_filter"):
        raise CommandFailedError(
            Failure.OTHER,
            "this Python cannot unpack archives safely; use 3.9.17, 3.10.12, 3.11.4 or newer",
        )
    try:
        with tarfile.open(file) as archive:
            # The filter refuses devices and paths outside of the folder.
            archive.extractall(folder, filter="data")
    except (tarfile.TarError, EOFError, OSError) as error:
        raise CommandFailedError(
            Failure.OTHER, f"the archive is damaged or unsafe: {error}"
        ) from error
