"""go install: a program built from a Go module."""

from __future__ import annotations

import re
from typing import ClassVar

from lisa_container.install.failures import Failure, Phrases
from lisa_container.install.managers.base import LanguageManager, Needs, Package
from lisa_container.install.tool import Tool
from lisa_container.install.workbench import Workbench

# Go's own folders while it builds; read-only files are in it.
_PATH = "/var/tmp/lisa_container_go"


class Go(LanguageManager):
    """go install, below /opt/lisa_container/go. The tool's name is the package's path."""

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
        version = tool.version or "latest"
        if version[:1].isdigit():
            version = f"v{version}"
        environment = {
            "GOPATH": _PATH,
            "GOCACHE": f"{_PATH}/cache",
            "GOBIN": f"{self.root(tool)}/bin",
            "GOFLAGS": "-modcacherw",
            "HOME": _PATH,
        }
        workbench.do(["mkdir", "-p", _PATH])
        try:
            workbench.do(["go", "install", f"{tool.name}@{version}"], self.phrases, environment)
        finally:
            workbench.ask(["rm", "-rf", _PATH])
        workbench.link(self._programs(workbench, tool))

    def describe(self, workbench: Workbench, tool: Tool) -> Package:
        programs = self._programs(workbench, tool)
        said = workbench.do(["go", "version", "-m", programs[0]], environment={"HOME": "/"})
        version, module, checksum = module_in(said)
        commands = tuple(f"{workbench.bin_folder}/{path.rpartition('/')[2]}" for path in programs)
        return Package(version, commands, module, checksum)

    def _programs(self, workbench: Workbench, tool: Tool) -> list[str]:
        return workbench.do(["find", f"{self.root(tool)}/bin", "-type", "f"]).split()


def module_in(said: str) -> tuple[str, str, str]:
    """Version, module and checksum in what `go version -m` prints of a program."""
    match = re.search(r"^\s*mod\s+(\S+)\s+(\S+)(?:\s+(h1:\S+))?", said, re.MULTILINE)
    return (match[2].lstrip("v"), match[1], match[3] or "") if match else ("", "", "")
