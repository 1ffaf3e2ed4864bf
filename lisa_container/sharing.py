"""Containers that outlive a case: one per suite, node and config, removed with the environment.

LISA makes a new suite object for each case and has no hook around a suite. What must outlive a case
therefore hangs on the node, as one of its guests: `environment.cleanup()` cleans nodes up, and
nodes their guests.
"""

from __future__ import annotations

import threading
import weakref

from lisa.node import Node
from lisa.util import PassedException, SkippedException, constants

from lisa_container.config import ContainerTestConfig
from lisa_container.engine.lease.lease import Lease
from lisa_container.executor import ContainerExecutor

_Key = tuple[str, str]

_shared: weakref.WeakKeyDictionary[Node, dict[_Key, ContainerExecutor]] = (
    weakref.WeakKeyDictionary()
)
_locks: weakref.WeakKeyDictionary[Node, threading.RLock] = weakref.WeakKeyDictionary()
_locks_lock = threading.Lock()


def shared_executor(node: Node, owner: str, config: ContainerTestConfig) -> ContainerExecutor:
    """The container of an owner on a node; started at the first call, and again if it died.

    Args:
        node: where.
        owner: name of the suite.
        config: one container is kept for each.

    Raises:
        ConfigError, EngineError: it cannot be had; nothing stays behind.
    """
    config.require_image()
    with _locks_lock:
        lock = _locks.setdefault(node, threading.RLock())
        containers = _shared.setdefault(node, {})
    with lock:
        executor = containers.get((owner, config.key()))
        if executor is not None and not executor.is_running:
            node.log.warning(f"{executor!r} does not run any more, a new one takes its place")
            executor.stop()
            executor = None
        if executor is None:
            executor = fresh_executor(node, config)
            containers[(owner, config.key())] = executor
        return executor


def fresh_executor(node: Node, config: ContainerTestConfig) -> ContainerExecutor:
    """A container of its own, removed at the latest with the node's environment.

    Args:
        node: where.
        config: what it shall be.
    """
    executor = ContainerExecutor(node, config).start()
    node.guests.append(executor.node)
    return executor


def release(node: Node, executor: ContainerExecutor) -> None:
    """Remove a container before its environment ends."""
    executor.stop()
    if executor.node_or_none in node.guests:
        node.guests.remove(executor.node_or_none)


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
