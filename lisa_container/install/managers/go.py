"""go, which builds a program from a Go module."""

from __future__ import annotations

import re
from typing import ClassVar

from lisa_container.install.failures import Failure, Phrases
from lisa_container.install.managers.base import LanguageManager, Needs, Package
from lisa_container.install.tool import Tool
from lisa_container.install.workbench import Workbench


class Go(LanguageManager):
    """`go install` below /opt/lisa_container/go. The tool's name is the package's path."""

    name = "go"
    program = "go"
    needs: ClassVar[Needs] = {
        "apt": ("golang-go", "ca-certificates"),
        "dnf": ("golang",),
        "tdnf": ("golang",),
        "yum": ("golang",),
        "apk": ("go",),
        "zypper": ("go",),
        "pacman": ("go",),
    }
    phrases: ClassVar[Phrases] = {
        Failure.NOT_FOUND: r"not found: module|unknown revision|no matching versions|404 Not Found|"
        r"410 Gone|does not contain package|no such file or directory|malformed module path|"
        r"unrecognized import path|is not in (?:std|GOROOT)|invalid version",
        Failure.CONFLICT: r"requires go1?\S* or later|note: module requires Go|"
        r"must not contain directives|declares its path as",
        Failure.UNTRUSTED: r"checksum mismatch|SECURITY ERROR",
    }

    def install(self, workbench: Workbench, tool: Tool) -> None:
        """Build and install the program with `go install`, and link it."""
        version = tool.version or "latest"
        if version[:1].isdigit():
            version = f"v{version}"
        # Go's caches during the build. No other user of the container can write there.
        caches = f"{self.root(tool)}/.go"
        environment = {
            "GOPATH": caches,
            "GOCACHE": f"{caches}/cache",
            "GOBIN": f"{self.root(tool)}/bin",
            "GOFLAGS": "-modcacherw",
            "HOME": caches,
        }
        command = ["go", "install", "-v", f"{tool.name}@{version}"]
        workbench.run(["mkdir", "-p", "-m", "700", caches])
        try:
            workbench.run(command, self.phrases, environment)
        finally:
            workbench.try_run(["rm", "-rf", caches])
        workbench.link(self._programs(workbench, tool))

    def describe(self, workbench: Workbench, tool: Tool) -> Package:
        """Describe the program from its embedded build information."""
        programs = self._programs(workbench, tool)
        output = workbench.run(["go", "version", "-m", *programs[:1]], environment={"HOME": "/"})
        version, module, checksum = parse_module(output)
        commands = tuple(f"{workbench.bin_folder}/{path.rpartition('/')[2]}" for path in programs)
        return Package(version, commands, module, checksum)

    def _programs(self, workbench: Workbench, tool: Tool) -> list[str]:
        return workbench.run(["find", f"{self.root(tool)}/bin", "-type", "f"]).split()


def parse_module(output: str) -> tuple[str, str, str]:
    """Return version, module and checksum in the output of `go version -m`."""
    match = re.search(r"^\s*mod\s+(\S+)\s+(\S+)(?:\s+(h1:\S+))?", output, re.MULTILINE)
    return (match[2].lstrip("v"), match[1], match[3] or "") if match else ("", "", "")
