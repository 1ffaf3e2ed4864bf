"""apk: Alpine."""

from __future__ import annotations

import re
from typing import ClassVar

from lisa_container.install.failures import Failure, Phrases
from lisa_container.install.managers.base import Manager, Package, commands_among
from lisa_container.install.tool import Tool
from lisa_container.install.workbench import CommandFailedError, Workbench


class Apk(Manager):
    """apk. A repository of Alpine has only one version of a package, the newest."""

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
        workbench.do(["apk", "update"], self.phrases)

    def install(self, workbench: Workbench, tool: Tool) -> None:
        workbench.do(["apk", "add", request(tool)], self.phrases)

    def describe(self, workbench: Workbench, tool: Tool) -> Package:
        match = None
        listed = workbench.do(["apk", "info", "-v"])
        for line in listed.splitlines():
            match = match or re.fullmatch(rf"{re.escape(tool.name)}-(\d\S*-r\d+)", line.strip())
        if match is None:
            raise CommandFailedError(Failure.OTHER, "apk does not list it as installed")
        files = workbench.do(["apk", "info", "-q", "-L", tool.name])
        policy = workbench.ask(["apk", "policy", tool.name]).stdout
        return Package(match[1], commands_among(files), origin_of(policy, match[1]))

    def versions(self, workbench: Workbench, tool: Tool) -> list[str]:
        return versions_in(workbench.ask(["apk", "policy", tool.name]).stdout)

    def clean(self, workbench: Workbench) -> None:
        workbench.ask("rm -rf /var/cache/apk/*")


def request(tool: Tool) -> str:
    """How to ask for it: `name`, `name=1.7-r0`, or `name=~1.7` for what begins so."""
    if not tool.version:
        return tool.name
    is_whole = re.search(r"-r\d+$", tool.version)
    return f"{tool.name}={'' if is_whole else '~'}{tool.version}"


def versions_in(policy: str) -> list[str]:
    """The versions that `apk policy` lists: `  1.7-r0:`."""
    return re.findall(r"^  (\S+):$", policy, re.MULTILINE)[::-1]


def origin_of(policy: str, version: str) -> str:
    """The repository of a version in what `apk policy` lists."""
    inside = False
    for line in policy.splitlines():
        if re.fullmatch(r"  \S+:", line):
            inside = line.strip() == f"{version}:"
        elif inside and "lib/apk/db/installed" not in line:
            return line.split()[-1] if line.split() else ""
    return ""
