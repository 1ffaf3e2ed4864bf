"""Run one step of a plan and compare its outcome with what is expected."""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

from lisa.messages import TestStatus

from lisa_container.container.request import Stdin
from lisa_container.container.result import CommandResult
from lisa_container.errors import (
    CommandNotStartedError,
    CommandTimeoutError,
    ContainerError,
    InterruptedRunError,
)
from lisa_container.executor import ContainerExecutor
from lisa_container.masking import Plain
from lisa_container.plan.context import (
    FILE_VARIABLE,
    Context,
    temporary_path,
    wrap_command,
    wrap_environment,
)
from lisa_container.plan.expect import find_differences
from lisa_container.plan.files import find_file_differences
from lisa_container.plan.model import Content, Step

Execute = Callable[..., CommandResult]
"""`ContainerExecutor.run`, or a function with the same options."""

# Characters shown from the beginning and the end of an output in a message.
_HEAD, _TAIL = 1000, 3000
_FILE_TIMEOUT = 60.0

# Commands for the step's file. None has its name on a command line before it is there.
_WRITE = f'umask 077; cat >"${FILE_VARIABLE}"'
_READ = f'[ -f "${FILE_VARIABLE}" ] && cat <"${FILE_VARIABLE}" && rm -f "${FILE_VARIABLE}"'
_REMOVE = f'rm -f "${FILE_VARIABLE}"'


@dataclass(frozen=True)
class StepResult:
    """Result of a step.

    Args:
        name: name of the step.
        status: PASSED, FAILED or SKIPPED.
        message: reason for FAILED or SKIPPED: each difference, and the end of the output.
        elapsed: duration in seconds.
        result: result of the command; None if the command did not end by itself.
    """

    name: str
    status: TestStatus
    message: str = ""
    elapsed: float = 0.0
    result: CommandResult | None = None


def skip_step(step: Step, reason: str) -> StepResult:
    """Return the result of a step that is skipped for `reason`."""
    return StepResult(step.name, TestStatus.SKIPPED, reason)


def run_step(
    executor: ContainerExecutor,
    step: Step,
    shell: str,
    context: Context,
    execute: Execute,
    keeps_context: bool = True,
) -> tuple[StepResult, Context]:
    """Run a step and compare its outcome with what is expected.

    Args:
        executor: the container.
        step: step to run.
        shell: shell for a step that names none.
        context: context in which the step starts.
        execute: function that runs the command.
        keeps_context: whether to determine the context after the step.

    Returns:
        The step's result, and the context after it.

    Raises:
        InterruptedRunError: Ctrl-C was pressed.
    """
    began = time.monotonic()

    def done(reasons: Sequence[str], result: CommandResult | None = None) -> StepResult:
        status = TestStatus.FAILED if reasons else TestStatus.PASSED
        return StepResult(step.name, status, "\n".join(reasons), time.monotonic() - began, result)

    try:
        job = _Job(executor, step, shell, context, execute)
        if step.script:
            result = job.run_script()
        elif not isinstance(step.run, str):
            result = job.run(step.run)
        elif not executor.has_shell:
            reason = "its image has no shell. Give 'run' as a list of words, which needs no shell"
            raise CommandNotStartedError(step.run, executor.name, reason)
        elif keeps_context:
            result = job.run_in_shell(step.run)
        else:
            result = job.run([step.shell or shell, "-c", step.run])
        reasons = _find_differences(executor, step, result)
    except InterruptedRunError:
        raise
    except CommandTimeoutError as error:
        return done(
            [f"the command {error.outcome}", *_format_outputs(error.stdout, error.stderr)]
        ), context
    except CommandNotStartedError as error:
        return done([f"the command could not be started: {error.reason}"]), context
    except (ContainerError, OSError) as error:
        return done([str(error)]), context
    return done(reasons, result), job.context


class _Job:
    """Command of a step. After `run_in_shell`, `context` is the context after the step."""

    def __init__(
        self,
        executor: ContainerExecutor,
        step: Step,
        shell: str,
        context: Context,
        execute: Execute,
    ) -> None:
        self.context = context
        self._executor = executor
        self._step = step
        self._shell = step.shell or shell
        self._execute = execute

    def run(self, words: Sequence[str], state_file: str = "") -> CommandResult:
        step = self._step
        # The step's own variables stay set, even if an earlier step unset them.
        unset = self.context.unset - step.environment.keys()
        context = Context(self.context.cwd, self.context.environment, unset)
        environment = {**context.environment, **step.environment}
        if state_file:
            environment = wrap_environment(environment, state_file)
        with _open_stdin(step.stdin) as stdin:
            return self._execute(
                context.apply_unset(words),
                cwd=step.cwd or context.cwd,
                update_envs=environment,
                user=step.user,
                stdin=stdin,
                timeout=step.timeout,
            )

    def run_in_shell(self, text: str) -> CommandResult:
        file = temporary_path()
        result = self.run(wrap_command(self._shell, text), file)
        state = self._run_helper(_READ, file)
        if state.exit_code == 0:
            own, has_cwd = self._step.environment, bool(self._step.cwd)
            self.context = self.context.advance(state.stdout_bytes, own, has_cwd)
        else:
            self._executor.host.log.warning(
                Plain(
                    f"[{self._executor.name}] step '{self._step.name}' does not pass its working "
                    "directory and environment on to the next step: its shell was killed, replaced "
                    "itself (exec), or has its own trap on EXIT"
                )
            )
        return result

    def run_script(self) -> CommandResult:
        file = temporary_path()
        written = self._run_helper(_WRITE, file, self._step.script.encode())
        if written.exit_code:
            raise CommandNotStartedError(
                self._step.name,
                self._executor.name,
                f"the script could not be written to '{file}' in the container, which needs 'sh' "
                f"and 'cat': {written.stderr or written.stdout}",
            )
        try:
            return self.run([*_interpreter(self._step), file])
        finally:
            with contextlib.suppress(ContainerError):  # the container may have died
                self._run_helper(_REMOVE, file)

    def _run_helper(self, command: str, file: str, stdin: Stdin = None) -> CommandResult:
        return self._executor.run(
            ["sh", "-c", command],
            update_envs={FILE_VARIABLE: file},
            user=self._step.user,
            stdin=stdin,
            timeout=_FILE_TIMEOUT,
        )


def _interpreter(step: Step) -> list[str]:
    if step.interpreter:
        return list(step.interpreter)
    first = step.script.splitlines()[0]
    return shlex.split(first[2:]) if first.startswith("#!") else ["sh"]


@contextlib.contextmanager
def _open_stdin(content: Content | None) -> Iterator[Any]:
    if content is None:
        yield None
    elif content.file:
        with Path(content.file).open("rb") as file:
            yield file
    else:
        yield content.data


def _find_differences(executor: ContainerExecutor, step: Step, result: CommandResult) -> list[str]:
    reasons: list[str] = []
    code = result.exit_code
    if code not in step.exit_codes:
        expected = " or ".join(str(each) for each in step.exit_codes)
        what = f"{step.signal} ({expected})" if step.signal else expected
        reasons.append(f"exit code: expected {what}, but it is {code}")
        if result.oom_killed:
            reasons.append("out of memory: the container's memory limit was reached")
    expect = step.expect
    if expect.stdout:
        reasons += find_differences(expect.stdout, "stdout", result.stdout_bytes)
    if expect.stderr:
        reasons += find_differences(expect.stderr, "stderr", result.stderr_bytes)
    reasons += find_file_differences(executor, expect.files)
    if reasons:
        reasons += _format_outputs(result.stdout, result.stderr)
    return reasons


def _format_outputs(stdout: str, stderr: str) -> Iterator[str]:
    for name, text in (("stdout", stdout), ("stderr", stderr)):
        if text.strip():
            yield f"{name} was:\n{_truncate(text.strip())}"


def _truncate(text: str) -> str:
    left = len(text) - _HEAD - _TAIL
    return text if left <= 0 else f"{text[:_HEAD]}\n({left} characters more)\n{text[-_TAIL:]}"
