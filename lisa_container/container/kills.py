"""Kills of commands in the background."""

from __future__ import annotations

import threading
import time
from typing import Callable

from lisa.util.logger import Logger

from lisa_container.errors import ContainerError
from lisa_container.masking import Plain

_THREAD_NAME = "kill-command"


def kill_in_background(kill: Callable[[], None], log: Logger) -> None:
    """Call a command's `kill` in another thread; log a failure.

    Args:
        kill: Method that kills the command.
        log: Log of the node.
    """

    def run() -> None:
        try:
            kill()
        except ContainerError as error:
            log.warning(Plain(str(error)))

    threading.Thread(target=run, name=_THREAD_NAME, daemon=True).start()


def wait_for_kills(seconds: float = 20.0) -> None:
    """Wait for the end of kills in the background, as after a case's timeout.

    LISA closes the node's connection at the end of a case, which would interrupt a kill.

    Args:
        seconds: Time limit, in seconds.
    """
    deadline = time.monotonic() + seconds
    for thread in threading.enumerate():
        if thread.name == _THREAD_NAME:
            thread.join(max(0.0, deadline - time.monotonic()))
