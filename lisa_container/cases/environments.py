"""LISA's environment as a case in containers sees it."""

from __future__ import annotations

import copy
from collections.abc import Iterable

from lisa import Environment
from lisa.node import Nodes

from lisa_container.executor import ContainerExecutor


def in_containers(environment: Environment, executors: Iterable[ContainerExecutor]) -> Environment:
    """Return a view of an environment whose nodes are containers.

    LISA keeps its own environment: closing and removing the view's nodes is not LISA's task.

    Args:
        environment: LISA's environment of the case.
        executors: Running containers, in the order of the environment's nodes.
    """
    view = copy.copy(environment)
    view.nodes = Nodes()
    for executor in executors:
        view.nodes.append(executor.node)
    # A case that marks its environment as dirty means the one that LISA uses again.
    view.mark_dirty = environment.mark_dirty  # type: ignore[method-assign]
    return view
