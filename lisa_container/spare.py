"""A container made in the background, for a case to come."""

from __future__ import annotations

import threading
import time
from typing import Callable

from lisa.node import Node

from lisa_container.config import ContainerTestConfig
from lisa_container.engine.waiting import wait_for
from lisa_container.executor import ContainerExecutor

# How long (seconds) one in the making is waited for.
_PATIENCE = 120.0
# How long (seconds) after the begin of the case its making begins: the case's own first command has
# the engine for itself meanwhile, and a case of 0.3 s does not wait for the spare at its end.
_DELAY = 0.05


class Spare:
    """A container that gets ready while the present case runs.

    Args:
        node: where.
        config: what it shall be.
        is_needed: whether a case that could take it is still to come.
        as_node: whether that will use it as a LISA node.
    """

    def __init__(
        self,
        node: Node,
        config: ContainerTestConfig,
        is_needed: Callable[[], bool],
        as_node: bool,
    ) -> None:
        self.is_needed = is_needed
        self._as_node = as_node
        self.executor = ContainerExecutor(node, config)
        self.executor.is_spare = True
        self._done = threading.Event()
        threading.Thread(target=self._make, name="spare", daemon=True).start()

    @property
    def is_done(self) -> bool:
        """Whether it is ready, or known never to be."""
        return self._done.is_set()

    def wait(self) -> None:
        """Wait until it is done."""
        wait_for(self._done, _PATIENCE)

    def take(self) -> ContainerExecutor | None:
        """The container, started; None where that failed, or it died meanwhile."""
        self.wait()
        if self.is_done and self.executor.is_running:
            self.executor.is_spare = False
            return self.executor
        self.executor.stop()
        return None

    def _make(self) -> None:
        time.sleep(_DELAY)
        try:
            self.executor.start()
            if self._as_node:
                _ = self.executor.node  # LISA looks at the system in it
        except BaseException as error:
            # The case will make one itself, and show why that fails.
            self.executor.host.log.debug(f"no spare container: {error}")
            self.executor.stop()
        finally:
            self._done.set()
