"""Command-line tools, tested by plans: YAML files that say what to run and what to expect."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from lisa import Logger, Node, TestCaseMetadata, TestSuite, TestSuiteMetadata
from lisa.messages import send_sub_test_result_message
from lisa.testsuite import TestResult
from lisa.util import constants

from lisa_container.capture.records import CONTAINERS_FOLDER
from lisa_container.plan import StepResult, find_plans, load_plans, run_plan

PLANS = Path(__file__).parent / "plans"
"""Those that come with this suite, run where the runbook names none."""


@TestSuiteMetadata(
    area="cli",
    category="functional",
    description="""
    Plans of commands (docs/plans.md), each in a container of its own. The runbook's variable
    `plans` names their files.
    """,
)
class CliTools(TestSuite):
    """Each step is a sub-test of its own in LISA's results: `<plan>/<step>`."""

    @TestCaseMetadata(
        description="""
        Runs all plans. It fails if any step does, and names those; all plans are read before
        anything is made on the node.
        """,
        priority=2,
        timeout=7200,
    )
    def verify_cli_plans(
        self,
        node: Node,
        result: TestResult,
        variables: dict[str, Any],
        log: Logger,
        log_path: Path,
    ) -> None:
        given = variables.get("plans") or str(PLANS / "*.yml")
        plans = load_plans(find_plans(given, [constants.RUNBOOK_PATH, Path.cwd()]))
        failures: list[str] = []
        for plan in plans:
            log.info(f"plan '{plan.name}': {plan.description.strip() or 'no description'}")

            def send(step: StepResult, plan_name: str = plan.name) -> None:
                send_sub_test_result_message(
                    result,
                    f"{plan_name}/{step.name}",
                    step.status,
                    step.message,
                    subtest_duration=step.elapsed,
                )

            # Where those of every case are, and so in the index over all runs, too.
            name = f"lisa_test_{plan.name}_{secrets.token_hex(4)}"
            done = run_plan(plan, node, log_path / CONTAINERS_FOLDER / name, send, name)
            failures += [f"{plan.name}/{step.name}: {step.message}" for step in done.failed]
        if failures:
            count = sum(len(list(plan.all_steps())) for plan in plans)
            lines = "\n".join(failures)
            raise AssertionError(f"{len(failures)} of {count} steps failed:\n{lines}")
