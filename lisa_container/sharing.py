"""The containers of suites on a node: one for a suite, or one for each case; gone with the node.

LISA makes a new suite object for each case and has no hook around a suite. What must outlive a case
therefore hangs on the node, as one of its guests: `environment.cleanup()` cleans nodes up, and
nodes their guests.
"""

from __future__ import annotations

import threading
from typing import Any, Callable, cast

from lisa.node import Node
from lisa.util import PassedException, SkippedException, constants

from lisa_container.cases import wait_for_evidence
from lisa_container.config import ContainerTestConfig
from lisa_container.engine.lease.lease import Lease
from lisa_container.executor import ContainerExecutor, release_lease
from lisa_container.many import for_each, stop_all
from lisa_container.spare import Spare

# They are an attribute of the node under this name, so that they end with their node.
_SLOT = "_lisa_container_containers"
_slots_lock = threading.Lock()


class NodeContainers:
    """The containers of suites on one node. Use `NodeContainers.of(node)`.

    LISA takes it for one of the node's guests: it is told of the end of each case (`close`) and of
    the node's end (`cleanup`).

    A fresh container for each case costs next to nothing. While a case runs, a spare is made for
    one to come; the end of the case waits for it, as LISA then closes the node's connection. While
    LISA does that and connects anew, the engine removes the container of the case, and the next
    case sees it gone.

    Args:
        node: where.
    """

    name = "containers"
    """For what LISA says of its guests."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._lock = threading.RLock()
        self._shared: dict[tuple[str, str], ContainerExecutor] = {}
        self._of_cases: list[ContainerExecutor] = []
        self._released: list[ContainerExecutor] = []
        self._spares: dict[str, Spare] = {}

    @classmethod
    def of(cls, node: Node) -> NodeContainers:
        """Those of a node, which removes them at its end."""
        with _slots_lock:
            if not hasattr(node, _SLOT):
                setattr(node, _SLOT, cls(node))
            found: NodeContainers = getattr(node, _SLOT)
            guests = cast("list[Any]", node.guests)  # a clean-up empties it
            if found not in guests:
                guests.append(found)
            return found

    def shared(self, owner: str, config: ContainerTestConfig) -> ContainerExecutor:
        """The container of an owner; started at the first call, and again if it died.

        Args:
            owner: name of the suite.
            config: one container is kept for each.

        Raises:
            ConfigError, EngineError: it cannot be had; nothing stays behind.
        """
        key = (owner, config.require_image().key())
        with self._lock:
            self._see_released_gone()
            executor = self._shared.get(key)
            if executor is not None and not executor.is_running:
                self._node.log.warning(
                    f"{executor!r} does not run any more, a new one takes its place"
                )
                executor.stop()
                executor = None
            if executor is None:
                executor = ContainerExecutor(self._node, config).start()
                self._shared[key] = executor
            return executor

    def fresh(self, config: ContainerTestConfig) -> ContainerExecutor:
        """A container of its own for a case, the spare where there is one.

        Args:
            config: what it shall be.

        Raises:
            ConfigError, EngineError: it cannot be had; nothing stays behind.
        """
        spare = self._spares.pop(config.require_image().key(), None)
        executor = spare.take() if spare is not None else None
        self._see_released_gone()
        if executor is None:
            executor = ContainerExecutor(self._node, config).start()
        self._of_cases.append(executor)
        return executor

    def prepare_next(
        self, config: ContainerTestConfig, is_needed: Callable[[], bool], as_node: bool
    ) -> None:
        """Begin to make a spare while a case runs.

        Args:
            config: what it shall be.
            is_needed: whether a case that could take it is still to come.
            as_node: whether that will use it as a LISA node.
        """
        if config.warm_spare and config.key() not in self._spares and is_needed():
            self._spares[config.key()] = Spare(self._node, config, is_needed, as_node)

    def end_case(self, executor: ContainerExecutor, is_needed: Callable[[], bool]) -> None:
        """Give back the container of a case.

        Args:
            executor: from `fresh`.
            is_needed: whether a case of its kind is still to come.
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
            elif spare.is_done:  # the case that it was for was skipped
                self._spares.pop(key).executor.stop()

    def close(self) -> None:
        """LISA closes its nodes after each case; see `ContainerNode.close`."""
        wait_for_evidence(self._node)
        for executor in self._all():
            if executor.node_or_none is not None:
                executor.node_or_none.close()

    def cleanup(self) -> None:
        """LISA's end of the node: remove all, several at a time."""
        wait_for_evidence(self._node)
        for spare in self._spares.values():
            spare.wait()
        executors = self._all()
        for each in (self._shared, self._of_cases, self._released, self._spares):
            each.clear()
        for_each(executors, _clean_up)
        release_lease(self._node)

    def _all(self) -> list[ContainerExecutor]:
        spares = [spare.executor for spare in self._spares.values()]
        return [*self._shared.values(), *self._of_cases, *self._released, *spares]

    def _see_released_gone(self) -> None:
        released, self._released = self._released, []
        stop_all(released)


def keep_if_asked(node: Node, executor: ContainerExecutor, error: BaseException) -> None:
    """Keep the container of a failed case where `keep_environment` in the platform says so.

    Args:
        node: the container's.
        executor: of the container.
        error: what ended the case.
    """
    if isinstance(error, (SkippedException, PassedException)):
        return
    if executor.keep_environment != constants.ENVIRONMENT_KEEP_NO and not executor.keep:
        executor.keep = True
        Lease.of(executor.engine).keep(executor.id)  # also if this process is killed from now on
        node.log.info(f"keeping {executor!r} of a failed case; enter: {executor.enter_command}")


def _clean_up(executor: ContainerExecutor) -> None:
    if executor.node_or_none is not None:
        executor.node_or_none.cleanup()  # with what was made on it
    else:
        executor.stop()
