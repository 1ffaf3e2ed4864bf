"""Run a command of the machine."""

from __future__ import annotations

import shlex
import subprocess

from lisa_container.system import environment


class KeeperError(Exception):
    """Failure of the keeper, with a message for the user."""


def run(*command: str, stdin: str | None = None, timeout: float = 30) -> str:
    """Run a command and return its stdout.

    Args:
        *command: the program and its arguments; no shell is used.
        stdin: input of the command; None means empty.
        timeout: time limit in seconds.

    Raises:
        KeeperError: the command failed, exceeded its time limit, or is not installed.
    """
    shown = shlex.join(command)
    try:
        done = subprocess.run(
            command,
            input=stdin if stdin is not None else "",
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            env=environment(),
            check=False,
        )
    except FileNotFoundError as error:
        raise KeeperError(f"`{shown}` could not run: {command[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise KeeperError(f"`{shown}` did not end within {timeout:g} s") from error
    if done.returncode != 0:
        output = (done.stderr.strip() or done.stdout.strip() or "it printed nothing").splitlines()
        raise KeeperError(f"`{shown}` failed with {done.returncode}: {' / '.join(output[-5:])}")
    return done.stdout
