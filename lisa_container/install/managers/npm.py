"""npm: a program from the npm registry, in a folder of its own."""

from __future__ import annotations

import json
from pathlib import PurePosixPath
from typing import Any, ClassVar

from lisa_container.install.failures import Failure, Phrases
from lisa_container.install.managers.base import LanguageManager, Needs, Package
from lisa_container.install.tool import Tool
from lisa_container.install.workbench import Workbench


class Npm(LanguageManager):
    """npm install, below /opt/lisa_container/npm."""

    name = "npm"
    program = "npm"
    needs: ClassVar[Needs] = {
        "apt": ("npm",),
        "dnf": ("npm",),
        "tdnf": ("nodejs",),
        "yum": ("npm",),
        "microdnf": ("npm",),
        "apk": ("npm",),
        "zypper": ("npm-default",),
        "pacman": ("npm",),
    }
    phrases: ClassVar[Phrases] = {
        Failure.NOT_FOUND: r"\bE404\b|\bETARGET\b|no matching version",
        Failure.CONFLICT: r"\bERESOLVE\b|\bEBADENGINE\b|\bEBADPLATFORM\b|\bEEXIST\b",
        Failure.UNREACHABLE: r"ERR_SOCKET_TIMEOUT|FETCH_ERROR|socket hang up",
    }

    def install(self, workbench: Workbench, tool: Tool) -> None:
        package = f"{tool.name}@{tool.version}" if tool.version else tool.name
        root = self.root(tool)
        workbench.do(["mkdir", "-p", str(root)])
        command = ["npm", "install", "--prefix", str(root), "--no-fund", "--no-audit"]
        # Its own log would be written beside ours, and its own retries take minutes.
        command += ["--no-update-notifier", "--logs-max=0", "--fetch-retries=0", "--no-progress"]
        # In a tree of its own, its cache too.
        environment = {"npm_config_cache": f"{root}/.cache"}
        workbench.do([*command, package], self.phrases, environment)
        workbench.ask(["rm", "-rf", f"{root}/.cache"])
        workbench.link(
            [f"{root}/node_modules/.bin/{name}" for name in self._programs(workbench, tool)]
        )

    def describe(self, workbench: Workbench, tool: Tool) -> Package:
        root = self.root(tool)
        lock = workbench.do(["cat", f"{root}/node_modules/.package-lock.json"])
        found = locked(lock, tool.name)
        commands = tuple(
            f"{workbench.bin_folder}/{name}" for name in self._programs(workbench, tool)
        )
        origin = workbench.mask(str(found.get("resolved", "")))
        return Package(str(found["version"]), commands, origin, str(found.get("integrity", "")))

    def versions(self, workbench: Workbench, tool: Tool) -> list[str]:
        said = workbench.ask(["npm", "view", tool.name, "versions", "--json"])
        return versions_in(said.stdout) if said.exit_code == 0 else []

    def _programs(self, workbench: Workbench, tool: Tool) -> list[str]:
        package = f"{self.root(tool)}/node_modules/{tool.name}/package.json"
        return programs_in(workbench.do(["cat", package]), tool.name)


def programs_in(package: str, name: str) -> list[str]:
    """The commands that a package.json declares; a single one is called as the package."""
    declared: Any = json.loads(package).get("bin", {})
    names = declared if isinstance(declared, dict) else {name: declared}
    return [PurePosixPath(each).name for each in names]


def locked(lock: str, name: str) -> dict[str, Any]:
    """What npm's hidden lock file has of a package: version, resolved, integrity."""
    return dict(json.loads(lock)["packages"][f"node_modules/{name}"])


def versions_in(said: str) -> list[str]:
    """The versions that `npm view` prints, the newest first; a single one is no list there."""
    found = json.loads(said)
    return [str(each) for each in reversed(found)] if isinstance(found, list) else [str(found)]
