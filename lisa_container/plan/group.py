"""Steps that run at the same time."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from lisa_container.command import CommandResult, RunningCommand
from lisa_container.engine.waiting import SLICE
from lisa_container.executor import ContainerExecutor
from lisa_container.plan.context import Context
from lisa_container.plan.model import Plan, Step
from lisa_container.plan.one import run_one
from lisa_container.plan.step import Execute, StepResult


def run_group(
    plan: Plan, executor: ContainerExecutor, steps: Sequence[Step], context: Context
) -> list[StepResult]:
    """Run steps at the same time. One that fails stops no other.

    Args:
        plan: whose they are.
        executor: of the plan's container.
        steps: to run.
        context: where each starts; none changes it.

    Returns:
        Their results, in their own order.

    Raises:
        InterruptedRunError: Ctrl-C was pressed.
    """
    return _Group(plan, executor, steps, context).run()


class _Group:
    def __init__(
        self, plan: Plan, executor: ContainerExecutor, steps: Sequence[Step], context: Context
    ) -> None:
        self._plan = plan
        self._executor = executor
        self._context = context
        self._results: list[StepResult | None] = [None] * len(steps)
        self._errors: list[BaseException] = []
        self._running: set[RunningCommand] = set()
        self._is_over = False
        self._threads = [
            threading.Thread(target=self._work, args=(index, step), name="step", daemon=True)
            for index, step in enumerate(steps)
        ]

    def run(self) -> list[StepResult]:
        try:
            for thread in self._threads:
                thread.start()
            for thread in self._threads:
                while thread.is_alive():
                    thread.join(SLICE)
        except BaseException:
            # LISA's end of the case: it reaches this thread only.
            self._is_over = True
            for running in list(self._running):
                running.kill_soon()
            raise
        if self._errors:
            raise self._errors[0]
        return [result for result in self._results if result is not None]

    def _work(self, index: int, step: Step) -> None:
        try:
            self._results[index], _ = run_one(
                self._plan, self._executor, step, self._context, self._runner, carries=False
            )
        except BaseException as error:  # raised in the waiting thread
            self._errors.append(error)

    def _runner(self, executor: ContainerExecutor) -> Execute:
        def execute(command: Sequence[str], timeout: float, **options: Any) -> CommandResult:
            running = executor.run_async(command, start_timeout=timeout, **options)
            self._running.add(running)
            if self._is_over:
                running.kill_soon()
            try:
                return running.wait(timeout)
            finally:
                self._running.discard(running)

        return execute
