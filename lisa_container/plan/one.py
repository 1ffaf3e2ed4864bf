"""A step in the container where it belongs: the plan's, or one of its own."""

from __future__ import annotations

from typing import Callable

from lisa.messages import TestStatus

from lisa_container.errors import ContainerError, InterruptedRunError
from lisa_container.executor import ContainerExecutor
from lisa_container.plan.context import Context
from lisa_container.plan.files import put_files
from lisa_container.plan.model import Plan, Step
from lisa_container.plan.step import Execute, StepResult, run_step

Runner = Callable[[ContainerExecutor], Execute]
"""What runs the commands of a container."""


def prepare(plan: Plan, executor: ContainerExecutor) -> None:
    """Start a container with the tools and files of a plan.

    Args:
        plan: whose they are.
        executor: not yet started.

    Raises:
        ContainerError: it cannot be had.
        OSError: a file of this machine cannot be read.
    """
    if plan.tools:
        executor.install(*plan.tools, cached=True)
    executor.start()
    put_files(executor, plan.files)


def run_one(
    plan: Plan,
    executor: ContainerExecutor,
    step: Step,
    context: Context,
    runner: Runner,
    carries: bool = True,
) -> tuple[StepResult, Context]:
    """Run a step.

    Args:
        plan: whose it is.
        executor: of the plan's container.
        step: to run.
        context: where it starts, unless it is isolated.
        runner: runs its command.
        carries: whether the context behind it is wanted.

    Returns:
        Its result, and the context behind it.

    Raises:
        InterruptedRunError: Ctrl-C was pressed.
    """
    if not step.isolated:
        return run_step(executor, step, plan.shell, context, runner(executor), carries)
    own = ContainerExecutor(executor.host, plan.container)
    try:
        prepare(plan, own)
        result, _ = run_step(own, step, plan.shell, Context(), runner(own), carries=False)
    except InterruptedRunError:
        raise
    except (ContainerError, OSError) as error:
        reason = f"a container of its own could not be had: {error}"
        result = StepResult(step.name, TestStatus.FAILED, reason)
    finally:
        own.stop()
    return result, context
