"""Cases without a container, whose results come from LISA alone."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from lisa import Node, TestCaseMetadata, TestSuite, TestSuiteMetadata
from lisa.messages import TestStatus, send_sub_test_result_message
from lisa.testsuite import TestResult
from lisa.util import SkippedException, constants

import lisa_container  # noqa: F401 - it listens
from lisa_container.recording.records import RESULTS_FILE


@TestSuiteMetadata(area="plain", category="functional", description="Results of several kinds")
class Plain(TestSuite):
    @TestCaseMetadata(description="passes, with two sub-tests")
    def verify_good(self, result: TestResult) -> None:
        part = "part_one"
        send_sub_test_result_message(result, part, TestStatus.PASSED, "", subtest_duration=0.25)
        send_sub_test_result_message(result, "part_two", TestStatus.FAILED, "it is bad")

    @TestCaseMetadata(description="fails where the runbook says so")
    def verify_perhaps(self, variables: dict[str, Any]) -> None:
        word = variables["password"]
        assert not variables.get("is_broken"), f"broken on purpose; the word is {word}"

    @TestCaseMetadata(description="is skipped")
    def verify_skipped(self) -> None:
        raise SkippedException("not today")

    @TestCaseMetadata(description="passes", priority=5)
    def repeated(self) -> None:
        pass

    @TestCaseMetadata(description="the runner is killed meanwhile", priority=5)
    def killed(self, node: Node) -> None:
        # LISA tells of its begin in another thread.
        results = constants.RUN_LOCAL_LOG_PATH / "containers" / RESULTS_FILE
        while '"killed"' not in results.read_text("utf-8"):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGKILL)
