"""dnf, tdnf, yum and microdnf: Fedora, RHEL and its kin, Azure Linux. One family, one syntax."""

from __future__ import annotations

import re
from typing import ClassVar

from lisa_container.install.failures import Failure, Phrases
from lisa_container.install.managers.base import Manager, Package, commands_among
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
        # rpm's own spelling; without a release it means any.
        package = f"{tool.name}-{tool.version}" if tool.version else tool.name
        workbench.do([self.program, "-y", *self.options, "install", package], self.phrases)

    def describe(self, workbench: Workbench, tool: Tool) -> Package:
        return describe_rpm(workbench, tool.name, self._origin(workbench, tool.name))

    def versions(self, workbench: Workbench, tool: Tool) -> list[str]:
        said = workbench.ask([self.program, "-q", "list", "--showduplicates", tool.name]).stdout
        return versions_in(said, tool.name)

    def clean(self, workbench: Workbench) -> None:
        workbench.ask([self.program, "clean", "all"])

    def _origin(self, workbench: Workbench, package: str) -> str:
        said = workbench.ask([self.program, "-q", "info", "--installed", package]).stdout
        match = re.search(r"^From repo(?:sitory)?\s*:\s*(\S+)", said, re.MULTILINE)
        return match[1] if match else ""


class Tdnf(Dnf):
    """tdnf: Azure Linux and Photon. It knows no weak dependencies."""

    name = "tdnf"
    program = "tdnf"
    options = ()

    def versions(self, workbench: Workbench, tool: Tool) -> list[str]:
        return versions_in(workbench.ask(["tdnf", "-q", "list", tool.name]).stdout, tool.name)


class Yum(Dnf):
    """yum 3, where it is not dnf by another name."""

    name = "yum"
    program = "yum"
    options = ()

    def _origin(self, workbench: Workbench, package: str) -> str:
        said = workbench.ask(["yum", "-q", "info", "installed", package]).stdout
        match = re.search(r"^From repo\s*:\s*(\S+)", said, re.MULTILINE)
        return match[1] if match else ""


class Microdnf(Dnf):
    """microdnf: the minimal images of RHEL and its kin. It lists no versions."""

    name = "microdnf"
    program = "microdnf"

    def versions(self, workbench: Workbench, tool: Tool) -> list[str]:
        return []

    def _origin(self, workbench: Workbench, package: str) -> str:
        return ""


def describe_rpm(workbench: Workbench, package: str, origin: str) -> Package:
    """What rpm's database has of a package.

    Raises:
        CommandFailedError: nothing; it is not installed under this name.
    """
    said = workbench.do(["rpm", "-q", "--qf", _QUERY, package]).splitlines()[-1]
    version, _, header = said.partition("\t")
    files = workbench.do(["rpm", "-q", "--qf", "[%{FILENAMES}\\n]", package])
    checksum = f"sha256-header:{header}" if re.fullmatch("[0-9a-f]{64}", header) else ""
    return Package(version, commands_among(files), origin, checksum)


def versions_in(listed: str, package: str) -> list[str]:
    """The versions in what `list` prints: `name.arch  [epoch:]version-release  repository`."""
    found = []
    for line in listed.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0].rpartition(".")[0] == package:
            found.append(words[1])
    # The oldest comes first there.
    return list(dict.fromkeys(reversed(found)))
