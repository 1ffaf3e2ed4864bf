"""pipx, which installs Python programs into separate virtual environments."""

from __future__ import annotations

from typing import ClassVar

from lisa_container.install.failures import Phrases
from lisa_container.install.managers.base import LanguageManager, Needs, Package
from lisa_container.install.managers.pip import PHRASES, format_requirement, parse_versions
from lisa_container.install.tool import Tool
from lisa_container.install.workbench import ROOT, Workbench
from lisa_container.parsing import find_value, parse_json

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
        """Install the package with `pipx install`."""
        command = ["pipx", "install", "--force", "--pip-args=--no-input --no-cache-dir"]
        workbench.run([*command, format_requirement(tool)], self.phrases, _environment(workbench))

    def describe(self, workbench: Workbench, tool: Tool) -> Package:
        """Describe the package from `pipx list`."""
        output = workbench.try_run(["pipx", "list", "--json"], _environment(workbench)).stdout
        package = parse_json(output, "venvs", tool.name, "metadata", "main_package")
        names = find_value(package, "apps")
        names = names if isinstance(names, list) else []
        commands = tuple(f"{workbench.bin_folder}/{name}" for name in names)
        return Package(str(find_value(package, "package_version") or ""), commands)

    def list_versions(self, workbench: Workbench, tool: Tool) -> list[str]:
        """Return the versions in `pip index versions`."""
        python = f"{_HOME}/shared/bin/python"
        command = [python, "-m", "pip", "index", "versions", tool.name]
        return parse_versions(workbench.try_run(command).stdout)

    def undo(self, workbench: Workbench, tool: Tool) -> None:
        """Uninstall the tool with pipx, which owns the tool's folder."""
        workbench.try_run(["pipx", "uninstall", tool.name], _environment(workbench))


def _environment(workbench: Workbench) -> dict[str, str]:
    return {"PIPX_HOME": _HOME, "PIPX_BIN_DIR": workbench.bin_folder, "USE_EMOJI": "0"}
