"""Read a plan from its file and report all mistakes at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Callable, TypeVar

from lisa_container.config import ContainerTestConfig
from lisa_container.errors import ConfigError
from lisa_container.install import Tool
from lisa_container.plan.document import Item, read_document
from lisa_container.plan.model import (
    Content,
    Expectation,
    FileCheck,
    Group,
    JsonCheck,
    PlacedFile,
    Plan,
    Step,
    TextCheck,
)
from lisa_container.plan.rules import container_path

T = TypeVar("T")
Check = TypeVar("Check", bound=TextCheck)
# Loads a part of a plan from an item. Reports a mistake and returns None if the item is wrong.
Part = Callable[[Item], Any]

_GROUP = "parallel"


def load_plan(path: str | Path) -> Plan:
    """Read a plan.

    Args:
        path: path of the YAML file.

    Raises:
        PlanError: the plan has mistakes. The message lists each with its line, the reason and what
            is legal.
    """
    path = Path(path)
    document = read_document(path)
    plan = _Loader(path).load(document)
    document.mistakes.raise_if_any()
    assert plan is not None
    return plan


class _Loader:
    """Loader of one plan.

    Args:
        path: path of the plan's file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # Name of a step -> its line.
        self._names: dict[str, int] = {}

    def load(self, item: Item) -> Plan | None:
        if isinstance(item.value, dict) and "name" not in item.value:
            name = Item(self._path.stem, 1, "name (of the file)", item.mistakes)
            item = dataclasses.replace(item, value={"name": name, **item.value})
        return _build(
            item,
            Plan,
            {
                "container": self._load_container,
                "tools": lambda each: _load_list(each, "tools", self._load_tool),
                "files": lambda each: _load_by_path(each, self._load_placed_file),
                "setup": self._load_entries,
                "steps": self._load_entries,
                "cleanup": self._load_entries,
            },
        )

    def _load_container(self, item: Item) -> ContainerTestConfig | None:
        # Null means "not given", as in every container config.
        if isinstance(item.value, dict):
            named = {name: each for name, each in item.value.items() if each.value is not None}
            item = dataclasses.replace(item, value=named)
        config = _build(item, ContainerTestConfig, {})
        if config is not None and not config.image:
            item.report("'image' is missing; legal: an image such as debian:12")
            return None
        return config

    def _load_tool(self, item: Item) -> Tool | None:
        try:
            tool = Tool.of(item.to_plain())
        except ConfigError as error:
            item.report(error)
            return None
        if tool.file:
            place = item.value["file"]
            path = self._local_path(place)
            return None if path is None else dataclasses.replace(tool, file=path)
        return tool

    def _local_path(self, item: Item) -> str | None:
        """Return the path of a file of this machine, relative to the plan's folder."""
        given = item.to_plain()
        if not isinstance(given, str) or not given:
            item.report_illegal("the path of a file, absolute or relative to the plan's folder")
            return None
        path = self._path.parent / Path(given).expanduser()
        if not path.exists():
            item.report(f"there is no file '{path}' on this machine")
            return None
        return str(path)

    def _load_placed_file(self, item: Item) -> PlacedFile | None:
        if isinstance(item.value, str):
            return PlacedFile(item.value)
        return _build(item, PlacedFile, {"file": self._local_path})

    def _load_stdin(self, item: Item) -> Content | None:
        if isinstance(item.value, str):
            return Content(item.value)
        return _build(item, Content, {"file": self._local_file})

    def _local_file(self, item: Item) -> str | None:
        path = self._local_path(item)
        if path is not None and Path(path).is_dir():
            item.report(f"'{path}' is a folder; legal: a file")
            return None
        return path

    def _load_entries(self, item: Item) -> tuple[Step | Group | None, ...]:
        return tuple(self._load_entry(each) for each in item.as_list("steps"))

    def _load_entry(self, item: Item) -> Step | Group | None:
        if not isinstance(item.value, dict) or _GROUP not in item.value:
            return self._load_step(item)
        for name, each in item.value.items():
            if name != _GROUP:
                each.report(f"a group has only '{_GROUP}'; move '{name}' to its steps")
        inner = item.value[_GROUP]
        steps = [self._load_step(each) for each in inner.as_list("steps")]
        if not steps:
            inner.report("the group has no steps")
        if None in steps:
            return None
        return Group(tuple(step for step in steps if step is not None))

    def _load_step(self, item: Item) -> Step | None:
        if isinstance(item.value, dict) and "name" in item.value:
            name = item.value["name"]
            first = self._names.setdefault(str(name.to_plain()), name.line)
            if first != name.line:
                name.report(
                    f"two steps have the name {name.to_plain()!r}, the other in line {first}; "
                    "legal: a different name for each step"
                )
        return _build(item, Step, {"stdin": self._load_stdin, "expect": self._load_expectation})

    def _load_expectation(self, item: Item) -> Expectation | None:
        return _build(
            item,
            Expectation,
            {
                "stdout": _load_text_check,
                "stderr": _load_text_check,
                "files": lambda each: _load_by_path(each, _load_file_check),
            },
        )


def _load_text_check(item: Item) -> TextCheck | None:
    return _load_check(item, TextCheck)


def _load_file_check(item: Item) -> FileCheck | None:
    return _load_check(item, FileCheck)


def _load_check(item: Item, kind: type[Check]) -> Check | None:
    if isinstance(item.value, str):  # the short form
        return kind(equals=item.value)
    if not isinstance(item.value, dict):
        names = ", ".join(each.name for each in dataclasses.fields(kind))
        item.report_illegal(f"the whole text, in quotes if needed; or a mapping of {names}")
        return None
    return _build(item, kind, {"json": _load_json_checks})


def _load_json_checks(item: Item) -> tuple[JsonCheck | None, ...]:
    """Load one JSON check or a list of them."""
    if isinstance(item.value, dict):
        return (_load_json_check(item),)
    return _load_list(item, "mappings with a 'path'", _load_json_check)


def _load_json_check(item: Item) -> JsonCheck | None:
    return _build(item, JsonCheck, {}, may_be_null=("equals",))


def _load_list(item: Item, legal: str, part: Part) -> tuple[Any, ...]:
    return tuple(part(each) for each in item.as_list(legal))


def _load_by_path(item: Item, part: Part) -> dict[str, Any]:
    result = {}
    for name, each in (item.as_mapping() or {}).items():
        try:
            path = container_path(each.where, name)
        except ConfigError as error:
            each.mistakes.add(each.line, str(error))
            continue
        if path in result:
            each.report(f"'{path}' is given twice, in two spellings")
        result[path] = part(each)
    return result


def _build(
    item: Item, kind: type[T], parts: Mapping[str, Part], may_be_null: Sequence[str] = ()
) -> T | None:
    """Build a part of a plan from its fields. Report mistakes and return None if one is wrong.

    Args:
        item: a mapping of the fields.
        kind: dataclass of the part; its fields have rules.
        parts: loaders of the fields that are parts themselves.
        may_be_null: names of the fields for which null is a legal value.
    """
    known: dict[str, Any] = {each.name: each for each in dataclasses.fields(kind)}  # type: ignore[arg-type]
    before = len(item.mistakes.entries)
    given = item.as_mapping(known)
    if given is None:
        return None
    values: dict[str, Any] = {}
    for name, each in given.items():
        if each.value is None and name not in may_be_null:
            each.report("the value is missing; legal: give one, or leave out the field")
        elif name in parts:
            values[name] = parts[name](each)
        else:
            values[name] = each.check(known[name].metadata["rule"])
    for name, each in known.items():
        if (
            name not in given
            and each.default is dataclasses.MISSING
            and each.default_factory is dataclasses.MISSING
        ):
            item.report(f"'{name}' is missing")
    if len(item.mistakes.entries) > before:
        return None
    try:
        return kind(**values)
    except ConfigError as error:
        item.report(error)
        return None
