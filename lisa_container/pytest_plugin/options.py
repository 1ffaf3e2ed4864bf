"""Options of the plugin, from the command line and from pytest's ini file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from lisa_container.pytest_plugin.nodes import LEGAL, OPTION, NodeSource, parse_source

# Option without its dashes, with its help.
_WITH_INI = {
    "lisa-node": f"node for the tests that use the fixture `node`: {LEGAL}",
    "lisa-key": "private key of the node's user",
    "lisa-log": "folder for the records of runs; without it they are in pytest's temporary folder",
}


@dataclass(frozen=True)
class Options:
    """Options of the plugin."""

    source: NodeSource | None
    """Source of the node; None if none was named."""
    log: Path | None
    """Folder for the records of runs; None for pytest's temporary folder."""
    keep_failed: bool
    """Whether the VMs of failed tests are frozen, and their containers kept."""

    @property
    def keep_containers(self) -> bool:
        """Whether the containers of failed tests stay on their node.

        A node that ends with pytest is frozen instead, with its containers.
        """
        return self.keep_failed and not (self.source and self.source.ends_with_pytest)

    def require_source(self) -> NodeSource:
        """Return the source of the node.

        Raises:
            UsageError: No node was named.
        """
        if self.source is None:
            raise pytest.UsageError(
                f"no node for the tests was named: give {OPTION}, or 'lisa_node' in pytest's ini "
                f"file; legal: {LEGAL}"
            )
        return self.source

    def prepare_log(self) -> None:
        """Make the folder for the records of runs, if one is given.

        Raises:
            UsageError: The folder cannot be made.
        """
        if self.log is None:
            return
        try:
            self.log.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise pytest.UsageError(
                f"--lisa-log: folder '{self.log}' cannot be made: {error.strerror}"
            ) from error


def add_options(parser: pytest.Parser) -> None:
    """Declare the options."""
    group = parser.getgroup("lisa_container")
    for name, text in _WITH_INI.items():
        group.addoption(f"--{name}", metavar=name.rpartition("-")[2].upper(), help=text)
        parser.addini(name.replace("-", "_"), f"default of --{name}")
    group.addoption(
        "--keep-failed",
        action="store_true",
        help="keep the containers of failed tests, freeze their virtual machines, and print the "
        "commands that enter them",
    )


def read_options(config: pytest.Config) -> Options:
    """Return the options.

    Raises:
        UsageError: A value is wrong.
    """
    text = str(config.getoption("--lisa-node") or config.getini("lisa_node"))
    key = _path(config, "lisa-key")
    return Options(
        source=parse_source(text, key) if text else None,
        log=_path(config, "lisa-log"),
        keep_failed=bool(config.getoption("--keep-failed")),
    )


def _path(config: pytest.Config, name: str) -> Path | None:
    """Return a path; that of the ini file is relative to the file."""
    option = f"--{name}"
    given = config.getoption(option)
    if given:
        if option in config.invocation_params.args:
            raise pytest.UsageError(
                f"{option}: write it as one word, '{option}={given}': pytest would take a word of "
                "its own for the path of tests, and would look for its ini file there"
            )
        return config.invocation_params.dir / Path(given).expanduser()
    given = config.getini(name.replace("-", "_"))
    base = config.inipath.parent if config.inipath is not None else config.rootpath
    return base / Path(given).expanduser() if given else None
