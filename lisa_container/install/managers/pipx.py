"""pipx: as pip, by the program made for it."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from lisa_container.install.failures import Failure, Phrases
from lisa_container.install.managers.base import LanguageManager, Needs, Package
from lisa_container.install.managers.pip import PHRASES, requirement
from lisa_container.install.tool import Tool
from lisa_container.install.workbench import ROOT, CommandFailedError, Workbench

_HOME = str(ROOT / "pipx")


class Pipx(LanguageManager):
    """pipx, with its home in /opt/lisa_container/pipx."""

    name = "pipx"
    program = "pipx"
    needs: ClassVar[Needs] = {
        "apt": ("pipx",),
        "dnf": ("pipx",),
        "apk": ("pipx",),
        "zypper": ("python3-pipx",),
        "pacman": ("python-pipx",),
    }
    phrases: ClassVar[Phrases] = PHRASES

    def install(self, workbench: Workbench, tool: Tool) -> None:
        command = ["pipx", "install", "--force", "--pip-args=--no-input --no-cache-dir"]
        workbench.do([*command, requirement(tool)], self.phrases, _environment(workbench))

    def describe(self, workbench: Workbench, tool: Tool) -> Package:
        said = workbench.ask(["pipx", "list", "--json"], _environment(workbench)).stdout
        package = main_package(said, tool.name)
        if not package:
            raise CommandFailedError(Failure.OTHER, "pipx does not list it")
        commands = tuple(f"{workbench.bin_folder}/{name}" for name in package["apps"])
        return Package(str(package["package_version"]), commands)

    def versions(self, workbench: Workbench, tool: Tool) -> list[str]:
        python = f"{_HOME}/shared/bin/python"
        said = workbench.ask([python, "-m", "pip", "index", "versions", tool.name]).stdout
        lines = [line for line in said.splitlines() if line.startswith("Available versions: ")]
        return lines[0].partition(": ")[2].split(", ") if lines else []

    def undo(self, workbench: Workbench, tool: Tool) -> None:
        # Its own folder is among others, and it removes a failed one itself.
        workbench.ask(["pipx", "uninstall", tool.name], _environment(workbench))


def main_package(listed: str, name: str) -> dict[str, Any]:
    """What `pipx list --json` has of a tool; empty where it has nothing."""
    try:
        venvs: dict[str, Any] = json.loads(listed)["venvs"]
        return dict(venvs[name]["metadata"]["main_package"])
    except (ValueError, KeyError):
        return {}


def _environment(workbench: Workbench) -> dict[str, str]:
    return {"PIPX_HOME": _HOME, "PIPX_BIN_DIR": workbench.bin_folder, "USE_EMOJI": "0"}
