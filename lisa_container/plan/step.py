"""One step of a plan: run in a container, and compared with what is expected of it."""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

from lisa.messages import TestStatus

from lisa_container.command import CommandResult, Stdin
from lisa_container.errors import (
    CommandNotStartedError,
    CommandTimeoutError,
    ContainerError,
    InterruptedRunError,
)
from lisa_container.executor import ContainerExecutor
from lisa_container.plan.context import Context, carrying, carrying_environment, new_file
from lisa_container.plan.expect import differences
from lisa_container.plan.files import file_differences
from lisa_container.plan.model import Content, Step

Execute = Callable[..., CommandResult]
"""`ContainerExecutor.run`, or what does the same."""

# So much (characters) of an output's begin and end goes into a message.
_HEAD, _TAIL = 1000, 3000
_FILE_TIMEOUT = 60.0


@dataclass(frozen=True)
class StepResult:
    """What came of a step.

    Args:
        name: of the step.
        status: PASSED, FAILED or SKIPPED.
        message: why, where it did not pass: each difference, and the end of the output.
        elapsed: seconds.
        result: of its command; None where it has not come to its end.
    """

    name: str
    status: TestStatus
    message: str = ""
    elapsed: float = 0.0
    result: CommandResult | None = None


def skipped(step: Step, reason: str) -> StepResult:
    """The result of a step that was not run.

    Args:
        step: of a plan.
        reason: why not.
    """
    return StepResult(step.name, TestStatus.SKIPPED, reason)


def run_step(
    executor: ContainerExecutor,
    step: Step,
    shell: str,
    context: Context,
    execute: Execute,
    carries: bool = True,
) -> tuple[StepResult, Context]:
    """Run a step, and compare.

    Args:
        executor: of the container.
        step: to run.
        shell: for a step that names none.
        context: where it starts.
        execute: runs the command.
        carries: whether the context behind it is wanted.

    Returns:
        Its result, and the context behind it.

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
            reason = "its image has no shell. Give 'run' as a list of words, which needs none"
            raise CommandNotStartedError(step.run, executor.name, reason)
        elif carries:
            result = job.run_in_shell(step.run)
        else:
            result = job.run([step.shell or shell, "-c", step.run])
        reasons = _differences(executor, step, result)
    except InterruptedRunError:
        raise
    except CommandTimeoutError as error:
        reason = f"it did not end in {error.timeout:g} seconds and was killed"
        return done([reason, *_shown(error.stdout, error.stderr)]), context
    except CommandNotStartedError as error:
        return done([f"it could not be started: {error.reason}"]), context
    except (ContainerError, OSError) as error:
        return done([str(error)]), context
    return done(reasons, result), job.context


class _Job:
    """The command of a step.

    Args:
        executor: of the container.
        step: whose command it is.
        shell: for a step that names none.
        context: where it starts; behind `run_in_shell`, where it ended.
        execute: runs it.
    """

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

    def run(self, words: Sequence[str], carries: bool = False) -> CommandResult:
        step = self._step
        # What the step names itself is not to be taken away from it.
        unset = self.context.unset - step.environment.keys()
        context = Context(self.context.cwd, self.context.environment, unset)
        environment = {**context.environment, **step.environment}
        if carries:
            environment = carrying_environment(environment)
        with _opened(step.stdin) as stdin:
            return self._execute(
                context.words(words),
                cwd=step.cwd or context.cwd,
                update_envs=environment,
                user=step.user,
                stdin=stdin,
                timeout=step.timeout,
            )

    def run_in_shell(self, text: str) -> CommandResult:
        file = new_file()
        result = self.run(carrying(self._shell, text, file), carries=True)
        words = ["sh", "-c", 'cat "$1" && rm -f "$1"', "sh", file]
        state = self._ask(words)
        if state.exit_code == 0:
            own, has_cwd = self._step.environment, bool(self._step.cwd)
            self.context = self.context.after(state.stdout_bytes, own, has_cwd)
        else:
            self._executor.host.log.warning(
                f"[{self._executor.name}] step '{self._step.name}' carries neither its working "
                "directory nor its environment to the next: its shell was ended, replaced itself, "
                "or has a trap on EXIT of its own"
            )
        return result

    def run_script(self) -> CommandResult:
        file = new_file()
        words = ["sh", "-c", 'umask 077; cat >"$1"', "sh", file]
        written = self._ask(words, self._step.script.encode())
        if written.exit_code:
            raise CommandNotStartedError(
                self._step.name,
                self._executor.name,
                f"the script could not be written to '{file}' in the container, which takes 'sh' "
                f"and 'cat': {written.stderr or written.stdout}",
            )
        try:
            return self.run([*_interpreter(self._step), file])
        finally:
            with contextlib.suppress(ContainerError):  # the container may have died
                self._ask(["rm", "-f", file])

    def _ask(self, words: Sequence[str], stdin: Stdin = None) -> CommandResult:
        return self._executor.run(
            list(words), user=self._step.user, stdin=stdin, timeout=_FILE_TIMEOUT
        )


def _interpreter(step: Step) -> list[str]:
    if step.interpreter:
        return list(step.interpreter)
    first = step.script.splitlines()[0]
    return shlex.split(first[2:]) if first.startswith("#!") else ["sh"]


@contextlib.contextmanager
def _opened(content: Content | None) -> Iterator[Any]:
    if content is None:
        yield None
    elif content.file:
        with Path(content.file).open("rb") as file:
            yield file
    else:
        yield content.data


def _differences(executor: ContainerExecutor, step: Step, result: CommandResult) -> list[str]:
    found: list[str] = []
    code = result.exit_code
    if code not in step.exit_codes:
        expected = " or ".join(str(each) for each in step.exit_codes)
        what = f"{step.signal} ({expected})" if step.signal else expected
        found.append(f"exit code: expected {what}, but it is {code}")
        if result.oom_killed:
            found.append("out of memory: the container's memory limit was reached")
    expect = step.expect
    if expect.stdout:
        found += differences(expect.stdout, "stdout", result.stdout_bytes)
    if expect.stderr:
        found += differences(expect.stderr, "stderr", result.stderr_bytes)
    found += file_differences(executor, expect.files)
    if found:
        found += _shown(result.stdout, result.stderr)
    return found


def _shown(stdout: str, stderr: str) -> Iterator[str]:
    for name, text in (("stdout", stdout), ("stderr", stderr)):
        if text.strip():
            yield f"{name} was:\n{_short(text.strip())}"


def _short(text: str) -> str:
    left = len(text) - _HEAD - _TAIL
    return text if left <= 0 else f"{text[:_HEAD]}\n({left} characters more)\n{text[-_TAIL:]}"
