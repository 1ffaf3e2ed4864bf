"""gem, which installs a program from RubyGems among the image's own gems."""

from __future__ import annotations

import re
from typing import ClassVar

from lisa_container.install.failures import Failure, Phrases
from lisa_container.install.managers.base import Manager, Needs, Package
from lisa_container.install.tool import Tool
from lisa_container.install.workbench import CommandFailedError, Workbench

# Prints the version, the folder of the programs, the downloaded file and the programs.
_PROBE = (
    "spec = Gem::Specification.find_by_name(ARGV[0]); "
    'puts spec.version, Gem.bindir, spec.cache_file, spec.executables.join(" ")'
)


class Gem(Manager):
    """`gem install`. For gems that need a compiler, name one in `Tool.packages`."""

    name = "gem"
    program = "gem"
    needs: ClassVar[Needs] = {
        "apt": ("ruby",),
        "dnf": ("rubygems",),
        "tdnf": ("ruby",),
        "yum": ("rubygems",),
        "microdnf": ("rubygems",),
        "apk": ("ruby",),
        "zypper": ("ruby",),
        "pacman": ("rubygems",),
    }
    phrases: ClassVar[Phrases] = {
        Failure.NOT_FOUND: r"could not find a valid gem",
        Failure.CONFLICT: r"conflicting executable|requires Ruby version|conflicts? with|"
        r"unable to resolve dependency|overwrite the executable",
        Failure.UNREACHABLE: r"bad response|unable to download data|SocketError|Net::OpenTimeout|"
        r"too many connection resets",
    }

    def install(self, workbench: Workbench, tool: Tool) -> None:
        """Install the gem with `gem install`."""
        version = ["--version", tool.version] if tool.version else []
        command = ["gem", "install", "--no-document", "--conservative", *version, tool.name]
        workbench.run(command, self.phrases)

    def describe(self, workbench: Workbench, tool: Tool) -> Package:
        """Describe the gem from its specification."""
        lines = workbench.run(["ruby", "-e", _PROBE, tool.name]).splitlines()
        if len(lines) < 3:
            raise CommandFailedError(Failure.OTHER, "gem does not list it as installed")
        version, folder, fetched, names = (*lines, "")[:4]
        commands = tuple(f"{folder}/{name}" for name in names.split())
        digest = workbench.try_run(["sha256sum", fetched]).stdout.partition(" ")[0]
        if not digest:  # the image came with this gem
            return Package(version, commands)
        sources = workbench.try_run(["gem", "sources", "--list"]).stdout.splitlines()
        urls = " ".join(line for line in sources if "://" in line)
        return Package(version, commands, workbench.mask(urls), f"sha256:{digest}")

    def list_versions(self, workbench: Workbench, tool: Tool) -> list[str]:
        """Return the versions in `gem list --remote`."""
        # Without --exact, the name would be a pattern.
        command = ["gem", "list", "--remote", "--all", "--exact", tool.name]
        return parse_versions(workbench.try_run(command).stdout, tool.name)


def parse_versions(listed: str, name: str) -> list[str]:
    """Return the versions in the output of `gem list --all`: `name (2.0, 1.9 ruby java)`."""
    match = re.search(rf"^{re.escape(name)} \((.+)\)$", listed, re.MULTILINE)
    return [part.partition(" ")[0] for part in match[1].split(", ")] if match else []
