"""dnf, tdnf, yum and microdnf, the package managers of Fedora, RHEL and Azure Linux.

They share a syntax.
"""

from __future__ import annotations

import re
from typing import ClassVar

from lisa_container.install.failures import Failure, Phrases
from lisa_container.install.managers.base import Manager, Package, find_commands
from lisa_container.install.tool import Tool
from lisa_container.install.workbench import Workbench

_QUERY = "%{VERSION}-%{RELEASE}\\t%{SHA256HEADER}\\n"


class Dnf(Manager):
    """dnf 4 and 5."""

    name = "dnf"
    program = "dnf"
    is_system = True
    phrases: ClassVar[Phrases] = {
        Failure.NOT_FOUND: r"no match for argument|unable to find a match|no package .* available|"
        r"no matching packages|failed to resolve the transaction:\s*no match|"
        # tdnf
        r"no matching package|error\(1011\)",
        Failure.CONFLICT: r"conflicting requests|conflicts with|nothing provides|"
        r"transaction (?:test|check) error|file .* from install of .* conflicts|"
        r"(?:error\()?1525",
        Failure.NO_SPACE: r"needs \d+\s*[KMG]i?B (?:more space )?on the|at least .* more space",
        Failure.UNREACHABLE: r"failed to download metadata|cannot download repomd|curl error|"
        r"all mirrors were tried|cannot prepare internal mirrorlist",
    }
    options: tuple[str, ...] = ("--setopt=install_weak_deps=False",)

    def install(self, workbench: Workbench, tool: Tool) -> None:
        """Install the package with the manager's `install`."""
        # rpm's notation. Without a release, it matches any release.
        package = f"{tool.name}-{tool.version}" if tool.version else tool.name
        workbench.run([self.program, "-y", *self.options, "install", package], self.phrases)

    def describe(self, workbench: Workbench, tool: Tool) -> Package:
        """Describe the package from the rpm database."""
        return describe_rpm(workbench, tool.name, self._origin(workbench, tool.name))

    def list_versions(self, workbench: Workbench, tool: Tool) -> list[str]:
        """Return the versions that the manager lists."""
        output = workbench.try_run(
            [self.program, "-q", "list", "--showduplicates", tool.name]
        ).stdout
        return parse_versions(output, tool.name)

    def clean(self, workbench: Workbench) -> None:
        """Remove the manager's cache."""
        workbench.try_run([self.program, "clean", "all"])

    def _origin(self, workbench: Workbench, package: str) -> str:
        output = workbench.try_run([self.program, "-q", "info", "--installed", package]).stdout
        match = re.search(r"^From repo(?:sitory)?\s*:\s*(\S+)", output, re.MULTILINE)
        return match[1] if match else ""


class Tdnf(Dnf):
    """tdnf, of Azure Linux and Photon. It has no weak dependencies."""

    name = "tdnf"
    program = "tdnf"
    options = ()

    def list_versions(self, workbench: Workbench, tool: Tool) -> list[str]:
        """Return the versions that the manager lists."""
        return parse_versions(
            workbench.try_run(["tdnf", "-q", "list", tool.name]).stdout, tool.name
        )


class Yum(Dnf):
    """yum 3, if `yum` is not another name of dnf."""

    name = "yum"
    program = "yum"
    options = ()

    def _origin(self, workbench: Workbench, package: str) -> str:
        output = workbench.try_run(["yum", "-q", "info", "installed", package]).stdout
        match = re.search(r"^From repo\s*:\s*(\S+)", output, re.MULTILINE)
        return match[1] if match else ""


class Microdnf(Dnf):
    """microdnf, of minimal RHEL images. It cannot list versions."""

    name = "microdnf"
    program = "microdnf"

    def list_versions(self, workbench: Workbench, tool: Tool) -> list[str]:
        """Return an empty list."""
        return []

    def _origin(self, workbench: Workbench, package: str) -> str:
        return ""


def describe_rpm(workbench: Workbench, package: str, origin: str) -> Package:
    """Return the description of an installed package from the rpm database.

    Raises:
        CommandFailedError: no package of this name is installed.
    """
    output = workbench.run(["rpm", "-q", "--qf", _QUERY, package])
    version, _, header = output.rpartition("\n")[2].partition("\t")
    files = workbench.run(["rpm", "-q", "--qf", "[%{FILENAMES}\\n]", package])
    checksum = f"sha256-header:{header}" if re.fullmatch("[0-9a-f]{64}", header) else ""
    return Package(version, find_commands(files), origin, checksum)


def parse_versions(listed: str, package: str) -> list[str]:
    """Return the versions in the output of `list`, newest first.

    A line is `name.arch  [epoch:]version-release  repository`.
    """
    versions = []
    for line in listed.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0].rpartition(".")[0] == package:
            versions.append(words[1])
    # The output lists the oldest first.
    return list(dict.fromkeys(reversed(versions)))
