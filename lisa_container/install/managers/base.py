"""Interface of the package managers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import ClassVar

from lisa_container.install.failures import Phrases
from lisa_container.install.tool import Tool
from lisa_container.install.workbench import ROOT, Workbench

Needs = Mapping[str, Sequence[str]]
"""Packages that contain a manager, by the system manager that installs them."""


@dataclass(frozen=True)
class Package:
    """Installed package, as its manager describes it.

    Attributes:
        version: version in the manager's notation.
        commands: absolute paths of the programs in the package.
        origin: source of the package; empty if the manager does not report it.
        checksum: checksum of the download; empty if the manager does not report it.
    """

    version: str
    commands: tuple[str, ...] = ()
    origin: str = ""
    checksum: str = ""


class Manager(ABC):
    """Package manager without state. The workbench determines the container.

    Methods raise `CommandFailedError` on failure, and can be repeated.
    """

    name: ClassVar[str]
    """Name in `Tool.via`."""
    program: ClassVar[str]
    """Program that an image must have."""
    is_system: ClassVar[bool] = False
    """Whether this is the manager of a distribution, which can install the other managers."""
    needs: ClassVar[Needs] = {}
    """Packages that contain the manager itself, by the system manager that installs them."""
    phrases: ClassVar[Phrases] = {}
    """Messages of the manager, by the cause of a failure."""

    def is_available(self, workbench: Workbench) -> bool:
        """Return whether the image has this manager, ready for use."""
        return workbench.has(self.program)

    def refresh(self, workbench: Workbench) -> None:
        """Fetch the index of the package sources, if the manager keeps one."""
        return

    @abstractmethod
    def install(self, workbench: Workbench, tool: Tool) -> None:
        """Install the tool's package with its dependencies, in the tool's version."""

    @abstractmethod
    def describe(self, workbench: Workbench, tool: Tool) -> Package:
        """Return a description of the tool's installed package."""

    def list_versions(self, workbench: Workbench, tool: Tool) -> list[str]:
        """Return the available versions of the tool's package, newest first if known.

        The result is empty if the manager cannot list versions or has no such package.
        """
        return []

    def clean(self, workbench: Workbench) -> None:
        """Remove downloads and indexes, before a layer is made."""
        return

    def undo(self, workbench: Workbench, tool: Tool) -> None:
        """Remove the remains of a failed installation, if the manager does not do it itself."""
        return


class LanguageManager(Manager):
    """Base of managers that give each tool its own folder and link its commands."""

    def root(self, tool: Tool) -> PurePosixPath:
        """Return the tool's folder."""
        return ROOT / self.name / tool.name.replace("/", "+")

    def undo(self, workbench: Workbench, tool: Tool) -> None:
        """Remove the tool's folder."""
        workbench.try_run(["rm", "-rf", str(self.root(tool))])


def match_version(wanted: str, versions: Sequence[str]) -> str:
    """Return the first version that equals or starts with the wanted one, or an empty string.

    >>> match_version("1.6", ["1.60-1", "1.6-2.1", "1.6-2.0"])
    '1.6-2.1'
    """
    if wanted in versions:
        return wanted
    for version in versions:
        without_epoch = version.partition(":")[2] or version
        for candidate in (version, without_epoch):
            if candidate == wanted or (
                candidate.startswith(wanted) and not candidate[len(wanted)].isalnum()
            ):
                return version
    return ""


def find_commands(paths: str) -> tuple[str, ...]:
    """Return the programs in a package's list of files, which has one path per line."""
    commands = []
    for line in paths.splitlines():
        path = PurePosixPath("/" + line.strip().lstrip("/"))
        if path.parent.name in ("bin", "sbin") and str(path) not in commands:
            commands.append(str(path))
    return tuple(commands)
