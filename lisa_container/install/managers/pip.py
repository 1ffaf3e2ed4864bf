"""pip, which installs a program from a Python package index into its own virtual environment."""

from __future__ import annotations

import re
from typing import ClassVar

from lisa_container.install.failures import Failure, Phrases
from lisa_container.install.managers.base import LanguageManager, Needs, Package
from lisa_container.install.tool import Tool
from lisa_container.install.workbench import CommandFailedError, Workbench
from lisa_container.parsing import find_value, parse_json

PHRASES: Phrases = {
    Failure.NOT_FOUND: r"no matching distribution|could not find a version that satisfies",
    Failure.CONFLICT: r"ResolutionImpossible|conflicting dependencies|requires a different python|"
    r"requires-python",
    Failure.UNREACHABLE: r"connection broken by|Max retries exceeded|HTTPSConnectionPool|"
    r"HTTPConnectionPool|ReadTimeoutError",
}
# Debian has these modules of Python in a separate package.
_HAS_VENV = "import venv, ensurepip"
# Prints the version and the programs of one distribution, without those of its dependencies. Old
# versions of pip install a source distribution without a list of its files: then its programs are
# those in the folder that belong to no other distribution.
_PROGRAMS = """
import importlib.metadata as metadata, os, sys

def programs(distribution):
    names = {file.name for file in distribution.files or [] if file.parent.name == "bin"}
    points = distribution.entry_points
    return names | {x.name for x in points if x.group in ("console_scripts", "gui_scripts")}

wanted = metadata.distribution(sys.argv[1])
there = set(os.listdir(os.path.dirname(sys.executable)))
found = programs(wanted) & there
if not found:
    name = wanted.metadata["Name"]
    others = [programs(x) for x in metadata.distributions() if x.metadata["Name"] != name]
    usual = ("python", "pip", "activate", "Activate", "easy_install")
    found = {each for each in there if not each.startswith(usual)}.difference(*others)
print(wanted.version, *sorted(found), sep="\\n")
"""


class Pip(LanguageManager):
    """pip in a venv below /opt/lisa_container/pip, made by the image's own Python."""

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

    def is_available(self, workbench: Workbench) -> bool:
        """Return whether the image has Python with venv and ensurepip."""
        return workbench.try_run(["python3", "-c", _HAS_VENV]).exit_code == 0

    def install(self, workbench: Workbench, tool: Tool) -> None:
        """Create the virtual environment, install the package, and link its programs."""
        root = self.root(tool)
        report = f"{root}/report.json"
        # In two steps, because venv hides the error output of ensurepip.
        workbench.run(
            ["python3", "-m", "venv", "--clear", "--without-pip", str(root)], self.phrases
        )
        workbench.run([f"{root}/bin/python", "-m", "ensurepip", "--default-pip"], self.phrases)
        output = workbench.run([f"{root}/bin/pip", "--version"])
        version = re.search(r"^pip (\d{1,9})\.(\d{1,9})", output, re.MULTILINE)
        # pip reports the origin of packages since version 22.2.
        is_new = version is not None and (int(version[1]), int(version[2])) >= (22, 2)
        reported = ["--report", report] if is_new else []
        command = [f"{root}/bin/pip", "install", "--no-input", "--no-cache-dir"]
        command += ["--disable-pip-version-check", "--progress-bar=off", *reported]
        try:
            workbench.run([*command, format_requirement(tool)], self.phrases)
        except CommandFailedError as error:
            if error.failure is Failure.NOT_FOUND:
                self._diagnose_missing(workbench, tool)
            raise
        workbench.link([f"{root}/bin/{name}" for name in self._programs(workbench, tool)[1:]])

    def describe(self, workbench: Workbench, tool: Tool) -> Package:
        """Describe the package from its metadata and pip's report."""
        root = self.root(tool)
        version, *names = self._programs(workbench, tool) or [""]
        commands = tuple(f"{workbench.bin_folder}/{name}" for name in names)
        report = workbench.try_run(["cat", f"{root}/report.json"])
        origin, checksum = parse_source(report.stdout, tool.name)
        return Package(version, commands, workbench.mask(origin), checksum)

    def list_versions(self, workbench: Workbench, tool: Tool) -> list[str]:
        """Return the versions in `pip index versions`."""
        # pip has "index" since version 21.2.
        command = [f"{self.root(tool)}/bin/pip", "index", "versions", "--no-input", tool.name]
        return parse_versions(workbench.try_run(command).stdout)

    def _diagnose_missing(self, workbench: Workbench, tool: Tool) -> None:
        """Find out whether a missing package is really an error of the index.

        pip treats an index that answers with an error like an empty one. Only its verbose output
        shows the difference.

        Raises:
            CommandFailedError: the index answered with an error.
        """
        command = [f"{self.root(tool)}/bin/pip", "index", "versions", "--no-input", "-vv"]
        result = workbench.try_run([*command, tool.name])
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
            raise CommandFailedError(Failure.UNREACHABLE, "the index lists it only now")

    def _programs(self, workbench: Workbench, tool: Tool) -> list[str]:
        python = f"{self.root(tool)}/bin/python"
        return workbench.run([python, "-c", _PROGRAMS, tool.name]).split()


def format_requirement(tool: Tool) -> str:
    """Return pip's form of a request: `name` or `name==version`."""
    return f"{tool.name}=={tool.version}" if tool.version else tool.name


def parse_versions(output: str) -> list[str]:
    """Return the versions in the output of `pip index versions`, newest first."""
    match = re.search(r"^Available versions: (.+)$", output, re.MULTILINE)
    return match[1].split(", ") if match else []


def parse_source(report: str, name: str) -> tuple[str, str]:
    """Return URL and checksum of a distribution in pip's report; empty if it is not listed."""
    items = parse_json(report, "install")
    for item in items if isinstance(items, list) else []:
        if _normal(str(find_value(item, "metadata", "name"))) == _normal(name):
            url = find_value(item, "download_info", "url") or ""
            digest = find_value(item, "download_info", "archive_info", "hash") or ""
            return str(url), str(digest).replace("=", ":")
    return "", ""


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
