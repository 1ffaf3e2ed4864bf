"""Case that runs now, on a node or in a thread.

LISA gives a case to its suite, and tells others of it only by a report, which arrives later and in
another thread. So the frame of `TestSuite.start`, which lives as long as LISA runs cases, is asked.
Without such a frame, as for a plan of the command line, `use_case` names the case.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from lisa import Environment, Node, TestSuite
from lisa.testsuite import TestResult

_START = TestSuite.start.__code__
# Method of LISA's results that reports a new status, with the result as `self`.
_REPORT = TestResult.set_status.__code__
# Function of func_timeout whose frame is at the bottom of a case's own thread, and its argument.
_IN_THREAD, _ARGUMENTS = "funcwrap", "kwargs2"
# Method of LISA's runner that runs a case and then closes the case's nodes, and its variable.
_TASK, _RESULT = "_run_test_task", "test_result"


@dataclass(frozen=True)
class CurrentCase:
    """Case that runs now.

    Args:
        id: LISA's id of the case (`TestResult.id_`).
        name: Name of the case.
        suite: LISA's name of the suite.
        folder: LISA's folder of the case.
        nodes: Nodes of the case's environment.
    """

    id: str
    name: str
    suite: str
    folder: Path
    nodes: tuple[Node, ...]

    @classmethod
    def of(cls, result: TestResult, environment: Environment) -> CurrentCase:
        """Return the case of a result.

        Args:
            result: LISA's result of the case.
            environment: Environment of the case.
        """
        metadata = result.runtime_data.metadata
        folder = result.get_case_log_path()
        nodes = tuple(environment.nodes.list())
        return cls(result.id_, metadata.name, metadata.suite.name, folder, nodes)


_used: list[CurrentCase] = []


@contextlib.contextmanager
def use_case(case: CurrentCase) -> Iterator[None]:
    """Declare the case that runs in this block, for a case that LISA does not run itself.

    Args:
        case: The case.
    """
    _used.append(case)
    try:
        yield
    finally:
        _used.remove(case)


def case_of(node: Node) -> CurrentCase | None:
    """Return the case to which a container belongs that starts now; None outside of cases.

    It is the case of this thread; else the case whose environment has the node; else, for a node
    that a case has connected to by itself, the only case that runs.

    Args:
        node: Node of the container.
    """
    result = _result_of(sys._getframe())
    running = [*_used, *_running()]
    for case in running:
        if result is not None and case.id == result.id_:
            return case
    hosts = set(hosts_of(node))
    for case in running:
        if any(hosts.intersection(hosts_of(each)) for each in case.nodes):
            return case
    return running[0] if len(running) == 1 else None


def case_with_id(case_id: str) -> CurrentCase | None:
    """Return the case that runs and has this id; None if there is none.

    Args:
        case_id: LISA's id of the case.
    """
    return next((case for case in [*_used, *_running()] if case.id == case_id), None)


def reported_result() -> TestResult | None:
    """Return LISA's result whose new status LISA reports now in this thread, or None.

    LISA then asks the platform for information about the environment: the first call of a platform
    after a case has failed, before LISA does anything else.
    """
    for frame in _frames_from(sys._getframe()):
        if frame.f_code is _REPORT:
            result = frame.f_locals.get("self")
            return result if isinstance(result, TestResult) else None
    return None


def hosts_of(node: Node) -> Iterator[Node]:
    """Yield a node and those that it runs on; an environment may have any of them.

    Args:
        node: Node of a case.
    """
    each: Node | None = node
    while each is not None:
        yield each
        each = each.parent


def result_to_close() -> TestResult | None:
    """Return LISA's result of the case that LISA has run in this thread, to close its nodes now."""
    for frame in _frames_from(sys._getframe()):
        if frame.f_code.co_name == _TASK:
            result = frame.f_locals.get(_RESULT)
            return result if isinstance(result, TestResult) else None
    return None


def _frames_from(frame: FrameType | None) -> Iterator[FrameType]:
    """Yield a frame and its callers."""
    while frame is not None:
        yield frame
        frame = frame.f_back


def _result_of(frame: FrameType) -> TestResult | None:
    """Return LISA's result of the case whose thread has a frame, or None."""
    for each in _frames_from(frame):
        if each.f_code.co_name == _IN_THREAD:
            result = (each.f_locals.get(_ARGUMENTS) or {}).get("result")
            return result if isinstance(result, TestResult) else None
    return None


def _running() -> Iterator[CurrentCase]:
    """Yield the cases that LISA runs."""
    for top in sys._current_frames().values():
        starts = [each for each in _frames_from(top) if each.f_code is _START]
        if not starts:
            continue
        variables = starts[0].f_locals
        result, environment = variables.get("case_result"), variables.get("environment")
        if isinstance(result, TestResult) and isinstance(environment, Environment):
            yield CurrentCase.of(result, environment)
