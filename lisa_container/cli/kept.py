"""Kept containers that a log folder has scripts for, and whether they are still on their nodes."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import stat
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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
# Seconds for a node to answer whether it has a container, and questions at once.
_TIMEOUT = 10.0
_WORKERS = 16
# Most containers to ask for, the latest ones.
_MOST = 100
# Docker's and podman's words for a container that does not exist.
_GONE = re.compile(r"no such container|no container with name", re.IGNORECASE)


@dataclass(frozen=True)
class Kept:
    """Kept container, as the records of a run have it."""

    name: str
    run: str
    """Name of the run's folder."""
    cases: tuple[str, ...]
    """Names of the cases that used it."""
    script: Path
    """Script that enters it."""


def find_kept(log: Path) -> Iterator[list[Kept]]:
    """Yield the kept containers of each run that has any, latest run first.

    Args:
        log: LISA's log folder.
    """
    for run in reversed(run_folders(log)):
        scripts = find_scripts(run)
        if not scripts:
            continue
        users: dict[str, list[str]] = {}
        for path in sorted(run.glob(_CASES)):
            case, containers = _read_case(path)
            for name in containers:
                users.setdefault(name, []).append(case)
        yield [
            Kept(name, run.name, tuple(dict.fromkeys(users.get(name, ()))), script)
            for name, script in scripts.items()
        ]


def find_scripts(run: Path) -> dict[str, Path]:
    """Return the scripts of the containers that a run kept, by the containers' names.

    Args:
        run: Folder of the run.
    """
    # A container that several cases have may be kept after their ends.
    scripts = {path.parent.name: path for path in sorted(run.glob(_OF_RUN))}
    scripts.update((path.parent.name, path) for path in sorted(run.glob(_OF_CASES)))
    return scripts


def enter_command(container: str, log: Path) -> str:
    """Return the command line that enters a kept container, from any folder.

    Args:
        container: Name of the container.
        log: LISA's log folder.
    """
    return shlex.join(["lisa-container", "enter", container, "--log", str(log.absolute())])


def ask_nodes(kept: Sequence[Kept]) -> list[tuple[Kept, str]]:
    """Return the containers that are not known to be removed, with what is known of each.

    Args:
        kept: the containers; the nodes are asked for the first hundred.

    Returns:
        Each container with an empty string if it can be entered, else with the reason why that is
        unknown.
    """
    with ThreadPoolExecutor(_WORKERS) as pool:
        answers = list(pool.map(_ask, kept[:_MOST]))
    return [(each, answer) for each, answer in zip(kept, answers) if answer is not None]


def read_script(script: Path) -> str:
    """Return the text of a script, if no other user can have put it there or can write to it.

    Others may replace files of a shared log folder at any time, so what is checked is what is run.

    Args:
        script: path of the script.

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


def _ask(kept: Kept) -> str | None:
    """Enter a container with no input; return None if it does not exist, else as `ask_nodes`."""
    try:
        text = read_script(kept.script)
    except ConfigError as error:
        return str(error)
    # A session of its own has no terminal, so that nothing can ask for a password.
    process = subprocess.Popen(
        ["sh", "-c", text, str(kept.script)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "SSH_ASKPASS_REQUIRE": "never"},
        start_new_session=True,
    )
    try:
        said = os.fsdecode(process.communicate(timeout=_TIMEOUT)[1])
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return f"no answer in {_TIMEOUT:g} seconds"
    if process.returncode == 0:
        return ""
    return None if _GONE.search(said) else " ".join(said.split()) or "no message"


def _read_case(record: Path) -> tuple[str, list[str]]:
    """Return the name and the containers in the record of a case; no containers if it is odd."""
    try:
        found = read_json(record)
    except (FileNotFoundError, RecordError):
        return "", []
    case, names = found.get("name"), found.get("containers")
    if not isinstance(case, str) or not isinstance(names, list):
        return "", []
    return case, [each for each in names if isinstance(each, str)]
