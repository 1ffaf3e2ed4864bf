"""Results of failed cases that LISA is about to repeat (`retry` in a runbook).

Whenever a task of a run ends, LISA's runner drops the completed results from its list. A failed
case counts as completed until LISA queues it again, and before that LISA closes and cleans up its
environment. If a task of another environment ends in that time, LISA forgets the case: it ends as
QUEUED, with LISA's exit code 255. Our clean-up makes that time long. So the result of such a case
counts as running in the meantime; LISA queues each case that has neither passed nor been skipped.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from lisa.messages import TestStatus
from lisa.node import Node
from lisa.testsuite import TestResult
from lisa.util import constants

from lisa_container.cases.current import result_to_close
from lisa_container.cases.recorder import FAILED
from lisa_container.container.keeping import lisa_keeps


def count_as_running(result: TestResult, node: Node) -> bool:
    """Have a failed case count as running if LISA is about to repeat it.

    Args:
        result: LISA's result of the case.
        node: Node of the case.

    Returns:
        Whether the status was changed.
    """
    # LISA keeps the environment of a case with the status FAILED, if asked to.
    is_kept = lisa_keeps(node) == constants.ENVIRONMENT_KEEP_FAILED
    is_repeated = result.retried_times < result.runtime_data.retry
    is_changed = result.status in FAILED and is_repeated and not is_kept
    if is_changed:
        result.status = TestStatus.RUNNING  # without a report: nothing runs
    return is_changed


def close_as_running(node: Node) -> None:
    """Count the case whose nodes LISA closes now in this thread; see `count_as_running`.

    Args:
        node: Node that is closed, or the one that it runs on.
    """
    result = result_to_close()
    if result is not None:
        count_as_running(result, node)


@contextlib.contextmanager
def counted_as_running(result: TestResult, node: Node) -> Iterator[None]:
    """Count a failed case as running within a `with` block; see `count_as_running`."""
    status = result.status
    is_changed = count_as_running(result, node)
    try:
        yield
    finally:
        if is_changed:  # else LISA may have set another status meanwhile, as after a timeout
            result.status = status
