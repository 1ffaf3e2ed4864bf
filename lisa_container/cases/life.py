"""Life of a case with containers, from their start to the evidence and their removal."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Callable

from lisa import Node, TestSuite
from lisa.testsuite import TestResult
from lisa.util import PassedException, SkippedException

from lisa_container.cases import upcoming
from lisa_container.cases.containers import NodeContainers
from lisa_container.cases.current import case_with_id
from lisa_container.cases.failures import report_failure
from lisa_container.cases.keep import keep_if_asked
from lisa_container.cases.recorder import CaseRecorder
from lisa_container.cases.retries import counted_as_running
from lisa_container.config import ContainerTestConfig, Scope
from lisa_container.container.ends import end_for_sure
from lisa_container.executor import ContainerExecutor
from lisa_container.recording.files import describe_error
from lisa_container.snapshots import snapshots_of


class CaseLife:
    """Containers of one case of a suite, or of one decorated case.

    Args:
        owner: Name of the suite, whose cases share a container with `scope: suite`.
        config: Config of the case's containers.
        is_needed: Returns whether another case that needs such a container is still to come.
        as_node: Whether cases use the container as a LISA node; then a spare is made ready as one.
        case: Recorder of the case; None outside of a case.
    """

    def __init__(
        self,
        owner: str,
        config: ContainerTestConfig,
        is_needed: Callable[[], bool],
        as_node: bool,
        case: CaseRecorder | None,
    ) -> None:
        """Start nothing yet; `container_on` does."""
        self.config = config
        self._owner = owner
        self._is_needed = is_needed
        self._as_node = as_node
        self._case = case
        self._containers: dict[Node, ContainerExecutor] = {}

    def containers_on(self, nodes: Iterable[Node]) -> list[ContainerExecutor]:
        """Return the case's containers on some nodes, in the order of the nodes."""
        return [self._containers[node] for node in nodes if node in self._containers]

    def container_on(self, node: Node) -> ContainerExecutor:
        """Return the case's container on a node; the suite's, or a fresh one for each case.

        Raises:
            ConfigError, EngineError: The container cannot be started; nothing stays behind.
        """
        on_node = NodeContainers.of(node)
        if self.config.scope is Scope.SUITE:
            self._containers[node] = on_node.shared(self._owner, self.config)
        elif node not in self._containers:
            self._containers[node] = on_node.fresh(self.config)
        return self._containers[node]

    def use(self, node: Node, executor: ContainerExecutor) -> None:
        """Record what happens in a container with the case from now on; start a spare for the next.

        Args:
            node: Node of the container.
            executor: The container, from `container_on` or made by the suite itself.
        """
        self._containers[node] = executor
        if self._case is not None:
            self._case.add(executor, self.config)
        if self.config.scope is Scope.CASE:
            NodeContainers.of(node).prepare_next(self.config, self._is_needed, self._as_node)

    def end(self) -> None:
        """Remove or give back the containers of this case alone."""
        kept = self._case.kept if self._case is not None else []
        while self._containers:
            node, executor = self._containers.popitem()
            if self.config.scope is Scope.CASE:
                NodeContainers.of(node).end_case(executor, self._is_needed)
            elif executor in kept:
                NodeContainers.of(node).retire(executor)


@contextlib.contextmanager
def case_code(case: CaseRecorder, suite: TestSuite, variables: Mapping[str, Any]) -> Iterator[None]:
    """Run a case's code in this block; if it fails, keep its containers if this is asked for.

    Args:
        case: Recorder of the case.
        suite: Suite object of the case.
        variables: The runbook's variables, for snapshots.
    """
    try:
        with snapshots_of(suite, variables):
            yield
    except BaseException as error:
        if not is_no_failure(error):
            started = [each for each in case.containers if each.is_started]
            case.kept += [each for each in started if keep_if_asked(each)]
            report_failure(case_with_id(case.id))
        raise


@contextlib.contextmanager
def case_on_nodes(
    suite: TestSuite,
    config: ContainerTestConfig,
    is_needed: Callable[[], bool],
    nodes: list[Node],
    result: TestResult,
    folder: Path,
    variables: Mapping[str, Any],
) -> Iterator[list[ContainerExecutor]]:
    """Run a case's code in a container on each node, from the containers' start to their end.

    Args:
        suite: Suite object of the case.
        config: Config of the containers.
        is_needed: Returns whether another case that needs such a container is still to come.
        nodes: Nodes to run on.
        result: LISA's result of the case.
        folder: LISA's folder of the case.
        variables: The runbook's variables, for snapshots.
    """
    upcoming.begins(result.id_)
    case = CaseRecorder.of(result, folder)
    case.rules = getattr(suite, "change_rules", None)
    life = CaseLife(type(suite).__qualname__, config, is_needed, True, case)
    failure: str | None = None

    def end() -> None:
        with counted_as_running(result, nodes[0]):
            try:
                case.take(failure)
                case.end()
            finally:
                life.end()

    try:
        executors = [life.container_on(node) for node in nodes]
        for node, executor in zip(nodes, executors):
            life.use(node, executor)
        with case_code(case, suite, variables):
            yield executors
    except BaseException as error:
        if not is_no_failure(error):
            failure = describe_error(error)
        raise
    finally:
        end_for_sure(nodes[0], end)


def is_no_failure(error: BaseException) -> bool:
    """Return whether an exception is LISA's way to end a case as skipped or passed."""
    return isinstance(error, (SkippedException, PassedException))
