"""Run a plan: prepare its container, run its steps in order, and collect its artifacts."""

from __future__ import annotations

import dataclasses
import functools
import secrets
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

from lisa.messages import TestStatus
from lisa.node import Node

from lisa_container.cases.keep import keep_if_asked
from lisa_container.cases.life import is_no_failure
from lisa_container.cases.started import folder_of, take_evidence_of
from lisa_container.container.container import NAME_PREFIX
from lisa_container.container.ends import end_for_sure
from lisa_container.container.kills import wait_for_kills
from lisa_container.engine.waiting import bounded
from lisa_container.errors import ContainerError, InterruptedRunError
from lisa_container.escaping import printable, reportable
from lisa_container.evidence import collect
from lisa_container.executor import ContainerExecutor
from lisa_container.masking import KNOWN, Plain
from lisa_container.plan.context import Context
from lisa_container.plan.group import GroupRun
from lisa_container.plan.isolation import prepare_container, run_plan_step
from lisa_container.plan.model import Entry, Group, Plan, Step, iterate_steps
from lisa_container.plan.rules import PREPARE
from lisa_container.plan.step import Execute, StepResult, skip_step
from lisa_container.recording.files import describe_error

# Time limit in seconds for clean-up and artifacts after the case was interrupted.
_END_TIMEOUT = 120.0

OnStep = Callable[[StepResult], None]


@dataclass
class PlanResult:
    """Result of a plan.

    Args:
        plan: the plan that ran.
    """

    plan: Plan
    steps: list[StepResult] = field(default_factory=list)
    """Results in the order of the plan. If its container could not be prepared, the first result is
    `prepare`."""
    artifacts: list[Path] = field(default_factory=list)
    """Collected files on this machine."""
    warnings: list[str] = field(default_factory=list)
    """Problems that do not fail the plan, such as missing artifacts."""

    @property
    def failed(self) -> list[StepResult]:
        """The steps that failed."""
        return [step for step in self.steps if step.status is TestStatus.FAILED]

    @property
    def passed(self) -> bool:
        """Whether no step failed."""
        return not self.failed


def run_plan(
    plan: Plan,
    node: Node,
    folder: Path | None = None,
    on_step: OnStep | None = None,
    name: str = "",
) -> PlanResult:
    """Run a plan in a new container, which is removed at the end.

    A failed step raises no error; the result reports it. Artifacts are collected and clean-up
    runs in every case, also when a timeout or Ctrl-C interrupts the plan.

    Args:
        plan: plan to run.
        node: node to run it on.
        folder: folder for the records of the commands; artifacts go to its `files/`, and the
            evidence of a failure beside them. None means the case's folder, in a case of LISA;
            elsewhere it keeps nothing.
        on_step: function that is called with each result, in the order of the plan.
        name: name of the container; empty generates one from the plan's name.

    Raises:
        InterruptedRunError: Ctrl-C was pressed.
    """
    name = name or f"{NAME_PREFIX}{plan.name}_{secrets.token_hex(4)}"
    executor = ContainerExecutor(node, plan.container, name)
    if folder is not None:
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
        self._began = time.monotonic()
        # Name of the first failed step. The steps after it are skipped.
        self._failed = ""
        # Names of the steps that run now, the time of their start, and those that have ended.
        self._current: list[str] = []
        self._current_began = self._began
        self._made: dict[str, StepResult] = {}

    def run(self) -> PlanResult:
        try:
            if self._prepare(self._executor):
                self._run(self._executor)
        except BaseException as error:
            record = functools.partial(self._record_interrupted, error, self._plan.all_steps())
            bounded(record, _END_TIMEOUT)
            raise
        finally:
            self._executor.stop()
        return self._result

    def _prepare(self, executor: ContainerExecutor) -> bool:
        self._begin([PREPARE])
        try:
            prepare_container(self._plan, executor)
        except InterruptedRunError:
            raise
        except (ContainerError, OSError) as error:
            self._record(StepResult(PREPARE, TestStatus.FAILED, str(error)))
            for step in self._plan.all_steps():
                self._record(skip_step(step, "the plan's container could not be prepared"))
            self._take_evidence(executor, str(error))
            return False
        return True

    def _run(self, executor: ContainerExecutor) -> None:
        try:
            self._run_steps(executor)
        except BaseException as error:
            # LISA interrupts a case with an exception, and may raise it again during clean-up.
            try:
                end = functools.partial(self._end_interrupted, executor, error)
                end_for_sure(self._node, end, _END_TIMEOUT)
            except Exception as another:
                self._node.log.warning(
                    Plain(f"plan '{self._plan.name}': clean-up failed: {printable(another)}")
                )
            if not is_no_failure(error):
                keep_if_asked(executor)
            raise
        names = ", ".join(step.name for step in self._result.failed)
        self._end(executor, f"failed steps: {names}" if names else None)
        if not self._result.passed:
            keep_if_asked(executor)

    def _run_steps(self, executor: ContainerExecutor) -> None:
        self._run_entries(executor, self._plan.setup)
        if self._failed:
            for step in iterate_steps(self._plan.steps):
                self._record(skip_step(step, f"set-up failed: step '{self._failed}'"))
        else:
            self._run_entries(executor, self._plan.steps)

    def _end_interrupted(self, executor: ContainerExecutor, error: BaseException) -> None:
        wait_for_kills()  # the interrupted commands must have ended
        before = iterate_steps((*self._plan.setup, *self._plan.steps))
        self._record_interrupted(error, before)
        self._end(executor, describe_error(error))

    def _record_interrupted(self, error: BaseException, steps: Iterable[Step]) -> None:
        """Record the steps that an exception interrupted as failed, and those after as skipped.

        Args:
            error: The exception.
            steps: Steps that were to run; those with a result stay as they are.
        """
        current, self._current = self._current, []
        cut = next((name for name in current if name not in self._made), "")
        what = f"step '{cut}'" if cut else "the plan"
        reason = "Ctrl-C" if isinstance(error, KeyboardInterrupt) else describe_error(error)
        elapsed = time.monotonic() - self._current_began
        for name in current:
            interrupted = StepResult(name, TestStatus.FAILED, f"interrupted: {reason}", elapsed)
            self._record(self._made.get(name, interrupted))
        recorded = {each.name for each in self._result.steps}
        for step in steps:
            if step.name not in recorded:
                self._record(skip_step(step, f"{what} was interrupted"))

    def _begin(self, names: list[str]) -> None:
        """Note the steps that run now."""
        self._current, self._current_began, self._made = names, time.monotonic(), {}

    def _end(self, executor: ContainerExecutor, failure: str | None) -> None:
        # Before clean-up, which may remove the artifacts, and what shows why a step failed.
        folder = self._folder or folder_of(executor)
        if folder is not None:
            self._collect_artifacts(executor, folder)
        self._take_evidence(executor, failure)
        for entry in self._plan.cleanup:
            self._failed = ""
            self._run_entries(executor, [entry])

    def _take_evidence(self, executor: ContainerExecutor, failure: str | None) -> None:
        take_evidence_of(executor, failure, self._folder, time.monotonic() - self._began)

    def _collect_artifacts(self, executor: ContainerExecutor, folder: Path) -> None:
        def warn(message: str) -> None:
            self._result.warnings.append(f"artifacts: {printable(message)}")
            self._node.log.warning(
                Plain(f"plan '{self._plan.name}', artifacts: {printable(message)}")
            )

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

    def _run_entries(self, executor: ContainerExecutor, entries: Sequence[Entry]) -> None:
        for entry in entries:
            before = self._failed
            steps = [step for step in iterate_steps([entry]) if step.always or not before]
            self._begin([step.name for step in steps])
            made = self._made
            if isinstance(entry, Group):
                GroupRun(self._plan, executor, steps, self._context, made).run()
            else:
                for step in steps:
                    made[step.name], self._context = run_plan_step(
                        self._plan, executor, step, self._context, _run_directly
                    )
            for step in iterate_steps([entry]):
                self._record(made.get(step.name) or skip_step(step, f"step '{before}' failed"))

    def _record(self, result: StepResult) -> None:
        if result.status is TestStatus.FAILED and not self._failed:
            self._failed = result.name
        name = f"plan '{self._plan.name}', step '{result.name}'"
        self._node.log.info(Plain(f"{name}: {result.status.name.lower()} ({result.elapsed:.3f} s)"))
        message = reportable(KNOWN.text(result.message))
        result = dataclasses.replace(result, message=message)
        self._result.steps.append(result)
        self._current = [name for name in self._current if name != result.name]
        self._on_step(result)


def _run_directly(executor: ContainerExecutor) -> Execute:
    return executor.run
