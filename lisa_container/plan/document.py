"""YAML document whose values know their line numbers, and the list of its mistakes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lisa_container.config import checks
from lisa_container.errors import ConfigError, PlanError

_MERGE = "tag:yaml.org,2002:merge"


@dataclass
class Mistakes:
    """Mistakes found in a file so far.

    Args:
        file: path as the user gave it.
        entries: line number (from 1) and text of each mistake.
    """

    file: str
    entries: list[tuple[int, str]] = field(default_factory=list)

    def add(self, line: int, reason: str) -> None:
        """Add a mistake unless it is already listed.

        Args:
            line: line number, from 1.
            reason: the mistake, and what is legal.
        """
        if (line, reason) not in self.entries:
            self.entries.append((line, reason))

    def raise_if_any(self) -> None:
        """Raise one error that lists all mistakes.

        Raises:
            PlanError: the list is not empty.
        """
        if self.entries:
            raise PlanError(self.file, sorted(self.entries))


@dataclass(frozen=True)
class Item:
    """Value in the file, with its place.

    Args:
        value: a scalar, a list of items, or a mapping of names to items.
        line: line where the value begins, from 1.
        where: path in the file, such as `steps[2].expect`.
        mistakes: list to which mistakes are added.
    """

    value: Any
    line: int
    where: str
    mistakes: Mistakes

    def report(self, reason: object) -> None:
        """Add a mistake about this value.

        Args:
            reason: the mistake, and what is legal. The value's path is put before it.
        """
        self.mistakes.add(self.line, f"{self.where}: {reason}" if self.where else str(reason))

    def report_illegal(self, legal: str, hint: str = "") -> None:
        """Add the mistake that this value is not legal.

        Args:
            legal: description of the legal values.
            hint: a value that the user may have meant.
        """
        self.mistakes.add(
            self.line, str(checks.illegal(self.where or "plan", self.to_plain(), legal, hint))
        )

    def to_plain(self) -> Any:
        """Return the value without line numbers."""
        if isinstance(self.value, dict):
            return {name: item.to_plain() for name, item in self.value.items()}
        if isinstance(self.value, list):
            return [item.to_plain() for item in self.value]
        return self.value

    def as_mapping(self, legal: Iterable[str] = ()) -> dict[str, Item] | None:
        """Return the items by name. Report a mistake and return None if this is no mapping.

        Args:
            legal: legal names; other names are reported as mistakes. Empty allows any name.
        """
        names = list(legal)
        if not isinstance(self.value, dict):
            self.report_illegal(f"a mapping of {', '.join(names)}" if names else "a mapping")
            return None
        known = {}
        for name, item in self.value.items():
            if names and name not in names:
                place = f"{self.where}, unknown field" if self.where else "unknown field"
                self.mistakes.add(item.line, str(checks.unknown(place, name, names)))
            else:
                known[name] = item
        return known

    def as_list(self, legal: str) -> list[Item]:
        """Return the items. Report a mistake and return an empty list if this is no list.

        Args:
            legal: what the list should contain, such as `steps`.
        """
        if not isinstance(self.value, list):
            self.report_illegal(f"a list of {legal}")
            return []
        return list(self.value)

    def check(self, rule: checks.Rule) -> Any:
        """Return the value in the rule's normal form, or report a mistake and return None."""
        try:
            return rule(self.where or "plan", self.to_plain())
        except ConfigError as error:
            self.mistakes.add(self.line, str(error))
            return None


def read_document(path: Path) -> Item:
    """Read a YAML file.

    Returns:
        The document. Mistakes in valid YAML, such as a repeated name, are in its `mistakes`.

    Raises:
        PlanError: the file cannot be read, or is not a single YAML document.
    """
    mistakes = Mistakes(str(path))
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise PlanError(str(path), [(1, f"the file is not UTF-8 text ({error.reason})")]) from error
    except OSError as error:
        raise PlanError(str(path), [(0, f"the file cannot be read: {error.strerror}")]) from error
    try:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                raise PlanError(
                    str(path), [(1, "the file is empty; legal: a mapping of a plan's fields")]
                )
            item = _Reader(loader, mistakes).read(node, "")
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = " ".join(word for word in (error.context, error.problem) if word)
        raise PlanError(str(path), [(mark.line + 1 if mark else 1, f"YAML: {reason}")]) from error
    except yaml.YAMLError as error:
        raise PlanError(str(path), [(1, f"YAML: {error}")]) from error
    return item


class _Reader:
    """Converter of YAML nodes to items.

    Args:
        loader: constructs the scalars.
        mistakes: list to which mistakes are added.
    """

    def __init__(self, loader: yaml.SafeLoader, mistakes: Mistakes) -> None:
        self._loader = loader
        self._mistakes = mistakes
        self._above: list[yaml.Node] = []

    def read(self, node: yaml.Node, where: str, line: int = 0) -> Item:
        """Return the item of a node, with all items below it.

        Args:
            node: node of the document.
            where: path of the node.
            line: line of the node's name. 0 means the node's own line.
        """
        line = line or node.start_mark.line + 1
        if node in self._above:
            raise yaml.MarkedYAMLError(
                problem="an alias is inside its own anchor", problem_mark=node.start_mark
            )
        self._above.append(node)
        value: Any
        if isinstance(node, yaml.MappingNode):
            value = self._mapping(node, where)
        elif isinstance(node, yaml.SequenceNode):
            value = [self.read(each, f"{where}[{i}]") for i, each in enumerate(node.value)]
        else:
            value = self._scalar(node)
        self._above.pop()
        return Item(value, line, where, self._mistakes)

    def _scalar(self, node: yaml.Node) -> Any:
        try:
            return self._loader.construct_object(node)
        except ValueError as error:  # such as the 31st of February
            raise yaml.MarkedYAMLError(
                problem=f"{error}; put text in quotes", problem_mark=node.start_mark
            ) from error

    def _mapping(self, node: yaml.MappingNode, where: str) -> dict[str, Item]:
        lines: dict[Any, int] = {}
        for key, _ in node.value:
            if key.tag == _MERGE:
                continue
            name, line = self._scalar(key), key.start_mark.line + 1
            place = where or "plan"
            if not isinstance(name, str):
                legal = "a string; put other values in quotes"
                self._mistakes.add(line, str(checks.illegal(f"{place}, key", name, legal)))
            elif name in lines:
                reason = f"{place}: '{name}' is given twice, first in line {lines[name]}"
                self._mistakes.add(line, reason)
            else:
                lines[name] = line
        self._loader.flatten_mapping(node)
        items = {}
        # Merged entries come first, so the mapping's own entries replace them.
        for key, value in node.value:
            name = self._scalar(key)
            if isinstance(name, str):
                items[name] = self.read(value, _join(where, name), key.start_mark.line + 1)
        return items


def _join(where: str, name: str) -> str:
    if not name.replace("_", "").isalnum():
        return f"{where}[{name!r}]"
    return f"{where}.{name}" if where else name
