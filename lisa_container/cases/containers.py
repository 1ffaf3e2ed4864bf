"""Containers of suites on a node: one for a suite, or one for each case.

LISA makes a new suite object for each case and has no hook around a suite. A container that
outlives a case therefore hangs on the node, as one of the node's guests: `environment.cleanup()`
cleans up nodes, and nodes clean up their guests.
"""

from __future__ import annotations

import threading
from typing import Any, Callable, cast

from lisa.node import Node

from lisa_container.cases.recorder import wait_for_evidence
from lisa_container.cases.retries import close_as_running
from lisa_container.cases.spare import Spare
from lisa_container.cases.status import end_reported_cases
from lisa_container.config import ContainerTestConfig
from lisa_container.container.ends import wait_for_ends
from lisa_container.container.live import release_lease
from lisa_container.container.parallel import for_each, stop_all
from lisa_container.executor import ContainerExecutor
from lisa_container.masking import Plain

# Attribute of the node that holds its containers, so that they end with the node.
_SLOT = "_lisa_container_containers"
_slots_lock = threading.Lock()


class NodeContainers:
    """Containers of suites on one node. Use `NodeContainers.of(node)`.

    LISA takes this object for one of the node's guests: it calls `close` after each case and
    `cleanup` at the node's end.

    A fresh container for each case costs next to nothing. While a case runs, a spare starts for a
    later case. The end of the case waits for the spare, since LISA then closes the node's
    connection. While LISA connects again, the engine removes the container of the case, and the
    next case checks that it is gone.

    Args:
        node: Node that the containers run on.
    """

    name = "containers"
    """Name of the guest in LISA's messages."""

    def __init__(self, node: Node) -> None:
        """Begin without containers."""
        self._node = node
        self._lock = threading.RLock()
        self._shared: dict[tuple[str, str], ContainerExecutor] = {}
        self._of_cases: list[ContainerExecutor] = []
        self._released: list[ContainerExecutor] = []
        self._spares: dict[str, Spare] = {}

    @classmethod
    def of(cls, node: Node) -> NodeContainers:
        """Return the containers of a node, which removes them at its end."""
        with _slots_lock:
            if not hasattr(node, _SLOT):
                setattr(node, _SLOT, cls(node))
            found: NodeContainers = getattr(node, _SLOT)
            guests = cast("list[Any]", node.guests)  # the list is empty after a clean-up
            if found not in guests:
                guests.append(found)
            return found

    def shared(self, owner: str, config: ContainerTestConfig) -> ContainerExecutor:
        """Return the container of a suite; start it at the first call, and again if it died.

        Args:
            owner: Name of the suite.
            config: Config of the container; each config of a suite has its own container.

        Raises:
            ConfigError, EngineError: The container cannot be started; nothing stays behind.
        """
        key = (owner, config.require_image().key())
        with self._lock:
            self._see_released_gone()
            executor = self._shared.get(key)
            if executor is not None and not executor.is_running:
                self._node.log.warning(
                    Plain(f"{executor!r} does not run any more, a new one takes its place")
                )
                executor.stop()
                executor = None
            if executor is None:
                executor = self._shared[key] = self._start(config)
            return executor

    def retire(self, executor: ContainerExecutor) -> None:
        """Release a suite's container that is kept; later cases of the suite get a new one.

        Args:
            executor: Container from `shared`.
        """
        with self._lock:
            self._shared = {key: x for key, x in self._shared.items() if x is not executor}
        executor.stop()

    def fresh(self, config: ContainerTestConfig) -> ContainerExecutor:
        """Return a fresh container for one case: the spare if there is one.

        Args:
            config: Config of the container.

        Raises:
            ConfigError, EngineError: The container cannot be started; nothing stays behind.
        """
        spare = self._spares.pop(config.require_image().key(), None)
        executor = spare.take() if spare is not None else None
        self._see_released_gone()
        if executor is None:
            executor = self._start(config)
        self._of_cases.append(executor)
        return executor

    def prepare_next(
        self, config: ContainerTestConfig, is_needed: Callable[[], bool], as_node: bool
    ) -> None:
        """Begin to start a spare while a case runs.

        Args:
            config: Config of the container.
            is_needed: Returns whether a case that could use the spare is still to come.
            as_node: Whether that case will use the container as a LISA node.
        """
        if config.warm_spare and config.key() not in self._spares and is_needed():
            self._spares[config.key()] = Spare(self._node, config, is_needed, as_node)

    def end_case(self, executor: ContainerExecutor, is_needed: Callable[[], bool]) -> None:
        """Give back the container of a case.

        Args:
            executor: Container from `fresh`.
            is_needed: Returns whether a case that needs such a container is still to come.
        """
        if executor in self._of_cases:
            self._of_cases.remove(executor)
        if executor.config.warm_spare and is_needed():
            executor.stop_soon()
            self._released.append(executor)
        else:
            executor.stop()
        for key, spare in list(self._spares.items()):
            if spare.is_needed():
                spare.wait()
            elif spare.is_done:  # the case that needed it was skipped
                self._spares.pop(key).executor.stop()

    def close(self) -> None:
        """End the case's record, and close the containers' nodes; LISA does so after each case."""
        close_as_running(self._node)
        end_reported_cases()
        wait_for_evidence(self._node)
        wait_for_ends(self._node)
        for executor in self._all():
            if executor.node_or_none is not None:
                executor.node_or_none.close()

    def cleanup(self) -> None:
        """Remove all containers at the end of the node, several at a time."""
        wait_for_evidence(self._node)
        wait_for_ends(self._node)
        for spare in self._spares.values():
            spare.wait()
        executors = self._all()
        for each in (self._shared, self._of_cases, self._released, self._spares):
            each.clear()
        for_each(executors, _clean_up)
        release_lease(self._node)

    def _start(self, config: ContainerTestConfig) -> ContainerExecutor:
        executor = ContainerExecutor(self._node, config)
        executor.is_managed = True
        return executor.start()

    def _all(self) -> list[ContainerExecutor]:
        spares = [spare.executor for spare in self._spares.values()]
        return [*self._shared.values(), *self._of_cases, *self._released, *spares]

    def _see_released_gone(self) -> None:
        released, self._released = self._released, []
        stop_all(released)


def _clean_up(executor: ContainerExecutor) -> None:
    if executor.node_or_none is not None:
        executor.node_or_none.cleanup()  # also removes its own guests
    else:
        executor.stop()
