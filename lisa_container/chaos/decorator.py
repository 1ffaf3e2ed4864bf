"""`with_fault`: a case whose container has faults while it runs."""

from __future__ import annotations

import functools
from typing import Any, Callable, TypeVar

from lisa_container.chaos.fault import Fault
from lisa_container.chaos.injector import FailureInjector
from lisa_container.container.container import Container
from lisa_container.errors import ConfigError
from lisa_container.node import ContainerNode

C = TypeVar("C", bound=Callable[..., Any])


def with_fault(*faults: Fault) -> Callable[[C], C]:
    """Put faults into the container of a case while the case runs.

        @TestCaseMetadata(description="…")
        @with_fault(NetworkFault(delay=0.2))
        def verify_slow_network(self, container: ContainerExecutor) -> None:
            ...

    The case takes `container`, or `node` where that is a container. With `@container_test`, this
    decorator stands below that.

    Args:
        faults: The faults, in the order in which they begin.
    """

    def decorate(case: C) -> C:
        @functools.wraps(case)
        def wrapper(suite: object, **kwargs: Any) -> Any:
            container = _container_in(kwargs)
            if container is None:
                raise ConfigError(
                    f"with_fault: case '{case.__name__}' has no container; legal: a case that "
                    "takes 'container', or 'node' where that is a container, below @container_test"
                )
            with FailureInjector(container.host) as injector:
                for fault in faults:
                    injector.inject(fault, container)
                return case(suite, **kwargs)

        return wrapper  # type: ignore[return-value]

    return decorate


def _container_in(kwargs: dict[str, Any]) -> Container | None:
    container, node = kwargs.get("container"), kwargs.get("node")
    if isinstance(container, Container):
        return container
    return node.executor if isinstance(node, ContainerNode) else None
