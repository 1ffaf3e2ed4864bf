"""Running a plan: its container, the order of its steps, what is kept of it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

from lisa import secret
from lisa.messages import TestStatus
from lisa.node import Node

from lisa_container.capture.evidence import collect
from lisa_container.command import wait_for_kills
from lisa_container.engine.waiting import bounded
from lisa_container.errors import ContainerError, InterruptedRunError
from lisa_container.executor import ContainerExecutor
from lisa_container.plan.context import Context
from lisa_container.plan.group import run_group
from lisa_container.plan.model import Entry, Group, Plan, steps_of
from lisa_container.plan.one import prepare, run_one
from lisa_container.plan.rules import PREPARE
from lisa_container.plan.step import Execute, StepResult, skipped
from lisa_container.sharing import keep_if_asked

# How long (seconds) clean-up and artifacts may take where the case itself was ended.
_END_TIMEOUT = 120.0

OnStep = Callable[[StepResult], None]


@dataclass
class PlanResult:
    """What came of a plan.

    Args:
        plan: that was run.
    """

    plan: Plan
    steps: list[StepResult] = field(default_factory=list)
    """In the order of the plan. Where its container could not be had, the first is `prepare`."""
    artifacts: list[Path] = field(default_factory=list)
    """What was kept, on this machine."""
    warnings: list[str] = field(default_factory=list)
    """What fails nothing: artifacts that are not there."""

    @property
    def failed(self) -> list[StepResult]:
        """The steps that failed."""
        return [step for step in self.steps if step.status is TestStatus.FAILED]

    @property
    def passed(self) -> bool:
        """Whether none failed."""
        return not self.failed


def run_plan(
    plan: Plan,
    node: Node,
    folder: Path | None = None,
    on_step: OnStep | None = None,
    name: str = "",
) -> PlanResult:
    """Run a plan in a container of its own, which goes at the end.

    A step that fails fails no call: the result tells. Artifacts are kept and clean-up runs whatever
    came before, also where a case's end comes as an exception.

    Args:
        plan: to run.
        node: to run it on.
        folder: for the records of its commands, and its artifacts in `files/`; without one no
            artifacts are kept.
        on_step: called with each result, in the order of the plan.
        name: of the container; made up by default.

    Raises:
        InterruptedRunError: Ctrl-C was pressed.
    """
    executor = ContainerExecutor(node, plan.container, name)
    executor.capture_to(folder)
    return _Run(plan, executor, folder, on_step or (lambda _: None)).run()


class _Run:
    def __init__(
        self, plan: Plan, executor: ContainerExecutor, folder: Path | None, on_step: OnStep
    ) -> None:
        self._plan = plan
        self._executor = executor
        self._node = executor.host
        self._folder = folder
        self._on_step = on_step
        self._result = PlanResult(plan)
        self._context = Context()
        # The step that failed first; those that follow are skipped for it.
        self._failed = ""

    def run(self) -> PlanResult:
        try:
            if self._prepared(self._executor):
                self._run(self._executor)
        finally:
            self._executor.stop()
        return self._result

    def _prepared(self, executor: ContainerExecutor) -> bool:
        try:
            prepare(self._plan, executor)
        except InterruptedRunError:
            raise
        except (ContainerError, OSError) as error:
            self._add(StepResult(PREPARE, TestStatus.FAILED, str(error)))
            for step in self._plan.all_steps():
                self._add(skipped(step, "the plan's container could not be had"))
            return False
        return True

    def _run(self, executor: ContainerExecutor) -> None:
        try:
            self._steps(executor)
        except BaseException as error:
            # What ends a case comes as an exception, and may come again meanwhile.
            try:
                bounded(functools.partial(self._end_early, executor), _END_TIMEOUT)
            except Exception as another:
                self._node.log.warning(f"plan '{self._plan.name}': no clean end: {another}")
            keep_if_asked(self._node, executor, error)
            raise
        self._end(executor)
        if not self._result.passed:
            names = ", ".join(step.name for step in self._result.failed)
            keep_if_asked(self._node, executor, AssertionError(names))

    def _steps(self, executor: ContainerExecutor) -> None:
        self._entries(executor, self._plan.setup)
        if self._failed:
            for step in steps_of(self._plan.steps):
                self._add(skipped(step, f"set-up failed: step '{self._failed}'"))
        else:
            self._entries(executor, self._plan.steps)

    def _end_early(self, executor: ContainerExecutor) -> None:
        wait_for_kills()  # of what the exception has cut off
        self._end(executor)

    def _end(self, executor: ContainerExecutor) -> None:
        # First: clean-up may remove what is to be kept.
        if self._folder is not None:
            self._keep(executor, self._folder)
        for entry in self._plan.cleanup:
            self._failed = ""
            self._entries(executor, [entry])

    def _keep(self, executor: ContainerExecutor, folder: Path) -> None:
        def warn(message: str) -> None:
            self._result.warnings.append(f"artifacts: {message}")
            self._node.log.warning(f"plan '{self._plan.name}', artifacts: {message}")

        try:
            self._result.artifacts += collect(
                executor.engine,
                executor.name,
                self._plan.artifacts,
                folder,
                executor.capture.masking,
                warn,
            )
        except (ContainerError, OSError) as error:
            warn(str(error))

    def _entries(self, executor: ContainerExecutor, entries: Sequence[Entry]) -> None:
        for entry in entries:
            before = self._failed
            steps = [step for step in steps_of([entry]) if step.always or not before]
            if isinstance(entry, Group):
                results = run_group(self._plan, executor, steps, self._context)
            else:
                results = []
                for step in steps:
                    result, self._context = run_one(
                        self._plan, executor, step, self._context, _at_once
                    )
                    results.append(result)
            made = {result.name: result for result in results}
            for step in steps_of([entry]):
                self._add(made.get(step.name) or skipped(step, f"step '{before}' failed"))

    def _add(self, result: StepResult) -> None:
        if result.status is TestStatus.FAILED and not self._failed:
            self._failed = result.name
        name = f"plan '{self._plan.name}', step '{result.name}'"
        self._node.log.info(f"{name}: {result.status.name.lower()} ({result.elapsed:.3f} s)")
        result = dataclasses.replace(result, message=_printable(secret.mask(result.message)))
        self._result.steps.append(result)
        self._on_step(result)


def _printable(text: str) -> str:
    """What notifiers can write: no character that XML does not know."""
    return "".join(
        each if each.isprintable() or each in "\n\t" else repr(each)[1:-1] for each in text
    )


def _at_once(executor: ContainerExecutor) -> Execute:
    return executor.run
