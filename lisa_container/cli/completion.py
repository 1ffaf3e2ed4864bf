"""`lisa-container completion`: completion of this command for a shell."""

from __future__ import annotations

import argparse
from pathlib import Path

import shtab

from lisa_container.cli.arguments import make_parser


def run(arguments: argparse.Namespace) -> int:
    """Print the script that a shell reads; return the exit code."""
    parser = make_parser()
    _mark_paths(parser)
    print(shtab.complete(parser, shell=arguments.shell))
    return 0


def _mark_paths(parser: argparse.ArgumentParser) -> None:
    """Let shells complete path arguments with file names."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                _mark_paths(each)
        elif action.type is Path:
            kind = shtab.DIRECTORY if action.metavar == "FOLDER" else shtab.FILE
            action.complete = kind  # type: ignore[attr-defined]
