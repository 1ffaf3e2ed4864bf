"""What a plan is: its parts. `rules.py` has the rules for their values.

As in `lisa_container.config`, all rules are applied on construction: a plan that exists is legal.
`load.py` applies the same rules to a file and tells each mistake with its line.
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
"""Seconds that a step may take by default, as LISA's `execute`."""


def _rule(rule: checks.Rule) -> dict[str, Any]:
    return {"rule": rule}


class _Checked:
    """Base of the parts: each field that has a rule is checked and put into its normal form."""

    def __post_init__(self) -> None:
        for each in fields(self):  # type: ignore[arg-type]
            if "rule" in each.metadata:
                value = each.metadata["rule"](each.name, getattr(self, each.name))
                object.__setattr__(self, each.name, value)
        self._check()

    def _check(self) -> None:
        """What holds between fields."""


@dataclass(frozen=True)
class Content(_Checked):
    """What is fed to a command, or put into a file: exactly one of the three."""

    content: str | None = field(default=None, metadata=_rule(rules.any_text))
    """Text. Default: none."""

    base64: str = field(default="", metadata=_rule(rules.string))
    """Bytes, in base64. Default: none."""

    file: str = field(default="", metadata=_rule(rules.string))
    """A file of this machine; in a plan's file its path may be relative to that. Default: none."""

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
        """The bytes, unless it is a file."""
        if self.content is not None:
            return self.content.encode()
        return base64.b64decode(self.base64)


@dataclass(frozen=True)
class PlacedFile(Content):
    """A file, or a folder of this machine, that a plan puts into its container."""

    mode: str = field(default="", metadata=_rule(rules.mode))
    """As chmod(1) has it, in octal digits. Default: "0644"; a `file` keeps its own."""

    def _check(self) -> None:
        super()._check()
        if self.mode and self.file:
            raise ConfigError("mode: legal with content or base64; a 'file' keeps its own mode")


@dataclass(frozen=True)
class JsonCheck(_Checked):
    """What an output that is JSON shall have at a path."""

    path: str = field(metadata=_rule(rules.json_path))
    """A JSON path (RFC 9535)."""

    equals: Any = field(default=NOT_GIVEN, metadata=_rule(rules.json_value))
    """The value there; for a path that can lead to several, the list of all. Default: any."""

    matches: Sequence[str] = field(default=(), metadata=_rule(rules.patterns))
    """Regular expressions that each value there matches somewhere; what is no string is taken as
    JSON. Default: none."""

    count: int | None = field(default=None, metadata=_rule(rules.count))
    """How many values are there. Default: at least one."""

    exists: bool = field(default=True, metadata=_rule(checks.flag))
    """Whether something is there. Default: true."""

    def _check(self) -> None:
        others = self.equals is not NOT_GIVEN or self.matches or self.count is not None
        if not self.exists and others:
            raise ConfigError("exists: false stands alone: what is not there has no value")


@dataclass(frozen=True)
class TextCheck(_Checked):
    """What an output shall be. All that is named must hold."""

    equals: str | None = field(default=None, metadata=_rule(rules.any_text))
    """The whole of it; newlines at the end do not count. Default: any."""

    contains: Sequence[str] = field(default=(), metadata=_rule(rules.some_strings))
    """Texts that are in it. Default: none."""

    not_contains: Sequence[str] = field(default=(), metadata=_rule(rules.some_strings))
    """Texts that are not in it. Default: none."""

    matches: Sequence[str] = field(default=(), metadata=_rule(rules.patterns))
    """Regular expressions of Python's that match somewhere in it; ^ and $ are the ends of a line.
    Default: none."""

    not_matches: Sequence[str] = field(default=(), metadata=_rule(rules.patterns))
    """Regular expressions that match nowhere in it. Default: none."""

    json: Sequence[JsonCheck] = ()
    """What it has as JSON. Default: it need not be JSON."""

    @property
    def looks_inside(self) -> bool:
        """Whether it says anything about a text."""
        return self.equals is not None or any(
            (self.contains, self.not_contains, self.matches, self.not_matches, self.json)
        )

    def _check(self) -> None:
        if not self.looks_inside:
            names = ", ".join(each.name for each in fields(TextCheck))
            raise ConfigError(f"it compares with nothing; legal: one or more of {names}")


@dataclass(frozen=True)
class FileCheck(TextCheck):
    """What a file in the container shall be."""

    exists: bool = field(default=True, metadata=_rule(checks.flag))
    """Whether a file or folder is there. Default: true."""

    mode: str = field(default="", metadata=_rule(rules.mode))
    """Its permissions in octal digits. Default: any."""

    def _check(self) -> None:
        if not self.exists and (self.looks_inside or self.mode):
            raise ConfigError("exists: false stands alone: what is not there has no content")


@dataclass(frozen=True)
class Expectation(_Checked):
    """What a step shall have done, beside its exit code."""

    stdout: TextCheck | None = None
    """Of the command. Default: any."""

    stderr: TextCheck | None = None
    """Of the command. Default: any."""

    files: Mapping[str, FileCheck] = field(default_factory=dict)
    """By absolute path in the container. Default: none."""


@dataclass(frozen=True)
class Step(_Checked):
    """One command or script, and what is expected of it."""

    name: str = field(metadata=_rule(rules.step_name))
    """Of its result; no other step of the plan has it."""

    run: str | tuple[str, ...] = field(default="", metadata=_rule(rules.command))
    """A string for the shell, or a list of words that is run without one."""

    script: str = field(default="", metadata=_rule(rules.string))
    """Instead of `run`: a program's text, given to its interpreter as a file."""

    interpreter: Sequence[str] = field(default=(), metadata=_rule(rules.words))
    """Of the script: words. Default: those of its line `#!`, else `sh`."""

    shell: str = field(default="", metadata=_rule(rules.shell))
    """For a `run` that is a string. Default: the plan's."""

    stdin: Content | None = None
    """What the command can read. Default: nothing."""

    environment: Mapping[str, str] = field(default=checks.EMPTY, metadata=_rule(checks.environment))
    """Variables for this step alone. Default: none."""

    cwd: str = field(default="", metadata=_rule(checks.optional_path))
    """Where it starts; for this step alone. Default: where the step before ended."""

    user: str = field(default="", metadata=_rule(identity.user))
    """`name|uid[:group|gid]`. Default: the container's."""

    timeout: float = field(default=STEP_TIMEOUT, metadata=_rule(checks.positive_seconds))
    """Seconds; then its processes are killed and it has failed. Default: 600."""

    exit_code: Sequence[int] = field(default=(0,), metadata=_rule(rules.exit_codes))
    """One, or a list of those that are right. Default: 0."""

    signal: str = field(default="", metadata=_rule(rules.signal_name))
    """The signal that is to end it, instead of an exit code. Default: none."""

    expect: Expectation = field(default_factory=Expectation)
    """What else is expected. Default: nothing."""

    isolated: bool = field(default=False, metadata=_rule(checks.flag))
    """Run it in a new container of its own. Default: false."""

    always: bool = field(default=False, metadata=_rule(checks.flag))
    """Run it also when a step before it has failed. Default: false."""

    def _check(self) -> None:
        if bool(self.run) == bool(self.script):
            number = "both are" if self.run else "neither is"
            raise ConfigError(f"run, script: {number} given; legal: one of them")
        if self.interpreter and not self.script:
            raise ConfigError("interpreter: legal with 'script' only; 'run' has a 'shell'")
        if self.shell and not isinstance(self.run, str):
            raise ConfigError("shell: legal with a 'run' that is a string; a list needs none")
        if self.shell and self.script:
            raise ConfigError("shell: legal with 'run' only; 'script' has an 'interpreter'")
        if self.signal and self.exit_code != (0,):
            raise ConfigError("signal, exit_code: both are given; legal: one of them")

    @property
    def exit_codes(self) -> tuple[int, ...]:
        """Those that are right; one that a signal ended has 128 and its number."""
        if self.signal:
            return (128 + signals.Signals[self.signal].value,)
        return tuple(self.exit_code)


@dataclass(frozen=True)
class Group:
    """Steps that run at the same time, from one context, which they do not change."""

    parallel: tuple[Step, ...]


Entry = Union[Step, Group]


@dataclass(frozen=True)
class Plan(_Checked):
    """A test of command-line tools, as a file says it; see docs/plans.md."""

    name: str = field(metadata=_rule(rules.plan_name))
    """Of its results and its folder of artifacts. Default: that of the file."""

    container: ContainerTestConfig
    """What its container shall be."""

    steps: tuple[Entry, ...]
    """The test itself."""

    description: str = field(default="", metadata=_rule(rules.string))
    """What it is for."""

    tools: tuple[Tool, ...] = ()
    """What is installed in the container, kept as a layer on the node. Default: nothing."""

    files: Mapping[str, PlacedFile] = field(default_factory=dict)
    """What is put into the container, by absolute path in it. Default: nothing."""

    setup: tuple[Entry, ...] = ()
    """Steps that must pass before those of the test. Default: none."""

    cleanup: tuple[Entry, ...] = ()
    """Steps that run at the end, whatever came before. Default: none."""

    artifacts: Sequence[str] = field(default=(), metadata=_rule(checks.globs))
    """Files and folders in the container that are kept, as patterns. Default: none."""

    shell: str = field(default="sh", metadata=_rule(rules.shell))
    """Of steps that name none. Default: sh."""

    def _check(self) -> None:
        self.container.require_image()
        if not self.steps:
            raise ConfigError("steps: there are none; legal: a list of one step or more")
        seen: set[str] = set()
        for step in self.all_steps():
            if step.name in seen:
                raise ConfigError(f"steps: two have the name '{step.name}'; legal: each its own")
            seen.add(step.name)

    def all_steps(self) -> Iterator[Step]:
        """Those of set-up, test and clean-up, one by one."""
        yield from steps_of((*self.setup, *self.steps, *self.cleanup))


def steps_of(entries: Sequence[Entry]) -> Iterator[Step]:
    """The steps, one by one, those of groups too."""
    for entry in entries:
        yield from entry.parallel if isinstance(entry, Group) else (entry,)
