"""npm, which installs a program from the npm registry into its own folder."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import ClassVar

from lisa_container.install.failures import Failure, Phrases
from lisa_container.install.managers.base import LanguageManager, Needs, Package
from lisa_container.install.tool import Tool
from lisa_container.install.workbench import Workbench
from lisa_container.parsing import find_value, parse_json


class Npm(LanguageManager):
    """`npm install` into a folder below /opt/lisa_container/npm."""

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
        """Install the package with `npm install`, and link its commands."""
        package = f"{tool.name}@{tool.version}" if tool.version else tool.name
        root = self.root(tool)
        workbench.run(["mkdir", "-p", str(root)])
        command = ["npm", "install", "--prefix", str(root), "--no-fund", "--no-audit"]
        # npm's log is not needed beside ours, and its retries take minutes. Its level prints a line
        # for each fetched file.
        command += ["--no-update-notifier", "--logs-max=0", "--fetch-retries=0", "--no-progress"]
        command += ["--loglevel=http"]
        # The cache is in the tool's folder, so that it is easy to remove.
        environment = {"npm_config_cache": f"{root}/.cache"}
        workbench.run([*command, package], self.phrases, environment)
        workbench.try_run(["rm", "-rf", f"{root}/.cache"])
        workbench.link(
            [f"{root}/node_modules/.bin/{name}" for name in self._programs(workbench, tool)]
        )

    def describe(self, workbench: Workbench, tool: Tool) -> Package:
        """Describe the package from npm's lock file."""
        root = self.root(tool)
        lock = workbench.run(["cat", f"{root}/node_modules/.package-lock.json"])
        package = parse_json(lock, "packages", f"node_modules/{tool.name}")
        commands = tuple(
            f"{workbench.bin_folder}/{name}" for name in self._programs(workbench, tool)
        )
        version, origin, checksum = (
            str(find_value(package, key) or "") for key in ("version", "resolved", "integrity")
        )
        return Package(version, commands, workbench.mask(origin), checksum)

    def list_versions(self, workbench: Workbench, tool: Tool) -> list[str]:
        """Return the versions in `npm view`."""
        result = workbench.try_run(["npm", "view", tool.name, "versions", "--json"])
        return parse_versions(result.stdout) if result.exit_code == 0 else []

    def _programs(self, workbench: Workbench, tool: Tool) -> list[str]:
        package = f"{self.root(tool)}/node_modules/{tool.name}/package.json"
        return parse_programs(workbench.run(["cat", package]), tool.name)


def parse_programs(package: str, name: str) -> list[str]:
    """Return the commands that a package.json declares. A single one has the package's name."""
    declared = parse_json(package, "bin") or {}
    names = declared if isinstance(declared, dict) else [name]
    return [PurePosixPath(each).name for each in names]


def parse_versions(output: str) -> list[str]:
    """Return the versions in the output of `npm view`, newest first.

    npm prints a single version as a string, not as a list.
    """
    versions = parse_json(output) or []
    return [str(each) for each in reversed(versions if isinstance(versions, list) else [versions])]
