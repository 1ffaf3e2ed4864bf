"""pacman, the package manager of Arch Linux."""

from __future__ import annotations

from typing import ClassVar

from lisa_container.install.failures import Failure, Phrases
from lisa_container.install.managers.base import Manager, Package, find_commands, match_version
from lisa_container.install.tool import Tool
from lisa_container.install.workbench import CommandFailedError, Workbench

_QUIET = ("pacman", "--noconfirm", "--noprogressbar")


class Pacman(Manager):
    """pacman. A repository has only one version of a package.

    So a different version is refused before anything is installed.
    """

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
        """Fetch the index with `pacman -Sy`."""
        workbench.run([*_QUIET, "-Sy"], self.phrases)

    def install(self, workbench: Workbench, tool: Tool) -> None:
        """Install the package with `pacman -S`."""
        if tool.version and not match_version(tool.version, self.list_versions(workbench, tool)):
            raise CommandFailedError(Failure.NOT_FOUND, "its repositories have another version")
        workbench.run([*_QUIET, "-S", "--needed", tool.name], self.phrases)

    def describe(self, workbench: Workbench, tool: Tool) -> Package:
        """Describe the package from `pacman -Q` and `pacman -Si`."""
        version = workbench.run(["pacman", "-Q", tool.name]).rpartition(" ")[2]
        files = workbench.run(["pacman", "-Qlq", tool.name])
        shown = parse_fields(workbench.try_run(["pacman", "-Si", tool.name]).stdout)
        # pacman verified a checksum, but does not print it.
        return Package(version, find_commands(files), shown.get("Repository", ""))

    def list_versions(self, workbench: Workbench, tool: Tool) -> list[str]:
        """Return the only version of the repository."""
        shown = parse_fields(workbench.try_run(["pacman", "-Si", tool.name]).stdout)
        return [shown["Version"]] if "Version" in shown else []

    def clean(self, workbench: Workbench) -> None:
        """Remove downloaded packages and indexes."""
        workbench.try_run("rm -rf /var/cache/pacman/pkg/* /var/lib/pacman/sync/*")


def parse_fields(shown: str) -> dict[str, str]:
    """Return the fields in the output of `pacman -Si`.

    If several repositories have the package, these are the fields of the first.
    """
    first = shown.strip().partition("\n\n")[0]
    pairs = (line.partition(" : ") for line in first.splitlines())
    return {name.strip(): value.strip() for name, separator, value in pairs if separator}
