"""A container made in the background, for a case to come."""

from __future__ import annotations

import threading
import time
from typing import Callable

from lisa.node import Node

from lisa_container.config import ContainerTestConfig
from lisa_container.engine.waiting import wait_for
from lisa_container.escaping import printable
from lisa_container.executor import ContainerExecutor

# Time limit of the wait for a spare that is starting, in seconds.
_PATIENCE = 120.0
# Seconds between the start of a case and the start of the spare: the first command of the case has
# the engine for itself, and a short case does not wait for the spare at its end.
_DELAY = 0.05


class Spare:
    """Container that starts while the present case runs, for a later case.

    Args:
        node: Node to start it on.
        config: Config of the container.
        is_needed: Returns whether a case that could use the spare is still to come.
        as_node: Whether that case will use the container as a LISA node.
    """

    def __init__(
        self,
        node: Node,
        config: ContainerTestConfig,
        is_needed: Callable[[], bool],
        as_node: bool,
    ) -> None:
        """Start the container in the background."""
        self.is_needed = is_needed
        self._as_node = as_node
        self.executor = ContainerExecutor(node, config)
        self.executor.is_spare = self.executor.is_managed = True
        self._done = threading.Event()
        threading.Thread(target=self._make, name="spare", daemon=True).start()

    @property
    def is_done(self) -> bool:
        """Whether the spare is ready or has failed to start."""
        return self._done.is_set()

    def wait(self) -> None:
        """Wait until the spare is ready or has failed to start."""
        wait_for(self._done, _PATIENCE)

    def take(self) -> ContainerExecutor | None:
        """Return the started container; None if it failed to start or died meanwhile."""
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
                _ = self.executor.node  # LISA examines the system in it
        except BaseException as error:
            # The case will start its own container, and report why that fails.
            self.executor.host.log.debug(f"no spare container: {printable(error)}")
            self.executor.stop()
        finally:
            self._done.set()
