"""Run a group of steps at the same time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lisa.messages import TestStatus

from lisa_container.container.command import RunningCommand
from lisa_container.container.result import CommandResult
from lisa_container.engine.workers import Workers
from lisa_container.executor import ContainerExecutor
from lisa_container.plan.context import Context
from lisa_container.plan.isolation import run_plan_step
from lisa_container.plan.model import Plan, Step
from lisa_container.plan.step import Execute, StepResult


class GroupRun:
    """Run of a group of steps at the same time. A failed step does not stop the others.

    Args:
        plan: plan with the steps.
        executor: the plan's container.
        steps: steps to run.
        context: context in which each step starts; no step changes it.
        made: gets the result of each step by its name, as soon as the step ends.
    """

    def __init__(
        self,
        plan: Plan,
        executor: ContainerExecutor,
        steps: Sequence[Step],
        context: Context,
        made: dict[str, StepResult],
    ) -> None:
        """Prepare a thread for each step."""
        self._plan = plan
        self._executor = executor
        self._context = context
        self._made = made
        self._running: set[RunningCommand] = set()
        self._is_interrupted = False
        self._workers: Workers[Step, None] = Workers(self._run_step, "step")
        self._workers.add(steps, len(steps))

    def run(self) -> None:
        """Run the steps.

        Raises:
            InterruptedRunError: Ctrl-C was pressed.
        """
        workers = self._workers
        try:
            workers.run()
        except BaseException:
            # LISA raises a case's timeout in this thread only.
            self._is_interrupted = True
            for running in list(self._running):
                running.kill_soon()
            raise
        for error in workers.failures.values():
            raise error

    def _run_step(self, step: Step) -> None:
        result, _ = run_plan_step(
            self._plan, self._executor, step, self._context, self._runner, keeps_context=False
        )
        # A command that was killed for the interruption did not fail by itself.
        if not self._is_interrupted or result.status is TestStatus.PASSED:
            self._made[step.name] = result

    def _runner(self, executor: ContainerExecutor) -> Execute:
        def execute(command: Sequence[str], timeout: float, **options: Any) -> CommandResult:
            running = executor.run_async(command, start_timeout=timeout, **options)
            self._running.add(running)
            if self._workers.stopping.is_set():
                running.kill_soon()
            try:
                return running.wait(timeout)
            finally:
                self._running.discard(running)

        return execute
