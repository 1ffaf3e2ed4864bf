"""What every package manager can do here."""

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
"""The packages that bring a manager, by the system manager that has them."""


@dataclass(frozen=True)
class Package:
    """What a manager knows of a package that it has installed.

    Attributes:
        version: as it has it.
        commands: absolute paths of the programs in it.
        origin: where it came from; empty where it does not tell.
        checksum: of what was fetched; empty where it does not tell.
    """

    version: str
    commands: tuple[str, ...] = ()
    origin: str = ""
    checksum: str = ""


class Manager(ABC):
    """One package manager. It has no state; the workbench says where it works.

    What fails raises `CommandFailedError`. Everything may be done again.
    """

    name: ClassVar[str]
    """As in `Tool.via`."""
    program: ClassVar[str]
    """What an image must have for it."""
    is_system: ClassVar[bool] = False
    """It is the manager of a distribution, and brings packages that others need."""
    needs: ClassVar[Needs] = {}
    """The packages that bring the manager itself, by the system manager that has them."""
    phrases: ClassVar[Phrases] = {}
    """What it says when it fails."""

    def is_there(self, workbench: Workbench) -> bool:
        """Whether the image has it, ready to work."""
        return workbench.has(self.program)

    def refresh(self, workbench: Workbench) -> None:
        """Fetch what its sources have to offer, for those that keep an index of it."""
        return

    @abstractmethod
    def install(self, workbench: Workbench, tool: Tool) -> None:
        """Install the tool's package with all that it depends on, in the tool's version."""

    @abstractmethod
    def describe(self, workbench: Workbench, tool: Tool) -> Package:
        """What is installed of the tool's package now."""

    def versions(self, workbench: Workbench, tool: Tool) -> list[str]:
        """The versions that its sources offer, the newest first where the manager tells; empty
        where it cannot tell or there is no such package."""
        return []

    def clean(self, workbench: Workbench) -> None:
        """Remove what was fetched and is not needed any more, before a layer is made."""
        return

    def undo(self, workbench: Workbench, tool: Tool) -> None:
        """Remove what an installation that failed has left, where the manager does not itself."""
        return


class LanguageManager(Manager):
    """A manager that gives each tool a folder of its own, and links the commands."""

    def root(self, tool: Tool) -> PurePosixPath:
        """The tool's folder."""
        return ROOT / self.name / tool.name.replace("/", "+")

    def undo(self, workbench: Workbench, tool: Tool) -> None:
        workbench.ask(["rm", "-rf", str(self.root(tool))])


def matching(wanted: str, versions: Sequence[str]) -> str:
    """The first version that is the wanted one, or begins with it; empty where none does.

    >>> matching("1.6", ["1.60-1", "1.6-2.1", "1.6-2.0"])
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


def commands_among(paths: str) -> tuple[str, ...]:
    """The programs in a package's list of files, a path a line."""
    found = []
    for line in paths.splitlines():
        path = PurePosixPath("/" + line.strip().lstrip("/"))
        if path.parent.name in ("bin", "sbin") and str(path) not in found:
            found.append(str(path))
    return tuple(found)
