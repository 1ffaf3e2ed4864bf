"""pip: a program from the Python package index, in a virtual environment of its own."""

from __future__ import annotations

import json
import re
from typing import Any, ClassVar

from lisa_container.install.failures import Failure, Phrases
from lisa_container.install.managers.base import LanguageManager, Needs, Package
from lisa_container.install.tool import Tool
from lisa_container.install.workbench import CommandFailedError, Workbench

PHRASES: Phrases = {
    Failure.NOT_FOUND: r"no matching distribution|could not find a version that satisfies",
    Failure.CONFLICT: r"ResolutionImpossible|conflicting dependencies|requires a different python|"
    r"requires-python",
    Failure.UNREACHABLE: r"connection broken by|Max retries exceeded|HTTPSConnectionPool|"
    r"HTTPConnectionPool|ReadTimeoutError",
}
# Python has it, Debian splits it off.
_HAS_VENV = "import venv, ensurepip"
# The programs of one distribution, not those of what it depends on. Its names are normalised as
# PEP 503 says. Nothing of it goes through a shell.
_PROGRAMS = (
    "import sys, importlib.metadata as m\n"
    "d = m.distribution(sys.argv[1])\n"
    "print(d.version)\n"
    "for f in d.files or []:\n"
    "    if f.parent.name == 'bin': print(f.name)\n"
)


class Pip(LanguageManager):
    """pip in a venv below /opt/lisa_container/pip, which the image's own Python makes."""

    name = "pip"
    program = "python3"
    needs: ClassVar[Needs] = {
        "apt": ("python3", "python3-venv"),
        "dnf": ("python3",),
        "tdnf": ("python3",),
        "yum": ("python3",),
        "microdnf": ("python3",),
        "apk": ("python3",),
        "zypper": ("python3",),
        "pacman": ("python",),
    }
    phrases: ClassVar[Phrases] = PHRASES

    def is_there(self, workbench: Workbench) -> bool:
        return workbench.ask(["python3", "-c", _HAS_VENV]).exit_code == 0

    def install(self, workbench: Workbench, tool: Tool) -> None:
        root = self.root(tool)
        report = f"{root}/report.json"
        # In two steps: venv keeps to itself what the second one says where it fails.
        workbench.do(["python3", "-m", "venv", "--clear", "--without-pip", str(root)], self.phrases)
        workbench.do([f"{root}/bin/python", "-m", "ensurepip", "--default-pip"], self.phrases)
        version = workbench.do([f"{root}/bin/pip", "--version"]).split()[1]
        # Since pip 22.2 it tells where all came from.
        reported = ["--report", report] if _is_at_least(version, 22, 2) else []
        command = [f"{root}/bin/pip", "install", "--no-input", "--no-cache-dir"]
        command += ["--disable-pip-version-check", "--progress-bar=off", *reported]
        try:
            workbench.do([*command, requirement(tool)], self.phrases)
        except CommandFailedError as error:
            if error.failure is Failure.NOT_FOUND:
                self._look_closer(workbench, tool)
            raise
        workbench.link([f"{root}/bin/{name}" for name in self._programs(workbench, tool)[1:]])

    def describe(self, workbench: Workbench, tool: Tool) -> Package:
        root = self.root(tool)
        version, *names = self._programs(workbench, tool)
        commands = tuple(f"{workbench.bin_folder}/{name}" for name in names)
        report = workbench.ask(["cat", f"{root}/report.json"])
        origin, checksum = source_in(report.stdout, tool.name)
        return Package(version, commands, workbench.mask(origin), checksum)

    def versions(self, workbench: Workbench, tool: Tool) -> list[str]:
        # "pip index" is there since pip 21.2.
        command = [f"{self.root(tool)}/bin/pip", "index", "versions", "--no-input", tool.name]
        match = re.search(
            r"^Available versions: (.+)$", workbench.ask(command).stdout, re.MULTILINE
        )
        return match[1].split(", ") if match else []

    def _look_closer(self, workbench: Workbench, tool: Tool) -> None:
        """An index that answers with an error is for pip like one that has nothing; it tells only
        when asked to be verbose.

        Raises:
            CommandFailedError: that was the case.
        """
        command = [f"{self.root(tool)}/bin/pip", "index", "versions", "--no-input", "-vv"]
        result = workbench.ask([*command, tool.name])
        for line in (result.stdout + result.stderr).splitlines():
            if "Could not fetch URL" not in line:
                continue
            match = re.search(r": (\d{3}) (?:Client|Server) Error", line)
            status = match[1] if match else ""
            if status != "404":
                is_denied = status in ("401", "403")
                failure = Failure.UNAUTHORIZED if is_denied else Failure.UNREACHABLE
                raise CommandFailedError(failure, workbench.mask(line.strip()))
        if result.exit_code == 0 and not tool.version:
            raise CommandFailedError(Failure.UNREACHABLE, "it was not there a moment ago")

    def _programs(self, workbench: Workbench, tool: Tool) -> list[str]:
        python = f"{self.root(tool)}/bin/python"
        return workbench.do([python, "-c", _PROGRAMS, tool.name]).split()


def requirement(tool: Tool) -> str:
    """As pip wants it: `name`, or `name==version`."""
    return f"{tool.name}=={tool.version}" if tool.version else tool.name


def source_in(report: str, name: str) -> tuple[str, str]:
    """URL and checksum of a distribution in pip's report; empty where there is none."""
    try:
        items: list[dict[str, Any]] = json.loads(report)["install"]
    except (ValueError, KeyError):
        return "", ""
    for item in items:
        if _normal(item["metadata"]["name"]) == _normal(name):
            info = item["download_info"]
            digest = info.get("archive_info", {}).get("hash", "")
            return str(info["url"]), str(digest).replace("=", ":")
    return "", ""


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _is_at_least(version: str, major: int, minor: int) -> bool:
    numbers = [int(part) for part in re.findall(r"\d+", version)[:2]]
    return numbers >= [major, minor]
