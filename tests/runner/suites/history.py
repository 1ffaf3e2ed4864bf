"""Case with another image, tool and commands in each run."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from lisa import TestCaseMetadata, TestSuiteMetadata

from lisa_container import ContainerExecutor, ContainerTestConfig, ContainerTestSuite
from lisa_container.install import Tool


@TestSuiteMetadata(area="tests", category="functional", description="For the index over all runs.")
class Followed(ContainerTestSuite):
    def _get_container_config(self) -> ContainerTestConfig:
        return ContainerTestConfig(image="followed:1", pull_policy="never", artifacts=["/kept"])

    @TestCaseMetadata(description="passes, whatever there is")
    def followed(self, container: ContainerExecutor, variables: dict[str, Any]) -> None:
        container.install(
            Tool("hello", version=variables["version"], file=variables["tool"], command="hello")
        )
        container.run("cat /marker")
        container.run("echo kept >/kept")
        container.run(["sh", "-c", "head -c 2000000 /dev/zero"])
        if variables["is_killed"]:
            container.run_async("sleep 4321")
            time.sleep(2)
            os.kill(os.getpid(), signal.SIGKILL)
