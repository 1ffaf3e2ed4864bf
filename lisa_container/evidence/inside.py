"""Queries by programs of a container, if it runs and has them."""

from __future__ import annotations

import contextlib
import time

from lisa_container.container.exec import Exec
from lisa_container.container.limited_output import LimitedOutput
from lisa_container.container.paths import exec_words
from lisa_container.container.request import CommandRequest, Sinks
from lisa_container.container.stall_watch import StallWatch
from lisa_container.engine.client import Engine
from lisa_container.errors import ContainerError

_MOST = 16 * 1024 * 1024
_SLICE = 0.1


def ask(
    engine: Engine, container: str, words: list[str], stdin: bytes = b"", timeout: float = 30.0
) -> bytes | None:
    """Run a program in the container as root and return its output; None if it cannot run.

    The exit code is ignored: `stat` fails for one file and reports the others. The container may be
    hostile, so the program is killed after 16 MiB of output or after the timeout.

    Args:
        engine: engine of the node.
        container: name or id.
        words: the program and its arguments.
        stdin: input of the program.
        timeout: seconds.
    """
    output, deadline = LimitedOutput(_MOST), time.monotonic() + timeout
    try:
        # An interactive command gets what is written below.
        request = CommandRequest(
            exec_words(words), user="0", interactive=bool(stdin), start_timeout=timeout
        )
        command = Exec(engine, container, request, Sinks(output.add))
    except ContainerError:
        return None
    try:
        # The command need not read all of its stdin.
        with contextlib.suppress(BrokenPipeError), StallWatch(command, timeout):
            if stdin:
                command.write(stdin)
                command.close_stdin()
        while not output.is_cut and command.running and time.monotonic() < deadline:
            command.ends_within(_SLICE)
        if output.is_cut:
            command.kill_soon()
            return output.data
        if (
            not command.wait(max(0.0, deadline - time.monotonic()))
            or command.refusal
            or command.exit_code in (126, 127)
        ):
            command.kill_soon()
            return None
    except (ContainerError, OSError):
        return None
    except BaseException:
        command.kill_soon()
        raise
    return output.data
