"""Case without containers of its own, for a guest whose image is built."""

from __future__ import annotations

from assertpy import assert_that
from lisa import Node, TestCaseMetadata, TestSuite, TestSuiteMetadata


@TestSuiteMetadata(area="tests", category="functional", description="In an image that is built.")
class Building(TestSuite):
    @TestCaseMetadata(description="it is the image", priority=0)
    def built_guest(self, node: Node) -> None:
        assert_that(node.execute("cat /marker").stdout).is_equal_to("beside the runbook")
