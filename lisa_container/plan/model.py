"""Plan and its parts. `rules.py` has the rules for their values.

As in `lisa_container.config`, construction applies all rules, so every plan object is legal.
`load.py` applies the same rules to a file and reports each mistake with its line.
"""

from __future__ import annotations

import base64
import binascii
import signal as signals
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Union

from lisa_container.config import ContainerTestConfig, checks, identity
from lisa_container.errors import ConfigError
from lisa_container.install import Tool
from lisa_container.plan import rules
from lisa_container.plan.rules import NOT_GIVEN

STEP_TIMEOUT = 600.0
"""Default time limit of a step, in seconds; the same as for LISA's `execute`."""


def _rule(rule: checks.Rule) -> dict[str, Any]:
    return {"rule": rule}


class _Checked:
    """Base of all parts. Checks each field that has a rule and stores its normal form."""

    def __post_init__(self) -> None:
        for each in fields(self):  # type: ignore[arg-type]
            if "rule" in each.metadata:
                value = each.metadata["rule"](each.name, getattr(self, each.name))
                object.__setattr__(self, each.name, value)
        self._check()

    def _check(self) -> None:
        """Check what must hold between fields."""


@dataclass(frozen=True)
class Content(_Checked):
    """Input of a command, or content of a file. Exactly one of the three fields is given."""

    content: str | None = field(default=None, metadata=_rule(rules.any_text))
    """Text. Default: none."""

    base64: str = field(default="", metadata=_rule(rules.string))
    """Bytes, in base64. Default: none."""

    file: str = field(default="", metadata=_rule(rules.string))
    """A file of this machine; in a plan, its path is relative to the plan's file. Default: none."""

    def _check(self) -> None:
        given = [self.content is not None, bool(self.base64), bool(self.file)]
        if sum(given) != 1:
            raise ConfigError(f"{sum(given)} of content, base64 and file are given; legal: one")
        try:
            base64.b64decode(self.base64, validate=False)
        except binascii.Error as error:
            raise ConfigError(f"base64: it cannot be decoded: {error}") from None

    @property
    def data(self) -> bytes:
        """The bytes; not valid for a `file`."""
        if self.content is not None:
            return self.content.encode()
        return base64.b64decode(self.base64)


@dataclass(frozen=True)
class PlacedFile(Content):
    """File, or folder of this machine, that a plan puts into its container."""

    mode: str = field(default="", metadata=_rule(rules.mode))
    """Permissions in octal digits, as for chmod(1). Default: "0644"; a `file` keeps its own."""

    def _check(self) -> None:
        super()._check()
        if self.mode and self.file:
            raise ConfigError("mode: legal with content or base64; a 'file' keeps its own mode")


@dataclass(frozen=True)
class JsonCheck(_Checked):
    """Check of the values at one path of a JSON output."""

    path: str = field(metadata=_rule(rules.json_path))
    """A JSON path (RFC 9535)."""

    equals: Any = field(default=NOT_GIVEN, metadata=_rule(rules.json_value))
    """Expected value. For a path that can match several values: the list of all. Default: any."""

    matches: Sequence[str] = field(default=(), metadata=_rule(rules.patterns))
    """Regular expressions that each value must match somewhere. A value that is not a string is
    matched as JSON text. Default: none."""

    count: int | None = field(default=None, metadata=_rule(rules.count))
    """Expected number of values. Default: at least one."""

    exists: bool = field(default=True, metadata=_rule(checks.flag))
    """Whether a value must exist. Default: true."""

    def _check(self) -> None:
        others = self.equals is not NOT_GIVEN or self.matches or self.count is not None
        if not self.exists and others:
            raise ConfigError("exists: false is legal only alone; a missing value has no content")


@dataclass(frozen=True)
class TextCheck(_Checked):
    """Check of an output. Everything that is given must hold."""

    equals: str | None = field(default=None, metadata=_rule(rules.any_text))
    """The whole output; newlines at the end are ignored. Default: any."""

    contains: Sequence[str] = field(default=(), metadata=_rule(rules.some_strings))
    """Texts that the output must contain. Default: none."""

    not_contains: Sequence[str] = field(default=(), metadata=_rule(rules.some_strings))
    """Texts that the output must not contain. Default: none."""

    matches: Sequence[str] = field(default=(), metadata=_rule(rules.patterns))
    """Python regular expressions that must match somewhere. `^` and `$` match at each line.
    Default: none."""

    not_matches: Sequence[str] = field(default=(), metadata=_rule(rules.patterns))
    """Python regular expressions that must match nowhere. Default: none."""

    json: Sequence[JsonCheck] = ()
    """Checks of the output as JSON. Default: the output need not be JSON."""

    @property
    def checks_content(self) -> bool:
        """Whether any field checks the content."""
        return self.equals is not None or any(
            (self.contains, self.not_contains, self.matches, self.not_matches, self.json)
        )

    def _check(self) -> None:
        if not self.checks_content:
            names = ", ".join(each.name for each in fields(TextCheck))
            raise ConfigError(f"the check is empty; legal: one or more of {names}")


@dataclass(frozen=True)
class FileCheck(TextCheck):
    """Check of a file in the container."""

    exists: bool = field(default=True, metadata=_rule(checks.flag))
    """Whether the file or folder must exist. Default: true."""

    mode: str = field(default="", metadata=_rule(rules.mode))
    """Expected permissions in octal digits. Default: any."""

    def _check(self) -> None:
        if not self.exists and (self.checks_content or self.mode):
            raise ConfigError("exists: false is legal only alone; a missing file has no content")


@dataclass(frozen=True)
class Expectation(_Checked):
    """Conditions that a step must meet, besides its exit code."""

    stdout: TextCheck | None = None
    """Check of the command's stdout. Default: any."""

    stderr: TextCheck | None = None
    """Check of the command's stderr. Default: any."""

    files: Mapping[str, FileCheck] = field(default_factory=dict)
    """Checks of files, by absolute path in the container. Default: none."""


@dataclass(frozen=True)
class Step(_Checked):
    """One command or script, and its expected result."""

    name: str = field(metadata=_rule(rules.step_name))
    """Name of the step's result; unique in the plan."""

    run: str | tuple[str, ...] = field(default="", metadata=_rule(rules.command))
    """A string for the shell, or a list of words that runs without a shell."""

    script: str = field(default="", metadata=_rule(rules.string))
    """Source code, given to its interpreter as a file. Replaces `run`."""

    interpreter: Sequence[str] = field(default=(), metadata=_rule(rules.words))
    """Words that run the script. Default: those of its `#!` line, or `sh`."""

    shell: str = field(default="", metadata=_rule(rules.shell))
    """Shell for a `run` that is a string. Default: the plan's."""

    stdin: Content | None = None
    """Standard input of the command. Default: empty."""

    environment: Mapping[str, str] = field(default=checks.EMPTY, metadata=_rule(checks.environment))
    """Environment variables for this step only. Default: none."""

    cwd: str = field(default="", metadata=_rule(checks.optional_path))
    """Working directory for this step only. Default: where the step before ended."""

    user: str = field(default="", metadata=_rule(identity.user))
    """User, as `name|uid[:group|gid]`. Default: the container's."""

    timeout: float = field(default=STEP_TIMEOUT, metadata=_rule(checks.positive_seconds))
    """Time limit in seconds. Then the processes are killed and the step fails. Default: 600."""

    exit_code: Sequence[int] = field(default=(0,), metadata=_rule(rules.exit_codes))
    """Expected exit code, or a list of those accepted. Default: 0."""

    signal: str = field(default="", metadata=_rule(rules.signal_name))
    """Signal that must end the command. Replaces `exit_code`. Default: none."""

    expect: Expectation = field(default_factory=Expectation)
    """Checks of output and files. Default: none."""

    isolated: bool = field(default=False, metadata=_rule(checks.flag))
    """Whether the step runs in a new container. Default: false."""

    always: bool = field(default=False, metadata=_rule(checks.flag))
    """Whether the step runs even after an earlier step failed. Default: false."""

    def _check(self) -> None:
        if bool(self.run) == bool(self.script):
            number = "both are" if self.run else "neither is"
            raise ConfigError(f"run, script: {number} given; legal: exactly one of them")
        if self.interpreter and not self.script:
            raise ConfigError("interpreter: legal only with 'script'; 'run' has a 'shell'")
        if self.shell and not isinstance(self.run, str):
            raise ConfigError("shell: legal only with a 'run' that is a string, not a list")
        if self.shell and self.script:
            raise ConfigError("shell: legal only with 'run'; 'script' has an 'interpreter'")
        if self.signal and self.exit_code != (0,):
            raise ConfigError("signal, exit_code: both are given; legal: one of them")

    @property
    def exit_codes(self) -> tuple[int, ...]:
        """Accepted exit codes. After a signal, the code is 128 plus the signal's number."""
        if self.signal:
            return (128 + signals.Signals[self.signal].value,)
        return tuple(self.exit_code)


@dataclass(frozen=True)
class Group:
    """Steps that run at the same time and start in the same context, which they do not change."""

    parallel: tuple[Step, ...]


Entry = Union[Step, Group]


@dataclass(frozen=True)
class Plan(_Checked):
    """Test of command-line tools, written as a file; see docs/plans.md."""

    name: str = field(metadata=_rule(rules.plan_name))
    """Name in results and of the artifact folder. Default: the file's name."""

    container: ContainerTestConfig
    """Config of the container."""

    steps: tuple[Entry, ...]
    """Steps of the test."""

    description: str = field(default="", metadata=_rule(rules.string))
    """Purpose of the plan. Default: none."""

    tools: tuple[Tool, ...] = ()
    """Tools to install in the container; the node keeps them as an image layer. Default: none."""

    files: Mapping[str, PlacedFile] = field(default_factory=dict)
    """Files to put into the container, by absolute path. Default: none."""

    setup: tuple[Entry, ...] = ()
    """Steps that must pass before `steps` run. Default: none."""

    cleanup: tuple[Entry, ...] = ()
    """Steps that run at the end, also after a failure. Default: none."""

    artifacts: Sequence[str] = field(default=(), metadata=_rule(checks.globs))
    """Patterns of files and folders to copy out of the container. Default: none."""

    shell: str = field(default="sh", metadata=_rule(rules.shell))
    """Shell for steps that name none. Default: sh."""

    def _check(self) -> None:
        self.container.require_image()
        if not self.steps:
            raise ConfigError("steps: the list is empty; legal: one or more steps")
        seen: set[str] = set()
        for step in self.all_steps():
            if step.name in seen:
                raise ConfigError(f"steps: two have the name '{step.name}'; legal: unique names")
            seen.add(step.name)

    def all_steps(self) -> Iterator[Step]:
        """Yield the steps of set-up, test and clean-up."""
        yield from iterate_steps((*self.setup, *self.steps, *self.cleanup))


def iterate_steps(entries: Sequence[Entry]) -> Iterator[Step]:
    """Yield the steps, including those in groups."""
    for entry in entries:
        yield from entry.parallel if isinstance(entry, Group) else (entry,)
