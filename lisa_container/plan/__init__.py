"""Command plans: tests of command-line tools that are a YAML file. See docs/plans.md."""

from __future__ import annotations

from lisa_container.plan.find import find_plans, load_plans
from lisa_container.plan.load import load_plan
from lisa_container.plan.model import Group, Plan, Step
from lisa_container.plan.run import PlanResult, run_plan
from lisa_container.plan.step import StepResult

__all__ = [
    "Group",
    "Plan",
    "PlanResult",
    "Step",
    "StepResult",
    "find_plans",
    "load_plan",
    "load_plans",
    "run_plan",
]
