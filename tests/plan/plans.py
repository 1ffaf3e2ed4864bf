"""What tests of plans have in common."""

from __future__ import annotations

from typing import Callable

from lisa_container.plan import Plan, PlanResult

Write = Callable[[str], Plan]
Run = Callable[..., PlanResult]


def statuses(result: PlanResult) -> dict[str, str]:
    """Of each step."""
    return {step.name: step.status.name.lower() for step in result.steps}


def message(result: PlanResult, step: str) -> str:
    """What the result of a step says."""
    (found,) = [each.message for each in result.steps if each.name == step]
    return found
