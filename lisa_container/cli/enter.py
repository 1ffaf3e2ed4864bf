"""`lisa-container enter`: open a shell in a container that a run kept, or list these containers."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from lisa_container.cli.kept import Kept, ask_nodes, find_kept, read_script
from lisa_container.cli.output import say, say_table, show_activity
from lisa_container.errors import ConfigError


def run(arguments: argparse.Namespace) -> int:
    """Run the script of a kept container in this process's place, or list the kept containers.

    Returns:
        The exit code of the list.
    """
    log = arguments.log.absolute()
    if not arguments.name:
        return _list(log)
    script = _find(log, arguments.name)
    os.execv("/bin/sh", ["sh", "-c", read_script(script), str(script)])


def _list(log: Path) -> int:
    found = _ask([each for of_run in find_kept(log) for each in of_run])
    if not found:
        say(f"no kept container of the runs in '{log}' is left")
        return 0
    rows = [
        (each.name, ", ".join(each.cases), each.run, f"not known: {reason}" if reason else "kept")
        for each, reason in found
    ]
    say_table(("container", "cases", "run", "state"), rows)
    return 0


def _find(log: Path, name: str) -> Path:
    """Return the script of a container or case, of the latest run that has one.

    Args:
        log: LISA's log folder.
        name: Name of the container or of the case.

    Raises:
        ConfigError: There is none, or a case has several containers.
    """
    others: list[Kept] = []
    for kept in find_kept(log):
        named = [each for each in kept if each.name == name]
        found = named or [each for each in kept if name in each.cases]
        if len(found) > 1:
            found = [each for each, _ in _ask(found)]
        if len(found) > 1:
            listed = ", ".join(each.name for each in found)
            raise ConfigError(f"case '{name}' has several kept containers; legal: one of {listed}")
        if found:
            return found[0].script
        others += kept
    names = [f"{each.name}{' (not known)' * bool(reason)}" for each, reason in _ask(others)]
    listed = ", ".join(dict.fromkeys(names)) or "none"
    raise ConfigError(
        f"no kept container, and no case with one, is named '{name}' in '{log}'. Kept containers "
        f"that are left: {listed}. Give --log the value of lisa's --log_path if it is another "
        "folder"
    )


def _ask(kept: Sequence[Kept]) -> list[tuple[Kept, str]]:
    with show_activity("asking the nodes for kept containers"):
        return ask_nodes(kept)
