"""Parser of the command line of `lisa-container`."""

from __future__ import annotations

import argparse
import importlib.metadata
import sys
from typing import Any

from lisa_container.cli.declare import declare

PROGRAM = "lisa-container"
"""Name of the command."""


class Parser(argparse.ArgumentParser):
    """Argument parser whose help is in colours on a terminal; its subparsers are of this class.

    Args:
        options: those of `argparse.ArgumentParser`.
    """

    def __init__(self, **options: Any) -> None:
        """Make a parser with that help."""
        super().__init__(**{"formatter_class": _make_formatter, **options})


def make_parser() -> Parser:
    """Return the parser with all commands."""
    parser = Parser(
        prog=PROGRAM,
        description="Show and remove what runs of LISA left on nodes through lisa_container, "
        "answer questions about runs, and check and run plans.",
        epilog="'lisa-container COMMAND --help' has the options of a command. Exit codes: 0 for "
        "success; 1 if something could not be removed, or a plan is wrong or fails; 2 for a wrong "
        "command line, or a node or engine that does not answer.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {_version()}")
    declare(parser.add_subparsers(dest="command", required=True))
    return parser


def parse(words: list[str] | None) -> argparse.Namespace:
    """Parse the command line; end the process for --help, and with exit code 2 for a mistake.

    Args:
        words: of the command line; None: those of the process.

    Returns:
        The arguments; `run` is the function that does the job.
    """
    parser = make_parser()
    arguments, rest = parser.parse_known_args(words)
    # argparse has decided that there is no target when it comes after an option and its value.
    if len(rest) == 1 and not rest[0].startswith("-") and not getattr(arguments, "target", rest):
        arguments.target = rest.pop()
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return arguments


def _make_formatter(prog: str) -> argparse.HelpFormatter:
    """Return the formatter of the help; rich is imported for a terminal only."""
    if not sys.stdout.isatty():
        return argparse.HelpFormatter(prog)
    from rich_argparse import RichHelpFormatter

    return RichHelpFormatter(prog)


def _version() -> str:
    try:
        return importlib.metadata.version("lisa_container")
    except importlib.metadata.PackageNotFoundError:  # a checkout on the path
        return "of a checkout"
