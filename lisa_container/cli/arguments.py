"""The command line of `lisa-container`."""

from __future__ import annotations

import argparse
from pathlib import Path

PASSWORD_VARIABLE = "LISA_CONTAINER_PASSWORD"
"""The environment variable that may hold the password of the node's user."""

_TARGET = (
    "'user@host[:port]', or 'local' for this machine; or else give --runbook. "
    f"The user's password, where one is needed, is taken from {PASSWORD_VARIABLE} or asked for "
    "(--ask-password)"
)


def parse(words: list[str] | None) -> argparse.Namespace:
    """Parse it; ends the process for --help, and with exit code 2 for what is wrong.

    Args:
        words: those of the process where None.
    """
    parser = argparse.ArgumentParser(
        prog="lisa-container",
        description="What runs of LISA have on nodes through lisa_container.",
        epilog="Exit codes: 0; 1 if something could not be removed; 2 for a wrong command line, or "
        "a node or engine that does not answer.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    ps = commands.add_parser("ps", help="list containers, networks, volumes and images of runs")
    ps.add_argument("--json", action="store_true", help="as JSON")
    reap = commands.add_parser("reap", help="remove what belongs to no living run")
    reap.add_argument("-n", "--dry-run", action="store_true", help="only tell what would go")
    reap.add_argument("--kept", action="store_true", help="also what was kept on purpose")
    for command in (ps, reap):
        command.add_argument("target", nargs="?", default="", help=_TARGET)
        command.add_argument(
            "-i", "--identity", type=Path, metavar="FILE", help="private key of the node's user"
        )
        command.add_argument(
            "--ask-password", action="store_true", help="ask for the password on the terminal"
        )
        command.add_argument(
            "-r", "--runbook", type=Path, metavar="FILE", help="take the nodes of a runbook"
        )
        command.add_argument(
            "-v",
            "--variable",
            dest="variables",
            action="append",
            default=[],
            metavar="NAME:VALUE",
            help="of the runbook, as for lisa",
        )
        command.add_argument("-d", "--debug", action="store_true", help="show LISA's log")
    arguments = parser.parse_args(words)
    if bool(arguments.target) == bool(arguments.runbook):
        parser.error("give either a target, 'user@host[:port]' or 'local', or --runbook")
    return arguments
