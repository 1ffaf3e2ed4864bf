"""apt: Debian, Ubuntu and what is made of them."""

from __future__ import annotations

from typing import ClassVar

from lisa_container.install.failures import Failure, Phrases
from lisa_container.install.managers.base import Manager, Package, commands_among, matching
from lisa_container.install.tool import Tool
from lisa_container.install.workbench import CommandFailedError, Workbench

# A package that asks a question gets its own answer; a file of the user's stays.
_ENVIRONMENT = {"DEBIAN_FRONTEND": "noninteractive"}
_GET = (
    "apt-get",
    "--yes",
    "--quiet",
    "--no-install-recommends",
    "--option=Dpkg::Use-Pty=0",
    "--option=DPkg::Lock::Timeout=60",
    # The installer tries again, and counts.
    "--option=Acquire::Retries=0",
    "--option=Dpkg::Options::=--force-confold",
)


class Apt(Manager):
    """apt-get. `Acquire` settings of the node are used, its sources are not."""

    name = "apt"
    program = "apt-get"
    is_system = True
    phrases: ClassVar[Phrases] = {
        Failure.NOT_FOUND: r"unable to locate package|has no installation candidate|"
        r"version '.*' for '.*' was not found|couldn't find any package by",
        Failure.CONFLICT: r"unmet dependencies|held broken packages|conflicts with|"
        r"trying to overwrite|dpkg was interrupted",
        # The index is older than the archive: the refresh before the next try mends that.
        Failure.UNREACHABLE: r"failed to fetch .* 404|unable to fetch some archives",
    }

    def refresh(self, workbench: Workbench) -> None:
        # Without the option it succeeds though nothing could be fetched.
        command = [*_GET, "--option=APT::Update::Error-Mode=any", "update"]
        said = workbench.do(command, self.phrases, _ENVIRONMENT)
        # Before apt 2.3 the option means nothing.
        if "Some index files failed to download" in said:
            raise CommandFailedError(Failure.UNREACHABLE, workbench.excerpt(said))

    def install(self, workbench: Workbench, tool: Tool) -> None:
        package = tool.name
        if tool.version:
            version = matching(tool.version, self.versions(workbench, tool))
            if not version:
                raise CommandFailedError(Failure.NOT_FOUND, "none of its versions is that one")
            package = f"{tool.name}={version}"
        command = [*_GET, "install", "--allow-downgrades", package]
        workbench.do(command, self.phrases, _ENVIRONMENT)

    def describe(self, workbench: Workbench, tool: Tool) -> Package:
        version = workbench.do(["dpkg-query", "-W", "-f", "${Version}", tool.name])
        files = workbench.do(["dpkg-query", "-L", tool.name])
        policy = workbench.ask(["apt-cache", "policy", tool.name]).stdout
        shown = workbench.ask(["apt-cache", "show", f"{tool.name}={version}"]).stdout
        sums = [line.split()[1] for line in shown.splitlines() if line.startswith("SHA256: ")]
        checksum = f"sha256:{sums[0]}" if sums else ""
        return Package(version, commands_among(files), origin_of(policy), checksum)

    def versions(self, workbench: Workbench, tool: Tool) -> list[str]:
        return versions_in(workbench.ask(["apt-cache", "madison", tool.name]).stdout)

    def clean(self, workbench: Workbench) -> None:
        workbench.ask("apt-get clean; rm -rf /var/lib/apt/lists/*")


def versions_in(madison: str) -> list[str]:
    """The versions that `apt-cache madison` lists, the newest first."""
    rows = [line.split("|") for line in madison.splitlines()]
    versions = [row[1].strip() for row in rows if len(row) == 3 and "Sources" not in row[2]]
    return list(dict.fromkeys(versions))


def origin_of(policy: str) -> str:
    """The archive of the installed version, as `apt-cache policy` has it."""
    is_installed = False
    for line in policy.splitlines():
        words = line.split()
        if words[:1] == ["***"]:
            is_installed = True
        elif is_installed and len(words) >= 3 and words[0].lstrip("-").isdigit():
            if "/" in words[1] and not words[1].startswith("/"):
                return " ".join(words[1:])
        elif is_installed:
            break
    return ""
