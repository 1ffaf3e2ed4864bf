"""`lisa-container enter`: open a shell in a container that a run kept."""

from __future__ import annotations

import argparse
import os
import shlex
import stat
from pathlib import Path

from lisa_container.errors import ConfigError
from lisa_container.history.place import run_folders
from lisa_container.history.read import RecordError, open_record, read_json
from lisa_container.recording.records import CASE_FILE, CONTAINERS_FOLDER, ENTER_FILE

# Scripts and the records of cases, in a run's folder.
_OF_RUN = f"{CONTAINERS_FOLDER}/*/{ENTER_FILE}"
_OF_CASES = f"tests/*/{_OF_RUN}"
_CASES = f"tests/*/{CASE_FILE}"
# Most bytes of a script. It goes to the shell as one argument, of at most 128 KiB.
_LARGEST = 1 << 16


def run(arguments: argparse.Namespace) -> int:
    """Run the script of a kept container in this process's place; never return."""
    script = _find(arguments.log.absolute(), arguments.name)
    os.execv("/bin/sh", ["sh", "-c", _read(script), str(script)])


def find_scripts(run: Path) -> dict[str, Path]:
    """Return the scripts of the containers that a run kept, by the containers' names.

    Args:
        run: Folder of the run.
    """
    # A container that several cases have may be kept after their ends.
    scripts = {path.parent.name: path for path in sorted(run.glob(_OF_RUN))}
    scripts.update((path.parent.name, path) for path in sorted(run.glob(_OF_CASES)))
    return scripts


def command_line(container: str, log: Path) -> str:
    """Return the command line that enters a kept container, from any folder.

    Args:
        container: Name of the container.
        log: LISA's log folder.
    """
    return shlex.join(["lisa-container", "enter", container, "--log", str(log.absolute())])


def _read(script: Path) -> str:
    """Return the text of a script, if no other user can have put it there or can write to it.

    Others may replace files of a shared log folder at any time, so what is checked is what is run.

    Raises:
        ConfigError: It may be another user's.
    """
    try:
        with open_record(script) as file:
            found = os.fstat(file.fileno())
            is_own = found.st_uid in (0, os.geteuid()) and found.st_nlink == 1
            if is_own and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                return os.fsdecode(file.read(_LARGEST))
            reason = "belongs to another user, or other users may write to it"
    except FileNotFoundError:
        reason = "was removed"
    except RecordError as error:
        reason = error.reason
    raise ConfigError(f"'{script}' is not run: it {reason}. Read it, then run it yourself")


def _find(log: Path, name: str) -> Path:
    """Return the script of a container or case, of the latest run that has one.

    Args:
        log: LISA's log folder.
        name: Name of the container or of the case.

    Raises:
        ConfigError: There is none, or a case has several containers.
    """
    kept: list[str] = []
    for run in reversed(run_folders(log)):
        scripts = find_scripts(run)
        if name in scripts:
            return scripts[name]
        in_case = [each for path in run.glob(_CASES) for each in _containers_of(path, name)]
        found = [each for each in scripts if each in in_case]
        if len(found) > 1:
            listed = ", ".join(found)
            raise ConfigError(f"case '{name}' has several kept containers; legal: one of {listed}")
        if found:
            return scripts[found[0]]
        kept += scripts
    listed = ", ".join(dict.fromkeys(kept)) or "none"
    raise ConfigError(
        f"no kept container, and no case with one, is named '{name}' in '{log}'. Kept containers "
        f"there: {listed}. Give --log the value of lisa's --log_path if it is another folder"
    )


def _containers_of(record: Path, case: str) -> list[str]:
    """Return the names of the containers in the record of a case; none of another case's record."""
    try:
        found = read_json(record)
    except (FileNotFoundError, RecordError):
        return []
    names = found.get("containers") if found.get("name") == case else []
    return [each for each in names if isinstance(each, str)] if isinstance(names, list) else []
