"""What a plan is: its parts, and the rules for their values.

As in `lisa_container.config`, all rules are applied on construction: a plan that exists is legal.
`load.py` applies the same rules to a file and tells each mistake with its line.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
import re
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Union

import jsonpath

from lisa_container.config import ContainerTestConfig, checks, identity
from lisa_container.errors import ConfigError
from lisa_container.install import Tool

STEP_TIMEOUT = 600.0
"""Seconds that a step may take by default, as LISA's `execute`."""

PREPARE = "prepare"
"""What results call the making of a plan's container; no step may have this name."""

_PLAN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_STEP_NAME = re.compile(r"[^\s\x00-\x1f\x7f](?:[^\x00-\x1f\x7f]{0,98}[^\s\x00-\x1f\x7f])?")
_SHELL = re.compile(r"[A-Za-z0-9/][A-Za-z0-9/._-]*")
_MODE = re.compile(r"0?[0-7]{3,4}")


class _NotGiven:
    def __repr__(self) -> str:
        return "NOT_GIVEN"


NOT_GIVEN = _NotGiven()
"""What no value is, where null is one."""


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


def _string(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise checks.illegal(name, value, "a string", "what is none by itself goes in quotes")
    if "\0" in value:
        raise checks.illegal(name, value, "a string without NUL")
    return value


def _any_text(name: str, value: Any) -> str | None:
    """Text that may have NULs in it; None where there is none."""
    if value is not None and not isinstance(value, str):
        raise checks.illegal(name, value, "a string", "what is none by itself goes in quotes")
    return value


def _some_strings(name: str, value: Any) -> tuple[str, ...]:
    """One string, or a list of them."""
    if isinstance(value, (list, tuple)):
        return tuple(_string(f"{name}[{index}]", item) for index, item in enumerate(value))
    return (_string(name, value),)


def _patterns(name: str, value: Any) -> tuple[str, ...]:
    patterns = _some_strings(name, value)
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            legal = f"a regular expression of Python's ({error})"
            raise checks.illegal(name, pattern, legal) from None
    return patterns


def _mode(name: str, value: Any) -> str:
    legal = 'an octal mode in quotes, such as "0644"'
    if not isinstance(value, str) or (value and not _MODE.fullmatch(value)):
        raise checks.illegal(name, value, legal)
    return f"{int(value, 8):04o}" if value else ""


def _json_path(name: str, value: Any) -> str:
    legal = "a JSON path that begins with '$', as RFC 9535 has it, such as '$.items[0].name'"
    if not isinstance(value, str) or not value.startswith("$"):
        raise checks.illegal(name, value, legal)
    try:
        jsonpath.compile(value)
    except jsonpath.JSONPathError as error:
        reason = str(error).splitlines()[0]
        raise checks.illegal(name, value, f"{legal} ({reason})") from None
    return value


def _json_value(name: str, value: Any) -> Any:
    if value is not NOT_GIVEN:
        try:
            json.dumps(value)
        except (TypeError, ValueError):
            legal = "what JSON can say; a date goes in quotes"
            raise checks.illegal(name, value, legal) from None
    return value


def _count(name: str, value: Any) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
        return value
    raise checks.illegal(name, value, "a whole number of at least 0")


def _command(name: str, value: Any) -> str | tuple[str, ...]:
    legal = "a string for the shell, or a list of words, which is run without one"
    if isinstance(value, str):
        if not value.strip() or "\0" in value:
            raise checks.illegal(name, value, legal)
        return value
    if isinstance(value, (list, tuple)):
        if not value or not value[0]:
            raise checks.illegal(name, value, legal)
        return tuple(_string(f"{name}[{index}]", word) for index, word in enumerate(value))
    raise checks.illegal(name, value, legal)


def _words(name: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(value.split())
    return checks.strings(name, value, "words, such as [python3, -u]")


def _shell(name: str, value: Any) -> str:
    if not isinstance(value, str) or (value and not _SHELL.fullmatch(value)):
        raise checks.illegal(name, value, "a POSIX shell of the image, such as 'bash'")
    return value


def _exit_codes(name: str, value: Any) -> tuple[int, ...]:
    given = value if isinstance(value, (list, tuple)) else (value,)
    legal = "an exit code from 0 to 255, or a list of them"
    for code in given:
        if not isinstance(code, int) or isinstance(code, bool) or not 0 <= code <= 255:
            raise checks.illegal(name, value, legal)
    return tuple(given)


def _signal(name: str, value: Any) -> str:
    if value == "":
        return ""
    names = [each.name for each in signal.Signals]
    if isinstance(value, int) and not isinstance(value, bool):
        try:
            return signal.Signals(value).name
        except ValueError:
            pass
    upper = str(value).upper()
    full = upper if upper.startswith("SIG") else f"SIG{upper}"
    if full not in names:
        legal = "a signal's name or number, such as SIGTERM or 15"
        raise checks.illegal(name, value, legal, checks.nearest(full, names))
    return full


def _globs(name: str, value: Any) -> tuple[str, ...]:
    legal = "absolute paths in the container, which may have *, ? and [...] of the shell"
    patterns = checks.strings(name, value, legal)
    for pattern in patterns:
        if not pattern.startswith("/"):
            raise checks.illegal(name, pattern, f"a list of {legal}")
    return patterns


def _plan_name(name: str, value: Any) -> str:
    if not isinstance(value, str) or not _PLAN_NAME.fullmatch(value):
        legal = "up to 100 letters, digits, '.', '_' and '-', a letter or digit first"
        raise checks.illegal(name, value, f"{legal} (it names a folder, too)")
    return value


def _step_name(name: str, value: Any) -> str:
    legal = f"a line of up to 100 characters, other than '{PREPARE}'"
    if not isinstance(value, str) or not _STEP_NAME.fullmatch(value) or value == PREPARE:
        raise checks.illegal(name, value, legal)
    return value


def container_path(name: str, value: Any) -> str:
    """The path of a file in a container."""
    return checks.absolute_path(name, value, "an absolute path in the container")


@dataclass(frozen=True)
class Content(_Checked):
    """What is fed to a command, or put into a file: exactly one of the three."""

    content: str | None = field(default=None, metadata=_rule(_any_text))
    """Text. Default: none."""

    base64: str = field(default="", metadata=_rule(_string))
    """Bytes, in base64. Default: none."""

    file: str = field(default="", metadata=_rule(_string))
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

    mode: str = field(default="", metadata=_rule(_mode))
    """As chmod(1) has it, in octal digits. Default: "0644"; a `file` keeps its own."""

    def _check(self) -> None:
        super()._check()
        if self.mode and self.file:
            raise ConfigError("mode: legal with content or base64; a 'file' keeps its own mode")


@dataclass(frozen=True)
class JsonCheck(_Checked):
    """What an output that is JSON shall have at a path."""

    path: str = field(metadata=_rule(_json_path))
    """A JSON path (RFC 9535)."""

    equals: Any = field(default=NOT_GIVEN, metadata=_rule(_json_value))
    """The value there; for a path that can lead to several, the list of all. Default: any."""

    matches: Sequence[str] = field(default=(), metadata=_rule(_patterns))
    """Regular expressions that each value there matches somewhere; what is no string is taken as
    JSON. Default: none."""

    count: int | None = field(default=None, metadata=_rule(_count))
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

    equals: str | None = field(default=None, metadata=_rule(_any_text))
    """The whole of it; newlines at the end do not count. Default: any."""

    contains: Sequence[str] = field(default=(), metadata=_rule(_some_strings))
    """Texts that are in it. Default: none."""

    not_contains: Sequence[str] = field(default=(), metadata=_rule(_some_strings))
    """Texts that are not in it. Default: none."""

    matches: Sequence[str] = field(default=(), metadata=_rule(_patterns))
    """Regular expressions of Python's that match somewhere in it; ^ and $ are the ends of a line.
    Default: none."""

    not_matches: Sequence[str] = field(default=(), metadata=_rule(_patterns))
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

    mode: str = field(default="", metadata=_rule(_mode))
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

    name: str = field(metadata=_rule(_step_name))
    """Of its result; no other step of the plan has it."""

    run: str | tuple[str, ...] = field(
        default="", metadata=_rule(lambda name, value: value and _command(name, value))
    )
    """A string for the shell, or a list of words that is run without one."""

    script: str = field(default="", metadata=_rule(_string))
    """Instead of `run`: a program's text, given to its interpreter as a file."""

    interpreter: Sequence[str] = field(default=(), metadata=_rule(_words))
    """Of the script: words. Default: those of its line `#!`, else `sh`."""

    shell: str = field(default="", metadata=_rule(_shell))
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

    exit_code: Sequence[int] = field(default=(0,), metadata=_rule(_exit_codes))
    """One, or a list of those that are right. Default: 0."""

    signal: str = field(default="", metadata=_rule(_signal))
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
            return (128 + signal.Signals[self.signal].value,)
        return tuple(self.exit_code)


@dataclass(frozen=True)
class Group:
    """Steps that run at the same time, from one context, which they do not change."""

    parallel: tuple[Step, ...]


Entry = Union[Step, Group]


@dataclass(frozen=True)
class Plan(_Checked):
    """A test of command-line tools, as a file says it; see docs/plans.md."""

    name: str = field(metadata=_rule(_plan_name))
    """Of its results and its folder of artifacts. Default: that of the file."""

    container: ContainerTestConfig
    """What its container shall be."""

    steps: tuple[Entry, ...]
    """The test itself."""

    description: str = field(default="", metadata=_rule(_string))
    """What it is for."""

    tools: tuple[Tool, ...] = ()
    """What is installed in the container, kept as a layer on the node. Default: nothing."""

    files: Mapping[str, PlacedFile] = field(default_factory=dict)
    """What is put into the container, by absolute path in it. Default: nothing."""

    setup: tuple[Entry, ...] = ()
    """Steps that must pass before those of the test. Default: none."""

    cleanup: tuple[Entry, ...] = ()
    """Steps that run at the end, whatever came before. Default: none."""

    artifacts: Sequence[str] = field(default=(), metadata=_rule(_globs))
    """Files and folders in the container that are kept, as patterns. Default: none."""

    shell: str = field(default="sh", metadata=_rule(_shell))
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

    def in_folder(self, folder: Path) -> Plan:
        """The plan with the files of its tools found from a folder."""
        tools = tuple(
            dataclasses.replace(tool, file=str(folder / tool.file)) if tool.file else tool
            for tool in self.tools
        )
        return dataclasses.replace(self, tools=tools)


def steps_of(entries: Sequence[Entry]) -> Iterator[Step]:
    """The steps, one by one, those of groups too."""
    for entry in entries:
        yield from entry.parallel if isinstance(entry, Group) else (entry,)
