"""zypper, the package manager of openSUSE and SLES."""

from __future__ import annotations

import re
from typing import ClassVar

from lisa_container.install.failures import Failure, Phrases
from lisa_container.install.managers.base import Manager, Package, match_version
from lisa_container.install.managers.dnf import describe_rpm
from lisa_container.install.tool import Tool
from lisa_container.install.workbench import Workbench

_QUIET = ("zypper", "--non-interactive")


class Zypper(Manager):
    """zypper. It accepts only repository keys that the image already trusts."""

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
        """Fetch the indexes with `zypper refresh`."""
        workbench.run([*_QUIET, "refresh"], self.phrases)

    def install(self, workbench: Workbench, tool: Tool) -> None:
        """Install the package with `zypper install`."""
        package = tool.name
        if tool.version:
            version = match_version(tool.version, self.list_versions(workbench, tool))
            package = f"{tool.name}={version or tool.version}"
        command = [*_QUIET, "install", "--no-recommends", "--oldpackage", package]
        workbench.run(command, self.phrases)

    def describe(self, workbench: Workbench, tool: Tool) -> Package:
        """Describe the package from the rpm database and `zypper info`."""
        output = workbench.try_run([*_QUIET, "info", tool.name]).stdout
        match = re.search(r"^Repository\s*:\s*(.+?)\s*$", output, re.MULTILINE)
        return describe_rpm(workbench, tool.name, match[1] if match else "")

    def list_versions(self, workbench: Workbench, tool: Tool) -> list[str]:
        """Return the versions in `zypper search`."""
        command = [*_QUIET, "search", "--details", "--match-exact", "--type=package", tool.name]
        return parse_versions(workbench.try_run(command).stdout, tool.name)

    def clean(self, workbench: Workbench) -> None:
        """Remove zypper's caches."""
        workbench.try_run([*_QUIET, "clean", "--all"])


def parse_versions(table: str, package: str) -> list[str]:
    """Return the versions in the table that `search --details` prints."""
    rows = [[cell.strip() for cell in line.split("|")] for line in table.splitlines()]
    versions = [row[3] for row in rows if len(row) >= 6 and row[1] == package]
    return list(dict.fromkeys(versions))
