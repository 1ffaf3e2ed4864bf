"""Cases that leave arbitrary text in records, or meet a full disk."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

from lisa import TestCaseMetadata, TestSuiteMetadata
from lisa.messages import TestStatus, send_sub_test_result_message
from lisa.testsuite import TestResult

from lisa_container import ContainerExecutor, ContainerTestConfig, ContainerTestSuite

BYTES = os.fsdecode(b"caf\xe9 \x1b[31m")


@TestSuiteMetadata(area="tests", category="functional", description="For the records of a run.")
class Records(ContainerTestSuite):
    def _get_container_config(self) -> ContainerTestConfig:
        return ContainerTestConfig(image="lisa_container/busybox", artifacts=["/etc/passwd"])

    @TestCaseMetadata(description="passes", priority=1)
    def odd_text(self, container: ContainerExecutor) -> None:
        container.run(["echo", BYTES])
        container.run("printf '\\351'", update_envs={"ODD": BYTES}, cwd="/")
        container.run(f"echo {BYTES}")

    @TestCaseMetadata(description="fails, with any bytes in its message", priority=1)
    def odd_failure(self, container: ContainerExecutor, result: TestResult) -> None:
        result.information["odd"] = BYTES
        for status in (TestStatus.RUNNING, TestStatus.FAILED):
            send_sub_test_result_message(result, f"part {BYTES}", status, "\0\ud800")
        container.run(["false", f"{BYTES} \x9b \ufffe"], expected_exit_code=0)

    @TestCaseMetadata(description="fails, having filled the runner's disk", priority=2)
    def full_disk(self, container: ContainerExecutor, variables: dict[str, Any]) -> None:
        with contextlib.suppress(OSError), Path(variables["filler"]).open("ab", 0) as file:
            while True:
                file.write(b"x" * 4096)
        for _ in range(3):
            assert len(container.run("yes | head -c 3000000").stdout_bytes) == 3_000_000
        raise AssertionError("failed on purpose")

    @TestCaseMetadata(description="passes on the full disk", priority=3)
    def after_it(self, container: ContainerExecutor) -> None:
        assert container.run("echo x").stdout == "x"

    @TestCaseMetadata(description="makes room on the disk, and passes", priority=4)
    def with_room(self, container: ContainerExecutor, variables: dict[str, Any]) -> None:
        Path(variables["filler"]).unlink()
        assert container.run("echo y").stdout == "y"
