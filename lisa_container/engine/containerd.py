"""Wait for Docker to restart its containerd, which takes about ten seconds.

Until then no container or command can be started. Running containers are not affected.
"""

from __future__ import annotations

import time

from lisa_container.engine.client import Engine
from lisa_container.errors import EngineError
from lisa_container.masking import Plain

# Seconds that containerd may take to come back. Docker needs about eleven: it first checks three
# times whether containerd answers.
_RETURN_TIMEOUT = 40.0
# Seconds between two tries.
_PAUSE = 0.5

# gRPC's message if containerd's socket is closed, so that nothing was sent...
_NOT_SENT = "error while dialing"
# ... and if the connection broke, perhaps after the request was sent.
_BROKEN = ("error reading from server", "transport is closing", "connection closed: unavailable")


def was_not_sent(message: str) -> bool:
    """Return whether the engine failed before it sent a request to containerd.

    Args:
        message: the engine's error for a container or command that did not start.
    """
    return "containerd" in message and _NOT_SENT in message.lower()


def is_lost(message: str) -> bool:
    """Return whether the engine failed because its containerd is gone.

    Args:
        message: the engine's error for a container or command that did not start.
    """
    return was_not_sent(message) or any(words in message.lower() for words in _BROKEN)


class ContainerdWait:
    """Wait for an engine's containerd to return, with one time limit for all tries.

    Args:
        engine: the engine that lost its containerd.
        only_unsent: do not repeat a start that containerd may have received, since that could run
            a user's command twice.
    """

    def __init__(self, engine: Engine, only_unsent: bool = False) -> None:
        """Start the time limit at the first failure."""
        self._engine = engine
        self._only_unsent = only_unsent
        self._deadline = 0.0

    def may_repeat(self, error: EngineError) -> bool:
        """Pause if containerd was lost; return whether to start the container again.

        Args:
            error: the error of the failed start.
        """
        is_repeatable = was_not_sent if self._only_unsent else is_lost
        if not is_repeatable(str(error)):
            return False
        now = time.monotonic()
        if not self._deadline:
            self._deadline = now + _RETURN_TIMEOUT
            self._engine.node.log.warning(
                Plain(
                    f"the engine of node '{self._engine.name}' has lost its containerd; waiting up "
                    f"to {_RETURN_TIMEOUT:g} s until it has started that again"
                )
            )
        if now >= self._deadline:
            return False
        time.sleep(_PAUSE)
        return True
