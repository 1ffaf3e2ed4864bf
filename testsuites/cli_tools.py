"""Test command-line tools with plans: YAML files with commands and expected results."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from lisa import Logger, Node, TestCaseMetadata, TestSuite, TestSuiteMetadata
from lisa.messages import send_sub_test_result_message
from lisa.testsuite import TestResult
from lisa.util import constants

from lisa_container.plan import StepResult, find_plans, load_plans, run_plan
from lisa_container.recording.records import CONTAINERS_FOLDER

PLANS = Path(__file__).parent / "plans"
"""Plans of this suite, used if the runbook names none."""


@TestSuiteMetadata(
    area="cli",
    category="functional",
    description="""
    Runs plans of commands (docs/plans.md), each in its own container. The runbook's variable
    `plans` names the files.
    """,
)
class CliTools(TestSuite):
    """Suite that reports each step as a LISA sub-test, `<plan>/<step>`."""

    @TestCaseMetadata(
        description="""
        Runs all plans. Fails if a step fails, and names those steps. All plans are checked before
        anything is created on the node.
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

            # In the folder that the index over all runs reads.
            name = f"lisa_test_{plan.name}_{secrets.token_hex(4)}"
            done = run_plan(plan, node, log_path / CONTAINERS_FOLDER / name, send, name)
            failures += [f"{plan.name}/{step.name}: {step.message}" for step in done.failed]
        if failures:
            count = sum(len(list(plan.all_steps())) for plan in plans)
            lines = "\n".join(failures)
            raise AssertionError(f"{len(failures)} of {count} steps failed:\n{lines}")
