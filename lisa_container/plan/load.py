"""Reading a plan from its file, with all that is wrong in it."""

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
# Makes a part of a plan of an item; None, and a mistake noted, where it is wrong.
Part = Callable[[Item], Any]

_GROUP = "parallel"


def load_plan(path: str | Path) -> Plan:
    """Read a plan.

    Args:
        path: of its file, in YAML.

    Raises:
        PlanError: it is wrong somewhere; each mistake is told, with line, reason and what is legal.
    """
    path = Path(path)
    document = read_document(path)
    plan = _Loader(path).plan(document)
    document.mistakes.raise_if_any()
    assert plan is not None
    return plan


class _Loader:
    """Makes the parts of one plan.

    Args:
        path: of its file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # Name of a step -> its line.
        self._names: dict[str, int] = {}

    def plan(self, item: Item) -> Plan | None:
        if isinstance(item.value, dict) and "name" not in item.value:
            name = Item(self._path.stem, 1, "name, which is the file's", item.mistakes)
            item = dataclasses.replace(item, value={"name": name, **item.value})
        return _build(
            item,
            Plan,
            {
                "container": self._container,
                "tools": lambda each: _list(each, "tools", self._tool),
                "files": lambda each: _by_path(each, self._placed_file),
                "setup": self._entries,
                "steps": self._entries,
                "cleanup": self._entries,
            },
        )

    def _container(self, item: Item) -> ContainerTestConfig | None:
        # Null is "not named" there, as in every config of a container.
        if isinstance(item.value, dict):
            named = {name: each for name, each in item.value.items() if each.value is not None}
            item = dataclasses.replace(item, value=named)
        config = _build(item, ContainerTestConfig, {})
        if config is not None and not config.image:
            item.wrong("no image is named; legal: 'image', such as debian:12")
            return None
        return config

    def _tool(self, item: Item) -> Tool | None:
        try:
            tool = Tool.of(item.plain())
        except ConfigError as error:
            item.wrong(error)
            return None
        if tool.file:
            place = item.value["file"]
            path = self._local(place)
            return None if path is None else dataclasses.replace(tool, file=path)
        return tool

    def _local(self, item: Item) -> str | None:
        """The path of a file of this machine, found from the plan's own."""
        given = item.plain()
        if not isinstance(given, str) or not given:
            item.illegal("the path of a file, absolute or from the plan's own folder")
            return None
        path = self._path.parent / Path(given).expanduser()
        if not path.exists():
            item.wrong(f"there is no file '{path}' on this machine")
            return None
        return str(path)

    def _placed_file(self, item: Item) -> PlacedFile | None:
        if isinstance(item.value, str):
            return PlacedFile(item.value)
        return _build(item, PlacedFile, {"file": self._local})

    def _stdin(self, item: Item) -> Content | None:
        if isinstance(item.value, str):
            return Content(item.value)
        return _build(item, Content, {"file": self._local_file})

    def _local_file(self, item: Item) -> str | None:
        path = self._local(item)
        if path is not None and Path(path).is_dir():
            item.wrong(f"'{path}' is a folder; legal: a file")
            return None
        return path

    def _entries(self, item: Item) -> tuple[Step | Group | None, ...]:
        return tuple(self._entry(each) for each in item.items("steps"))

    def _entry(self, item: Item) -> Step | Group | None:
        if not isinstance(item.value, dict) or _GROUP not in item.value:
            return self._step(item)
        for name, each in item.value.items():
            if name != _GROUP:
                each.wrong(f"a group has '{_GROUP}' alone; '{name}' goes to its steps")
        inner = item.value[_GROUP]
        steps = [self._step(each) for each in inner.items("steps")]
        if not steps:
            inner.wrong("there are no steps in the group")
        if None in steps:
            return None
        return Group(tuple(step for step in steps if step is not None))

    def _step(self, item: Item) -> Step | None:
        if isinstance(item.value, dict) and "name" in item.value:
            name = item.value["name"]
            first = self._names.setdefault(str(name.plain()), name.line)
            if first != name.line:
                name.wrong(
                    f"two steps have the name {name.plain()!r}, the other in line {first}; legal: "
                    "each its own"
                )
        return _build(item, Step, {"stdin": self._stdin, "expect": self._expectation})

    def _expectation(self, item: Item) -> Expectation | None:
        return _build(
            item,
            Expectation,
            {
                "stdout": _text_check,
                "stderr": _text_check,
                "files": lambda each: _by_path(each, _file_check),
            },
        )


def _text_check(item: Item) -> TextCheck | None:
    return _check(item, TextCheck)


def _file_check(item: Item) -> FileCheck | None:
    return _check(item, FileCheck)


def _check(item: Item, kind: type[Check]) -> Check | None:
    if isinstance(item.value, str):  # the short form
        return kind(equals=item.value)
    if not isinstance(item.value, dict):
        names = ", ".join(each.name for each in dataclasses.fields(kind))
        item.illegal(f"the whole text, in quotes if need be; or a mapping of {names}")
        return None
    return _build(item, kind, {"json": _json_checks})


def _json_checks(item: Item) -> tuple[JsonCheck | None, ...]:
    """One, or a list of them."""
    if isinstance(item.value, dict):
        return (_json_check(item),)
    return _list(item, "mappings with a 'path'", _json_check)


def _json_check(item: Item) -> JsonCheck | None:
    return _build(item, JsonCheck, {}, may_be_null=("equals",))


def _list(item: Item, legal: str, part: Part) -> tuple[Any, ...]:
    return tuple(part(each) for each in item.items(legal))


def _by_path(item: Item, part: Part) -> dict[str, Any]:
    found = {}
    for name, each in (item.mapping() or {}).items():
        try:
            path = container_path(each.where, name)
        except ConfigError as error:
            each.mistakes.add(each.line, str(error))
            continue
        if path in found:
            each.wrong(f"'{path}' is there twice, in two spellings")
        found[path] = part(each)
    return found


def _build(
    item: Item, kind: type[T], parts: Mapping[str, Part], may_be_null: Sequence[str] = ()
) -> T | None:
    """A part of a plan from its fields; None, and mistakes noted, where one is wrong.

    Args:
        item: a mapping of the fields.
        kind: a dataclass whose fields have rules.
        parts: makes those fields that have parts of their own.
        may_be_null: fields for which null is a value.
    """
    known: dict[str, Any] = {each.name: each for each in dataclasses.fields(kind)}  # type: ignore[arg-type]
    before = len(item.mistakes.found)
    given = item.mapping(known)
    if given is None:
        return None
    values: dict[str, Any] = {}
    for name, each in given.items():
        if each.value is None and name not in may_be_null:
            each.wrong("nothing is given; legal: a value, or the field left out")
        elif name in parts:
            values[name] = parts[name](each)
        else:
            values[name] = each.checked(known[name].metadata["rule"])
    for name, each in known.items():
        if (
            name not in given
            and each.default is dataclasses.MISSING
            and each.default_factory is dataclasses.MISSING
        ):
            item.wrong(f"'{name}' is missing")
    if len(item.mistakes.found) > before:
        return None
    try:
        return kind(**values)
    except ConfigError as error:
        item.wrong(error)
        return None
