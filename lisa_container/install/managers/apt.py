"""apt, the package manager of Debian, Ubuntu and their derivatives."""

from __future__ import annotations

import re
from typing import ClassVar

from lisa_container.install.failures import Failure, Phrases
from lisa_container.install.managers.base import Manager, Package, find_commands, match_version
from lisa_container.install.tool import Tool
from lisa_container.install.workbench import CommandFailedError, Workbench

# Packages take the default answers to their questions.
_ENVIRONMENT = {"DEBIAN_FRONTEND": "noninteractive"}
_GET = (
    "apt-get",
    "--yes",
    "--quiet",
    "--no-install-recommends",
    "--option=Dpkg::Use-Pty=0",
    "--option=DPkg::Lock::Timeout=60",
    # The installer itself retries.
    "--option=Acquire::Retries=0",
    # Keep config files that were changed.
    "--option=Dpkg::Options::=--force-confold",
)


class Apt(Manager):
    """apt-get with the node's `Acquire` settings, but with the image's package sources."""

    name = "apt"
    program = "apt-get"
    is_system = True
    phrases: ClassVar[Phrases] = {
        Failure.NOT_FOUND: r"unable to locate package|has no installation candidate|"
        r"version '.*' for '.*' was not found|couldn't find any package by",
        Failure.CONFLICT: r"unmet dependencies|held broken packages|conflicts with|"
        r"trying to overwrite|dpkg was interrupted",
        # The index is older than the archive. The refresh before the next attempt fixes that.
        Failure.UNREACHABLE: r"failed to fetch .* 404|unable to fetch some archives",
    }

    def refresh(self, workbench: Workbench) -> None:
        """Fetch the index with `apt-get update`."""
        # Without this option, apt-get succeeds even if it could not fetch anything.
        command = [*_GET, "--option=APT::Update::Error-Mode=any", "update"]
        output = workbench.run(command, self.phrases, _ENVIRONMENT)
        # apt before version 2.3 ignores the option.
        if "Some index files failed to download" in output:
            raise CommandFailedError(Failure.UNREACHABLE, workbench.excerpt(output))

    def install(self, workbench: Workbench, tool: Tool) -> None:
        """Install the package with `apt-get install`."""
        package = tool.name
        if tool.version:
            version = match_version(tool.version, self.list_versions(workbench, tool))
            if not version:
                raise CommandFailedError(Failure.NOT_FOUND, "no such version is available")
            package = f"{tool.name}={version}"
        command = [*_GET, "install", "--allow-downgrades", package]
        workbench.run(command, self.phrases, _ENVIRONMENT)

    def describe(self, workbench: Workbench, tool: Tool) -> Package:
        """Describe the package from the dpkg database and `apt-cache`."""
        version = workbench.run(["dpkg-query", "-W", "-f", "${Version}", tool.name])
        files = workbench.run(["dpkg-query", "-L", tool.name])
        policy = workbench.try_run(["apt-cache", "policy", tool.name]).stdout
        shown = workbench.try_run(["apt-cache", "show", f"{tool.name}={version}"]).stdout
        digest = re.search(r"^SHA256: (\S+)", shown, re.MULTILINE)
        checksum = f"sha256:{digest[1]}" if digest else ""
        return Package(version, find_commands(files), parse_origin(policy), checksum)

    def list_versions(self, workbench: Workbench, tool: Tool) -> list[str]:
        """Return the versions in `apt-cache madison`."""
        return parse_versions(workbench.try_run(["apt-cache", "madison", tool.name]).stdout)

    def clean(self, workbench: Workbench) -> None:
        """Remove downloaded packages and indexes."""
        workbench.try_run("apt-get clean; rm -rf /var/lib/apt/lists/*")


def parse_versions(madison: str) -> list[str]:
    """Return the versions that `apt-cache madison` lists, newest first."""
    rows = [line.split("|") for line in madison.splitlines()]
    versions = [row[1].strip() for row in rows if len(row) == 3 and "Sources" not in row[2]]
    return list(dict.fromkeys(versions))


def parse_origin(policy: str) -> str:
    """Return the archive of the installed version in the output of `apt-cache policy`."""
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
