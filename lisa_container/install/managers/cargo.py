"""cargo, which builds a program from a crate. It needs the Rust compiler and a linker."""

from __future__ import annotations

import re
from typing import ClassVar

from lisa_container.install.failures import Failure, Phrases
from lisa_container.install.managers.base import LanguageManager, Needs, Package
from lisa_container.install.tool import Tool
from lisa_container.install.workbench import CommandFailedError, Workbench

_PREPARE = (
    'mkdir -p -m 700 "$CARGO_HOME" && '
    'if [ -n "${LISA_CONTAINER_CARGO_CONFIG:-}" ]; then '
    'cp "$LISA_CONTAINER_CARGO_CONFIG" "$CARGO_HOME/config.toml"; fi'
)


class Cargo(LanguageManager):
    """`cargo install` into a folder below /opt/lisa_container/cargo."""

    name = "cargo"
    program = "cargo"
    needs: ClassVar[Needs] = {
        "apt": ("cargo", "gcc", "libc6-dev"),
        "dnf": ("cargo", "gcc"),
        "tdnf": ("rust", "gcc"),
        "apk": ("cargo",),
        "zypper": ("cargo", "gcc"),
        "pacman": ("rust", "gcc"),
    }
    phrases: ClassVar[Phrases] = {
        Failure.NOT_FOUND: r"could not find `.*` in registry|no matching package",
        Failure.CONFLICT: r"already exists in destination|failed to select a version|"
        r"cannot be built because it requires rustc|requires rustc",
        Failure.UNREACHABLE: r"spurious network error|failed to (?:fetch|download|query replaced)|"
        r"unable to update registry|\[\d+\] (?:could not|timeout|failed)",
    }

    def install(self, workbench: Workbench, tool: Tool) -> None:
        """Build and install the crate with `cargo install`, and link its programs."""
        # Cargo's home during the build. The index and the sources are large.
        home = f"{self.root(tool)}/.cargo"
        environment = {"CARGO_HOME": home, "CARGO_NET_RETRY": "0", "CARGO_TERM_COLOR": "never"}
        workbench.run(_PREPARE, environment=environment)
        version = ["--version", f"={tool.version}"] if tool.version else []
        command = ["cargo", "install", "--locked", "--force", "--root", str(self.root(tool))]
        try:
            workbench.run([*command, *version, tool.name], self.phrases, environment)
        finally:
            workbench.try_run(["rm", "-rf", home])
        _, _, names = self._installed(workbench, tool)
        workbench.link([f"{self.root(tool)}/bin/{name}" for name in names])

    def describe(self, workbench: Workbench, tool: Tool) -> Package:
        """Describe the crate from cargo's `.crates.toml`."""
        version, origin, names = self._installed(workbench, tool)
        commands = tuple(f"{workbench.bin_folder}/{name}" for name in names)
        return Package(version, commands, workbench.mask(origin))

    def _installed(self, workbench: Workbench, tool: Tool) -> tuple[str, str, list[str]]:
        crates = workbench.run(["cat", f"{self.root(tool)}/.crates.toml"])
        installed = parse_installed(crates, tool.name)
        if installed is None:
            raise CommandFailedError(Failure.OTHER, "cargo does not list it as installed")
        return installed


def parse_installed(crates: str, name: str) -> tuple[str, str, list[str]] | None:
    """Return version, source and programs of a crate in cargo's `.crates.toml`, or None."""
    line = rf'^"{re.escape(name)} (?P<version>\S+) \((?P<source>[^)]*)\)" = \[(?P<names>[^]]*)\]'
    match = re.search(line, crates, re.MULTILINE)
    if match is None:
        return None
    return match["version"], match["source"], re.findall(r'"([^"]+)"', match["names"])
