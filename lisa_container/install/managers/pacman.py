"""pacman: Arch."""

from __future__ import annotations

from typing import ClassVar

from lisa_container.install.failures import Failure, Phrases
from lisa_container.install.managers.base import Manager, Package, commands_among, matching
from lisa_container.install.tool import Tool
from lisa_container.install.workbench import CommandFailedError, Workbench

_QUIET = ("pacman", "--noconfirm", "--noprogressbar")


class Pacman(Manager):
    """pacman. A repository has one version of a package; another one cannot be asked for, so a
    version that differs is refused before anything is installed."""

    name = "pacman"
    program = "pacman"
    is_system = True
    phrases: ClassVar[Phrases] = {
        Failure.NOT_FOUND: r"target not found",
        Failure.CONFLICT: r"conflicting (?:files|dependencies)|are in conflict|"
        r"exists in filesystem|could not satisfy dependencies",
        Failure.UNREACHABLE: r"failed (?:retrieving file|to synchronize|to update)|"
        r"failed to retrieve some files",
        Failure.UNTRUSTED: r"invalid or corrupted (?:package|database) \(PGP|unknown trust|"
        r"key .* could not be looked up",
    }

    def refresh(self, workbench: Workbench) -> None:
        workbench.do([*_QUIET, "-Sy"], self.phrases)

    def install(self, workbench: Workbench, tool: Tool) -> None:
        if tool.version and not matching(tool.version, self.versions(workbench, tool)):
            raise CommandFailedError(Failure.NOT_FOUND, "its repositories have another version")
        workbench.do([*_QUIET, "-S", "--needed", tool.name], self.phrases)

    def describe(self, workbench: Workbench, tool: Tool) -> Package:
        version = workbench.do(["pacman", "-Q", tool.name]).split()[-1]
        files = workbench.do(["pacman", "-Qlq", tool.name])
        shown = fields_in(workbench.ask(["pacman", "-Si", tool.name]).stdout)
        # It has checked a checksum, but does not show it.
        return Package(version, commands_among(files), shown.get("Repository", ""))

    def versions(self, workbench: Workbench, tool: Tool) -> list[str]:
        shown = fields_in(workbench.ask(["pacman", "-Si", tool.name]).stdout)
        return [shown["Version"]] if "Version" in shown else []

    def clean(self, workbench: Workbench) -> None:
        workbench.ask("rm -rf /var/cache/pacman/pkg/* /var/lib/pacman/sync/*")


def fields_in(shown: str) -> dict[str, str]:
    """The fields that `pacman -Si` prints; the first package's where several repositories have
    one of the name."""
    first = shown.strip().partition("\n\n")[0]
    pairs = (line.partition(" : ") for line in first.splitlines())
    return {name.strip(): value.strip() for name, separator, value in pairs if separator}
