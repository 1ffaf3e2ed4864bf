"""apk, the package manager of Alpine."""

from __future__ import annotations

import re
from typing import ClassVar

from lisa_container.install.failures import Failure, Phrases
from lisa_container.install.managers.base import Manager, Package, find_commands
from lisa_container.install.tool import Tool
from lisa_container.install.workbench import CommandFailedError, Workbench


class Apk(Manager):
    """apk. An Alpine repository has only the newest version of a package."""

    name = "apk"
    program = "apk"
    is_system = True
    phrases: ClassVar[Phrases] = {
        Failure.NOT_FOUND: r"\(no such package\)|breaks: world\[",
        Failure.CONFLICT: r"conflicts:|trying to overwrite",
        Failure.UNREACHABLE: r"temporary error|fetching .*: (?:IO|network|remote server)|"
        r"DNS lookup error|(?:network|connection) (?:error|aborted)|unable to select.*\n.*masked",
        Failure.UNTRUSTED: r"untrusted signature|BAD signature",
    }

    def refresh(self, workbench: Workbench) -> None:
        """Fetch the index with `apk update`."""
        workbench.run(["apk", "update"], self.phrases)

    def install(self, workbench: Workbench, tool: Tool) -> None:
        """Install the package with `apk add`."""
        workbench.run(["apk", "add", format_request(tool)], self.phrases)

    def describe(self, workbench: Workbench, tool: Tool) -> Package:
        """Describe the package from `apk info` and `apk policy`."""
        match = None
        listed = workbench.run(["apk", "info", "-v"])
        for line in listed.splitlines():
            match = match or re.fullmatch(rf"{re.escape(tool.name)}-(\d\S*-r\d+)", line.strip())
        if match is None:
            raise CommandFailedError(Failure.OTHER, "apk does not list it as installed")
        files = workbench.run(["apk", "info", "-q", "-L", tool.name])
        policy = workbench.try_run(["apk", "policy", tool.name]).stdout
        return Package(match[1], find_commands(files), parse_origin(policy, match[1]))

    def list_versions(self, workbench: Workbench, tool: Tool) -> list[str]:
        """Return the versions in `apk policy`."""
        return parse_versions(workbench.try_run(["apk", "policy", tool.name]).stdout)

    def clean(self, workbench: Workbench) -> None:
        """Remove apk's cache."""
        workbench.try_run("rm -rf /var/cache/apk/*")


def format_request(tool: Tool) -> str:
    """Return apk's form of a request: `name`, `name=1.7-r0`, or `name=~1.7` for a prefix."""
    if not tool.version:
        return tool.name
    is_whole = re.search(r"-r\d+$", tool.version)
    return f"{tool.name}={'' if is_whole else '~'}{tool.version}"


def parse_versions(policy: str) -> list[str]:
    """Return the versions that `apk policy` lists as `  1.7-r0:`."""
    return re.findall(r"^  (\S+):$", policy, re.MULTILINE)[::-1]


def parse_origin(policy: str, version: str) -> str:
    """Return the repository of a version in the output of `apk policy`."""
    inside = False
    for line in policy.splitlines():
        if re.fullmatch(r"  \S+:", line):
            inside = line.strip() == f"{version}:"
        elif inside and "lib/apk/db/installed" not in line:
            return line.split()[-1] if line.split() else ""
    return ""
