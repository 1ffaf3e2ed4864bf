"""The command line of `lisa-container`."""

from __future__ import annotations

import argparse

from lisa_container.cli import history, plan, ps, reap

# One module for each: `add(commands)` declares it, and has `run(arguments)` be called for it.
_COMMANDS = (ps, reap, history, plan)


def parse(words: list[str] | None) -> argparse.Namespace:
    """Parse it; ends the process for --help, and with exit code 2 for what is wrong.

    Args:
        words: those of the process where None.

    Returns:
        What was given; its `run` is the command.
    """
    parser = argparse.ArgumentParser(
        prog="lisa-container",
        description="What runs of LISA have on nodes through lisa_container, what they were, and "
        "plans for them.",
        epilog="Exit codes: 0; 1 if something could not be removed, or a plan is wrong or "
        "fails; 2 for a wrong command line, or a node or engine that does not answer.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for command in _COMMANDS:
        command.add(commands)
    arguments, rest = parser.parse_known_args(words)
    # A target behind an option that itself is behind another word: argparse has given the target
    # nothing by then.
    if len(rest) == 1 and not rest[0].startswith("-") and not getattr(arguments, "target", rest):
        arguments.target = rest.pop()
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return arguments
