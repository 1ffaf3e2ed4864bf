"""Verification that a tool is ready. Only the verifier decides, not the installer's exit code."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import PurePosixPath

from lisa_container.container.container import Container
from lisa_container.errors import CommandNotStartedError, CommandTimeoutError
from lisa_container.install.managers.base import Package
from lisa_container.install.tool import Tool

# Time limit of a verifier in seconds.
_TIMEOUT = 120
# Arguments with which programs show their version: GNU's, those of older programs, of Go programs.
_SHOW_VERSION = ("--version", "-V", "version")


class NotReadyError(Exception):
    """The tool is not ready. The message has the reason."""


def verify(executor: Container, tool: Tool, package: Package) -> tuple[str, str]:
    """Verify that a tool is ready for the container's own user, with its own PATH.

    Args:
        executor: the container.
        tool: the requested tool.
        package: the installed package.

    Returns:
        Path of the command, "" if no command stands for the tool; and the first line of the
        verifier's output.

    Raises:
        NotReadyError: the tool is not ready.
    """
    path = _path(executor, tool, package)
    if not path and not tool.verify:
        return "", _verify_all_there(executor, tool, package)
    if tool.verify:
        commands = [tool.verify if isinstance(tool.verify, str) else shlex.join(tool.verify)]
        run = [tool.verify]
    else:
        run = [[path, option] for option in _SHOW_VERSION]
        commands = [shlex.join(words) for words in run]
    reasons = []
    for text, command in zip(commands, run):
        try:
            return path, _verify_by(executor, tool, text, command)
        except NotReadyError as error:
            reasons.append(error)
    raise reasons[0]


def _verify_by(executor: Container, tool: Tool, text: str, command: str | Sequence[str]) -> str:
    """Run a verifier; return the first line of its output."""
    try:
        result = executor.run(command, merge_stderr=True, timeout=_TIMEOUT, nohup=True)
    except (CommandTimeoutError, CommandNotStartedError) as error:
        raise NotReadyError(str(error)) from error
    output = result.stdout.strip()
    shown = f"it printed: {output[-300:]!r}" if output else "it printed nothing"
    if result.exit_code != 0:
        hint = "" if tool.verify else "; if it has no --version, give another command with verify=…"
        raise NotReadyError(f"'{text}' ended with exit code {result.exit_code}, {shown}{hint}")
    wanted = tool.version.lstrip("v")
    if not tool.verify and not tool.expect and wanted and not has_version(output, wanted):
        raise NotReadyError(
            f"'{text}' does not show version {upstream_version(wanted)}, {shown}; if it prints the "
            "version differently, give a pattern with expect=…"
        )
    if tool.expect and not re.search(tool.expect, output):
        raise NotReadyError(f"the output of '{text}' does not match {tool.expect!r}, {shown}")
    return output.partition("\n")[0]


def _verify_all_there(executor: Container, tool: Tool, package: Package) -> str:
    """Check the commands of a package of which none stands for it; return them as a text."""
    names = _names(package)
    if not names:
        raise NotReadyError(
            "its package has no command; name one with command=…, or give a verify=…"
        )
    listed = ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
    if tool.expect:
        raise NotReadyError(f"it has several commands ({listed}): choose one with command=…")
    words = ["sh", "-c", 'for file; do [ -x "$file" ] || echo "$file"; done', "sh"]
    result = executor.run([*words, *package.commands], timeout=_TIMEOUT)
    if result.stdout:
        raise NotReadyError(f"these commands of its package cannot be executed: {result.stdout}")
    return f"commands: {listed}"


def _path(executor: Container, tool: Tool, package: Package) -> str:
    """Return the absolute path of the tool's command, or "" if no command stands for the tool."""
    name = tool.command or choose_command(tool, package)
    if not name:
        return ""
    result = executor.run(["sh", "-c", 'command -v "$1"', "sh", name], timeout=_TIMEOUT)
    if result.exit_code == 0 and result.stdout.startswith("/"):
        return result.stdout
    # A user's PATH may lack the command's folder, such as sbin.
    for path in package.commands:
        if PurePosixPath(path).name == name:
            return path
    raise NotReadyError(f"the container's PATH has no command '{name}'")


def choose_command(tool: Tool, package: Package) -> str:
    """Return the name of the command that stands for a package, or "" if there is no such one.

    >>> commands = ("/usr/bin/ping", "/usr/bin/ping4", "/usr/bin/ping6")
    >>> choose_command(Tool("iputils-ping"), Package("1", commands))
    'ping'
    """
    names = _names(package)
    # "@scope/tool", "example.org/tool/v2"
    parts = [part for part in tool.name.split("/") if not re.fullmatch(r"v\d+", part)]
    last = parts[-1] if parts else ""
    # "iputils-ping", "xz-utils", "python3-venv"
    for name in (tool.name, last, *re.split(r"[-_.]", last)):
        if name in names:
            return name
    return names[0] if len(names) == 1 else ""


def _names(package: Package) -> list[str]:
    return list(dict.fromkeys(PurePosixPath(path).name for path in package.commands))


def upstream_version(version: str) -> str:
    """Return the upstream part of a package's version, without epoch and revision.

    >>> upstream_version("1:1.6-2.1+deb12u1")
    '1.6'
    """
    without_epoch = re.sub(r"^\d+:", "", version)
    # Remove a revision only if it is a number, so that 1.0-rc1 stays.
    match = re.match(r"(.+?)-(?:r?\d[^-]*)$", without_epoch)
    base = match[1] if match else without_epoch
    return re.split(r"[+~](?:ds|dfsg|really|git|deb)", base)[0]


def has_version(output: str, version: str) -> bool:
    """Return whether an output contains a version; 1.60 and 11.6 do not contain 1.6."""
    pattern = rf"(?<![\d.]){re.escape(upstream_version(version))}(?!\d)"
    return re.search(pattern, output) is not None
