"""Suite for several nodes, which knows nothing of containers."""

from __future__ import annotations

from assertpy import assert_that
from lisa import (
    Environment,
    Node,
    TestCaseMetadata,
    TestSuite,
    TestSuiteMetadata,
    simple_requirement,
)


@TestSuiteMetadata(area="tests", category="functional", description="Several nodes.")
class SeveralNodes(TestSuite):
    @TestCaseMetadata(
        description="the nodes find each other",
        priority=2,
        requirement=simple_requirement(min_count=3),
    )
    def fleet_meets(self, environment: Environment) -> None:
        nodes = list(environment.nodes.list())
        names = [node.execute("hostname").stdout for node in nodes]
        assert_that(names).is_equal_to(["web-1", "web-2", "web-3"])
        first, second, *_ = nodes
        process = second.execute_async("nc -l -p 8000 -e echo hello", shell=True)
        answer = first.execute(
            "for i in 1 2 3 4 5 6 7 8 9; do nc web-2 8000 && exit; sleep 1; done", shell=True
        )
        process.kill()
        assert_that(answer.stdout).is_equal_to("hello")

    @TestCaseMetadata(description="a case with one node", priority=2)
    def fleet_first(self, node: Node) -> None:
        assert_that(node.execute("hostname").stdout).is_equal_to("web-1")
