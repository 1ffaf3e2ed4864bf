"""Whether a tool is ready. Only its verifier decides, never an installer's exit code."""

from __future__ import annotations

import re
import shlex
from pathlib import PurePosixPath

from lisa_container.errors import CommandNotStartedError, CommandTimeoutError
from lisa_container.executor import ContainerExecutor
from lisa_container.install.managers.base import Package
from lisa_container.install.tool import Tool

# Seconds that a verifier may take.
_TIMEOUT = 120


class NotReadyError(Exception):
    """It is not, and this is why."""


def verify(executor: ContainerExecutor, tool: Tool, package: Package) -> tuple[str, str]:
    """See that a tool is ready, as the container's own user with its own PATH.

    Args:
        executor: the container.
        tool: as it was asked for.
        package: what its manager has installed.

    Returns:
        The command's path, and the first line that the verifier printed.

    Raises:
        NotReadyError: it is not.
    """
    path = _path(executor, tool, package)
    command = tool.verify or [path, "--version"]
    text = command if isinstance(command, str) else shlex.join(command)
    try:
        result = executor.run(command, merge_stderr=True, timeout=_TIMEOUT, nohup=True)
    except (CommandTimeoutError, CommandNotStartedError) as error:
        raise NotReadyError(str(error)) from error
    said = result.stdout.strip()
    shown = f"it printed: {said[-300:]!r}" if said else "it printed nothing"
    if result.exit_code != 0:
        hint = "" if tool.verify else "; if it knows no --version, give another by verify=…"
        raise NotReadyError(f"'{text}' ended with exit code {result.exit_code}, {shown}{hint}")
    wanted = tool.version.lstrip("v")
    if not tool.verify and not tool.expect and wanted and not has_version(said, wanted):
        raise NotReadyError(
            f"'{text}' does not show version {upstream(wanted)}, {shown}; if it writes it in "
            "another way, give it by expect=…"
        )
    if tool.expect and not re.search(tool.expect, said):
        raise NotReadyError(f"the output of '{text}' does not match {tool.expect!r}, {shown}")
    return path, said.partition("\n")[0]


def _path(executor: ContainerExecutor, tool: Tool, package: Package) -> str:
    """The absolute path of the tool's command."""
    name = tool.command or _name_among(tool, package)
    if not name:
        if tool.verify:
            return ""
        listed = ", ".join(PurePosixPath(path).name for path in package.commands[:10])
        raise NotReadyError(
            f"it has several commands ({listed}): name the one by command=…"
            if listed
            else "its package has no command; name one by command=…, or give a verify=…"
        )
    found = executor.run(["sh", "-c", 'command -v "$1"', "sh", name], timeout=_TIMEOUT)
    if found.exit_code == 0 and found.stdout.startswith("/"):
        return found.stdout
    # Where PATH lacks its folder, as a user's often lacks sbin.
    for path in package.commands:
        if PurePosixPath(path).name == name:
            return path
    raise NotReadyError(f"there is no command '{name}' in the container's PATH")


def _name_among(tool: Tool, package: Package) -> str:
    names = list(dict.fromkeys(PurePosixPath(path).name for path in package.commands))
    # "@scope/tool", "example.org/tool/v2"
    parts = [part for part in tool.name.split("/") if not re.fullmatch(r"v\d+", part)]
    for name in (tool.name, parts[-1] if parts else ""):
        if name in names:
            return name
    return names[0] if len(names) == 1 else ""


def upstream(version: str) -> str:
    """The part of a package's version that the program itself knows: no epoch, no revision.

    >>> upstream("1:1.6-2.1+deb12u1")
    '1.6'
    """
    without_epoch = re.sub(r"^\d+:", "", version)
    # Where a revision follows a number: 1.0-rc1 keeps its, as versions of Python and npm do.
    match = re.match(r"(.+?)-(?:r?\d[^-]*)$", without_epoch)
    base = match[1] if match else without_epoch
    return re.split(r"[+~](?:ds|dfsg|really|git|deb)", base)[0]


def has_version(said: str, version: str) -> bool:
    """Whether a version is in an output, as a whole: 1.6 is not in 1.60 or 11.6."""
    pattern = rf"(?<![\d.]){re.escape(upstream(version))}(?!\d)"
    return re.search(pattern, said) is not None
