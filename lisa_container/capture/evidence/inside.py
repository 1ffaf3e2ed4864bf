"""Asking a container's own programs, where it runs and has them."""

from __future__ import annotations

import contextlib

from lisa_container.engine.client import Engine
from lisa_container.engine.exec import Exec
from lisa_container.errors import ContainerError


def ask(
    engine: Engine, container: str, words: list[str], stdin: bytes = b"", timeout: float = 30.0
) -> bytes | None:
    """What a program in the container writes, run as root; None where it could not be run.

    Its exit code does not count: `stat` fails for one file, and tells of the others.

    Args:
        engine: of the node.
        container: name or id.
        words: the program and its arguments.
        stdin: what it reads.
        timeout: seconds.
    """
    said = bytearray()
    try:
        command = Exec(engine, container, words, user="0", stdin=bool(stdin), on_stdout=said.extend)
    except ContainerError:
        return None
    try:
        with contextlib.suppress(BrokenPipeError):  # it need not read all
            if stdin:
                command.write(stdin)
                command.close_stdin()
        if not command.wait(timeout) or command.refusal or command.exit_code in (126, 127):
            command.kill_soon()
            return None
    except (ContainerError, OSError):
        return None
    except BaseException:
        command.kill_soon()
        raise
    return bytes(said)
