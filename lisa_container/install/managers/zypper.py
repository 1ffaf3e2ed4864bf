"""zypper: openSUSE and SLES."""

from __future__ import annotations

import re
from typing import ClassVar

from lisa_container.install.failures import Failure, Phrases
from lisa_container.install.managers.base import Manager, Package, matching
from lisa_container.install.managers.dnf import describe_rpm
from lisa_container.install.tool import Tool
from lisa_container.install.workbench import Workbench

_QUIET = ("zypper", "--non-interactive")


class Zypper(Manager):
    """zypper. No key of a repository is accepted that the image does not trust already."""

    name = "zypper"
    program = "zypper"
    is_system = True
    phrases: ClassVar[Phrases] = {
        Failure.NOT_FOUND: r"not found in package names|no provider of .* found|"
        r"package .* not found",
        Failure.CONFLICT: r"conflicts with|nothing provides|file conflicts|"
        r"the to be installed .* requires|cannot install both",
        Failure.UNREACHABLE: r"download \(curl\) error|is invalid\.|"
        r"failed to retrieve new repository|valid metadata not found",
    }

    def refresh(self, workbench: Workbench) -> None:
        workbench.do([*_QUIET, "refresh"], self.phrases)

    def install(self, workbench: Workbench, tool: Tool) -> None:
        package = tool.name
        if tool.version:
            version = matching(tool.version, self.versions(workbench, tool)) or tool.version
            package = f"{tool.name}={version}"
        command = [*_QUIET, "install", "--no-recommends", "--oldpackage", package]
        workbench.do(command, self.phrases)

    def describe(self, workbench: Workbench, tool: Tool) -> Package:
        said = workbench.ask([*_QUIET, "info", tool.name]).stdout
        match = re.search(r"^Repository\s*:\s*(.+?)\s*$", said, re.MULTILINE)
        return describe_rpm(workbench, tool.name, match[1] if match else "")

    def versions(self, workbench: Workbench, tool: Tool) -> list[str]:
        command = [*_QUIET, "search", "--details", "--match-exact", "--type=package", tool.name]
        return versions_in(workbench.ask(command).stdout, tool.name)

    def clean(self, workbench: Workbench) -> None:
        workbench.ask([*_QUIET, "clean", "--all"])


def versions_in(table: str, package: str) -> list[str]:
    """The versions in the table that `search --details` prints."""
    rows = [[cell.strip() for cell in line.split("|")] for line in table.splitlines()]
    found = [row[3] for row in rows if len(row) >= 6 and row[1] == package]
    return list(dict.fromkeys(found))
