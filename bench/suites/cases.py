"""Suites of many equal cases: on a node, in a shared container, or in a container per case.

Environment variables: BENCH_CASES is the number of cases of a suite. BENCH_RECORD is a file to
which each case appends the time of its start, in seconds of the monotonic clock.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, Callable

from lisa import Node, TestCaseMetadata, TestSuite, TestSuiteMetadata

from lisa_container import ContainerExecutor, ContainerTestConfig, ContainerTestSuite, Scope

# Duration of a case that does something.
_SECONDS = 0.3


def _register(name: str, base: type, case: Callable[..., None], **members: Any) -> None:
    """Register a suite with many cases of one kind, each with its own qualified name."""
    for index in range(int(os.environ["BENCH_CASES"])):
        each = _numbered(case, name, f"{name.lower()}_{index:03}")
        members[each.__name__] = TestCaseMetadata(description="like all the others")(each)
    suite = type(name, (base,), {"__module__": __name__, "__qualname__": name, **members})
    TestSuiteMetadata(area="bench", category="performance", description="many cases")(suite)


def _numbered(case: Callable[..., None], suite: str, name: str) -> Callable[..., None]:
    def method(self: TestSuite, **arguments: Any) -> None:
        with Path(os.environ["BENCH_RECORD"]).open("a", encoding="utf-8") as record:
            record.write(f"{time.monotonic()}\n")
        case(**arguments)

    # LISA passes a case the arguments that it annotates.
    method.__annotations__ = case.__annotations__
    method.__name__, method.__qualname__ = name, f"{suite}.{name}"
    return method


def _on_node(node: Node) -> None:
    node.execute("/bin/true", expected_exit_code=0)


def _by_run(container: ContainerExecutor) -> None:
    container.run(["/bin/true"], expected_exit_code=0)


def _working(container: ContainerExecutor) -> None:
    container.run(["/bin/true"], expected_exit_code=0)
    time.sleep(_SECONDS)


def _config(scope: Scope) -> Callable[[Any], ContainerTestConfig]:
    return lambda suite: ContainerTestConfig(image="lisa_container/busybox", scope=scope)


_register("OnNode", TestSuite, _on_node)
_register("ByRun", ContainerTestSuite, _by_run, _get_container_config=_config(Scope.SUITE))
_register("Shared", ContainerTestSuite, _working, _get_container_config=_config(Scope.SUITE))
_register("Fresh", ContainerTestSuite, _working, _get_container_config=_config(Scope.CASE))
