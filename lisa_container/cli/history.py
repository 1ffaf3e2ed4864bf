"""`lisa-container history`: questions about runs and their cases."""

from __future__ import annotations

import argparse
import functools
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Callable

from lisa_container.cli.codes import FAILED
from lisa_container.cli.output import complain, say, say_json, say_table, show_activity
from lisa_container.errors import ArtifactIndexError, ConfigError
from lisa_container.history.difference import changes
from lisa_container.history.history import MOST, Case, History, Run
from lisa_container.history.index import Index
from lisa_container.history.ingest import RUNNING, catch_up
from lisa_container.history.place import remove_run

_AGE = re.compile(r"([1-9]\d{0,4})([hdw])")
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
# SQLite's way to say "no limit".
_ALL = -1

# Longest message of a case in a terminal's table.
_LONGEST_MESSAGE = 100


def show_runs(arguments: argparse.Namespace) -> int:
    """Print the last runs; return the exit code."""
    return _answer(arguments, _runs)


def show_run(arguments: argparse.Namespace) -> int:
    """Print the details of one run; return the exit code."""
    return _answer(arguments, _one)


def show_case(arguments: argparse.Namespace) -> int:
    """Print the results of a case over the runs; return the exit code."""
    return _answer(arguments, _case)


def show_difference(arguments: argparse.Namespace) -> int:
    """Print the differences of two runs; return the exit code."""
    return _answer(arguments, _diff)


def prune(arguments: argparse.Namespace) -> int:
    """Remove the folders of old runs; return the exit code."""
    age = _read_age(arguments.older_than)  # a mistake is told before anything else
    return _answer(arguments, functools.partial(_prune, age))


def _answer(
    arguments: argparse.Namespace, job: Callable[[History, argparse.Namespace], int | None]
) -> int:
    log: Path = arguments.log.absolute()
    if not log.is_dir():
        raise ConfigError(
            f"log folder: '{log}' does not exist. Call this where you call lisa, or give --log the "
            "value of lisa's --log_path"
        )
    if not 1 <= arguments.limit <= MOST:
        raise ConfigError(f"limit: given {arguments.limit}; legal: a number from 1 to {MOST}")
    if arguments.rebuild:
        Index.remove(log)
    index, problems = _current_index(log)
    with index:
        for problem in problems:
            complain(f"warning: {problem}; left out")
        return job(History(index), arguments) or 0


def _current_index(log: Path) -> tuple[Index, list[str]]:
    """Open the index and bring it up to date; return it with the faults of the runs' files.

    If the index cannot be written, make one in memory.
    """
    try:
        return _caught_up(Index(log))
    except ArtifactIndexError as error:
        if not error.is_unwritable:
            raise
        complain(f"warning: {error}. This answer is made from the runs' files")
        return _caught_up(Index(log, is_in_memory=True))


def _caught_up(index: Index) -> tuple[Index, list[str]]:
    try:
        with show_activity("reading the runs' files"):
            return index, catch_up(index)
    except BaseException:
        index.close()
        raise


def _runs(history: History, arguments: argparse.Namespace) -> None:
    runs = history.runs(arguments.limit)
    if arguments.json:
        return _print_json(runs)
    if not runs:
        say(f"no run in '{history.log}' used lisa_container")
        return
    columns = ("run", "name", "state", "duration", "passed", "failed", "other", "containers")
    rows = [
        (x.run, x.name, x.state, _seconds(x.duration), x.passed, x.failed, x.other, x.containers)
        for x in runs
    ]
    say_table(columns, rows)


def _one(history: History, arguments: argparse.Namespace) -> None:
    run = history.run(arguments.name)
    cases, containers = history.cases(run), history.containers(run)
    tools, files = history.tools(run), history.artifacts(run)
    if arguments.json:
        parts: dict[str, Sequence[Any]] = {
            "cases": cases,
            "containers": containers,
            "tools": tools,
            "artifacts": files,
        }
        found = {name: [asdict(x) for x in part] for name, part in parts.items()}
        say_json({**asdict(run), **found})
        return
    say(f"run {run.run} ({run.name}) on {run.runner}: {run.state}")
    say(f"files: {history.log / run.folder}")
    if run.message:
        say(f"it failed: {run.message}")
    _print_part(
        ("case", "status", "duration", "commands", "message"),
        [
            ("  " * bool(x.parent) + x.name, x.status, _seconds(x.duration), x.commands, _line(x))
            for x in cases
        ],
    )
    _print_part(
        ("container", "node", "image", "image id", "exit", "commands"),
        [(x.name, x.node, x.image, _short(x.image_id), _exit(x), x.commands) for x in containers],
    )
    _print_part(
        ("tool", "version", "via", "container"),
        [(x.name, x.version, x.manager, x.container) for x in tools],
    )
    if arguments.files:
        _print_part(("file", "kind", "bytes"), [(x.path, x.kind, x.size) for x in files])


def _case(history: History, arguments: argparse.Namespace) -> None:
    cases = history.case(arguments.name, arguments.limit)
    if arguments.json:
        return _print_json(cases)
    say_table(
        ("run", "status", "duration", "commands", "image", "message"),
        [(x.run, x.status, _seconds(x.duration), x.commands, x.image, _line(x)) for x in cases],
    )


def _diff(history: History, arguments: argparse.Namespace) -> None:
    before, after = history.run(arguments.before), history.run(arguments.after or "last")
    if arguments.after is None and before.run == after.run:
        raise ConfigError(
            "history diff: given only the last run; legal: two runs, or one before it"
        )
    found = changes(history, before, after)
    if arguments.json:
        return _print_json(found)
    say(f"from {before.run} to {after.run}:")
    if found:
        say_table(
            ("what", "name", "before", "after"),
            [(x.what, x.name, x.before, x.after) for x in found],
        )
    else:
        say("nothing changed: results, exit codes, images, tools, durations")


def _prune(age: timedelta, history: History, arguments: argparse.Namespace) -> int:
    oldest = datetime.now(timezone.utc) - age
    ended = [run for run in history.runs(_ALL) if run.state != RUNNING]
    old = [run for run in ended if _end_of(run, history.log) < oldest]
    failed = 0
    for run in old:
        path = history.log / run.folder
        if arguments.dry_run:
            say(f"would remove run {run.run}: {path}")
            continue
        try:
            remove_run(history.log, path)
        except OSError as error:
            complain(f"run {run.run} stays: {error}")
            failed += 1
        else:
            say(f"removed run {run.run}: {path}")
    if not old:
        say(f"no run in '{history.log}' is older than {arguments.older_than}")
    return FAILED if failed else 0


def _end_of(run: Run, log: Path) -> datetime:
    if run.ended or run.started:
        return datetime.fromisoformat(run.ended or run.started)
    # Its records cannot be read.
    return datetime.fromtimestamp((log / run.folder).lstat().st_mtime, timezone.utc)


def _read_age(text: str) -> timedelta:
    match = _AGE.fullmatch(text)
    if match is None:
        raise ConfigError(
            f"older-than: given '{text}'; legal: a number with h (hours), d (days) or w (weeks), "
            "such as 30d"
        )
    return int(match[1]) * _UNITS[match[2]]


def _print_json(found: Sequence[Any]) -> None:
    say_json([asdict(each) for each in found])


def _print_part(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    if rows:
        say("")
        say_table(columns, rows)


def _seconds(duration: float | None) -> str:
    return "" if duration is None else f"{duration:.2f} s"


def _short(image_id: str) -> str:
    return image_id.removeprefix("sha256:")[:12]


def _exit(container: Any) -> object:
    if container.oom_killed:
        return "out of memory"
    return "" if container.exit_code is None else container.exit_code


def _line(case: Case) -> str:
    message = " ".join(case.message.split())
    return message[:_LONGEST_MESSAGE] if sys.stdout.isatty() else message
