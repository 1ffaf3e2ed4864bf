"""Lines in LISA's log about commands that have ended."""

from __future__ import annotations

from lisa.util.logger import Logger

from lisa_container.container.result import CommandResult
from lisa_container.masking import Plain

# A command that takes longer than this, in seconds, gets a log line at its end.
_LOGGED = 1.0


def log_end(log: Logger, container: str, text: str, result: CommandResult, nohup: bool) -> None:
    """Log the end of a command if it failed, took long or left processes.

    Args:
        log: Logger of the node.
        container: Name of the container.
        text: Command line without secrets.
        result: Result of the command.
        nohup: Whether the command may leave processes.
    """
    if result.left_processes and not nohup:
        log.warning(
            Plain(
                f"[{container}] {text!r} left processes in the background; pass nohup=True where "
                "that is intended"
            )
        )
    if result.exit_code or result.elapsed > _LOGGED:
        log.debug(
            f"[{container}] exit code {result.exit_code} after {result.elapsed:.3f} s: {text!r}"
        )
