"""Run a step in the plan's container, or an isolated step in a new container."""

from __future__ import annotations

import time
from typing import Callable

from lisa.messages import TestStatus

from lisa_container.cases.keep import keep_if_asked
from lisa_container.cases.started import take_evidence_of
from lisa_container.errors import ContainerError, InterruptedRunError
from lisa_container.executor import ContainerExecutor
from lisa_container.plan.context import Context
from lisa_container.plan.files import put_files
from lisa_container.plan.model import Plan, Step
from lisa_container.plan.step import Execute, StepResult, run_step

Runner = Callable[[ContainerExecutor], Execute]
"""Function that returns what runs the commands of a container."""


def prepare_container(plan: Plan, executor: ContainerExecutor) -> None:
    """Start a container with the tools and files of a plan.

    Args:
        plan: plan with the tools and files.
        executor: the container, not yet started.

    Raises:
        ContainerError: the container cannot be started, or a tool or file is missing.
        OSError: a file of this machine cannot be read.
    """
    if plan.tools:
        executor.install(*plan.tools, cached=True)
    executor.start()
    put_files(executor, plan.files)


def run_plan_step(
    plan: Plan,
    executor: ContainerExecutor,
    step: Step,
    context: Context,
    runner: Runner,
    keeps_context: bool = True,
) -> tuple[StepResult, Context]:
    """Run a step in the container where it belongs.

    Args:
        plan: plan with the step.
        executor: the plan's container.
        step: step to run.
        context: context in which the step starts, unless it is isolated.
        runner: returns what runs the step's command.
        keeps_context: whether to determine the context after the step.

    Returns:
        The step's result, and the context after it.

    Raises:
        InterruptedRunError: Ctrl-C was pressed.
    """
    if not step.isolated:
        return run_step(executor, step, plan.shell, context, runner(executor), keeps_context)
    own = ContainerExecutor(executor.host, plan.container)
    try:
        prepare_container(plan, own)
        began = time.monotonic()
        result, _ = run_step(own, step, plan.shell, Context(), runner(own), keeps_context=False)
        if result.status is TestStatus.FAILED:
            take_evidence_of(own, result.message, None, time.monotonic() - began)
            keep_if_asked(own)
    except InterruptedRunError:
        raise
    except (ContainerError, OSError) as error:
        reason = f"the step's own container could not be prepared: {error}"
        result = StepResult(step.name, TestStatus.FAILED, reason)
    finally:
        own.stop()
    return result, context
