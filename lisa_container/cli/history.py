"""`lisa-container history`: what runs were, and what became of their cases."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lisa_container.artifacts.difference import changes
from lisa_container.artifacts.history import Case, History
from lisa_container.artifacts.index import Index
from lisa_container.artifacts.ingest import catch_up
from lisa_container.cli.table import print_table
from lisa_container.errors import ConfigError

_LIMIT = 20
_RUN = "a run's id, its beginning, 'last', or 'last-1' for the one before it"


def add(commands: Any) -> None:
    """Declare the command.

    Args:
        commands: the subparsers of `lisa-container`.
    """
    parser: argparse.ArgumentParser = commands.add_parser(
        "history", help="list runs, follow a case over them, compare two"
    )
    parser.set_defaults(run=lambda arguments: _run(arguments, _runs))
    _add_common(parser, is_outer=True)
    questions = parser.add_subparsers(dest="question", metavar="QUESTION")
    for name, words, job in (
        ("runs", "list the last runs (the default)", _runs),
        ("run", "show one run: its cases, containers, tools, files", _one),
        ("case", "follow a case, or a sub-test, over the runs", _case),
        ("diff", "tell what changed between two runs", _diff),
    ):
        question = questions.add_parser(name, help=words, description=words)
        _add_common(question, is_outer=False)
        question.set_defaults(run=lambda arguments, job=job: _run(arguments, job))
        if name == "run":
            question.add_argument("name", nargs="?", default="last", metavar="RUN", help=_RUN)
            question.add_argument("--files", action="store_true", help="also each file it kept")
        elif name == "case":
            question.add_argument("name", metavar="CASE", help="its name")
        elif name == "diff":
            question.add_argument("before", nargs="?", default="last-1", metavar="RUN", help=_RUN)
            question.add_argument("after", nargs="?", default="last", metavar="RUN", help=_RUN)


def _add_common(parser: argparse.ArgumentParser, is_outer: bool) -> None:
    # Given before the question, a value must not be replaced by the question's own default.
    default: Any = None if is_outer else argparse.SUPPRESS
    parser.add_argument(
        "--log",
        type=Path,
        default=Path("runtime/log") if is_outer else default,
        metavar="FOLDER",
        help="where LISA makes a folder for each run; default: runtime/log",
    )
    parser.add_argument(
        "-n",
        "--limit",
        type=int,
        default=_LIMIT if is_outer else default,
        help=f"how many runs; default: {_LIMIT}",
    )
    parser.add_argument(
        "--json", action="store_true", default=False if is_outer else default, help="as JSON"
    )
    parser.add_argument(
        "--rebuild",
        action="store_true",
        default=False if is_outer else default,
        help="make the index anew from the runs' files first",
    )


def _run(arguments: argparse.Namespace, job: Any) -> int:
    log: Path = arguments.log.absolute()
    if not log.is_dir():
        raise ConfigError(
            f"log folder: there is no '{log}'. Call this where you call lisa, or give --log, as "
            "lisa's --log_path"
        )
    if arguments.limit < 1:
        raise ConfigError(f"limit: given {arguments.limit}; legal: a number from 1 on")
    if arguments.rebuild:
        Index.remove(log)
    with Index(log) as index:
        catch_up(index)
        job(History(index), arguments)
    return 0


def _runs(history: History, arguments: argparse.Namespace) -> None:
    runs = history.runs(arguments.limit)
    if arguments.json:
        return _print_json(runs)
    if not runs:
        print(f"no run in '{history.log}' used lisa_container")
        return
    columns = ("run", "name", "state", "duration", "passed", "failed", "other", "containers")
    rows = [
        (x.run, x.name, x.state, _seconds(x.duration), x.passed, x.failed, x.other, x.containers)
        for x in runs
    ]
    print_table(columns, rows)


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
        print(json.dumps({**asdict(run), **found}, indent=2))
        return
    print(f"run {run.run} ({run.name}) on {run.runner}: {run.state}")
    print(f"files: {history.log / run.folder}")
    if run.message:
        print(f"it failed: {run.message}")
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
    print_table(
        ("run", "status", "duration", "commands", "image", "message"),
        [(x.run, x.status, _seconds(x.duration), x.commands, x.image, _line(x)) for x in cases],
    )


def _diff(history: History, arguments: argparse.Namespace) -> None:
    before, after = history.run(arguments.before), history.run(arguments.after)
    found = changes(history, before, after)
    if arguments.json:
        return _print_json(found)
    print(f"from {before.run} to {after.run}:")
    if found:
        print_table(
            ("what", "name", "before", "after"),
            [(x.what, x.name, x.before, x.after) for x in found],
        )
    else:
        print("nothing changed: results, exit codes, images, tools, durations")


def _print_json(found: Sequence[Any]) -> None:
    print(json.dumps([asdict(each) for each in found], indent=2))


def _print_part(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    if rows:
        print()
        print_table(columns, rows)


def _seconds(duration: float | None) -> str:
    return "" if duration is None else f"{duration:.2f} s"


def _short(image_id: str) -> str:
    return image_id.removeprefix("sha256:")[:12]


def _exit(container: Any) -> object:
    if container.oom_killed:
        return "out of memory"
    return "" if container.exit_code is None else container.exit_code


def _line(case: Case) -> str:
    return " ".join(case.message.split())[:100]
