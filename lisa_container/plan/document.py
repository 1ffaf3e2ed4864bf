"""A YAML file whose values know their lines, and the list of what is wrong in it."""

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
    """What is wrong in a file, so far.

    Args:
        file: its path, as the user gave it.
    """

    file: str
    found: list[tuple[int, str]] = field(default_factory=list)

    def add(self, line: int, reason: str) -> None:
        """Note one; the same is noted once.

        Args:
            line: from 1.
            reason: what, and what is legal.
        """
        if (line, reason) not in self.found:
            self.found.append((line, reason))

    def raise_if_any(self) -> None:
        """Tell all.

        Raises:
            PlanError: there is one or more.
        """
        if self.found:
            raise PlanError(self.file, sorted(self.found))


@dataclass(frozen=True)
class Item:
    """A value of the file.

    Args:
        value: a scalar; or a list of items, or a mapping of names to items.
        line: where it begins, from 1.
        where: its path in the file, such as `steps[2].expect`.
        mistakes: of the file.
    """

    value: Any
    line: int
    where: str
    mistakes: Mistakes

    def wrong(self, reason: object) -> None:
        """Note a mistake about it.

        Args:
            reason: what, and what is legal; its place is put in front.
        """
        self.mistakes.add(self.line, f"{self.where}: {reason}" if self.where else str(reason))

    def illegal(self, legal: str, hint: str = "") -> None:
        """Note that its value is none of the legal ones."""
        self.mistakes.add(
            self.line, str(checks.illegal(self.where or "plan", self.plain(), legal, hint))
        )

    def plain(self) -> Any:
        """The value without lines."""
        if isinstance(self.value, dict):
            return {name: item.plain() for name, item in self.value.items()}
        if isinstance(self.value, list):
            return [item.plain() for item in self.value]
        return self.value

    def mapping(self, legal: Iterable[str] = ()) -> dict[str, Item] | None:
        """Its items by name; None, and a mistake, where it is no mapping.

        Args:
            legal: names; others are mistakes. Any, where none are given.
        """
        names = list(legal)
        if not isinstance(self.value, dict):
            self.illegal(f"a mapping of {', '.join(names)}" if names else "a mapping")
            return None
        known = {}
        for name, item in self.value.items():
            if names and name not in names:
                place = f"{self.where}, unknown field" if self.where else "unknown field"
                hint = checks.nearest(name, names)
                self.mistakes.add(
                    item.line, str(checks.illegal(place, name, ", ".join(names), hint))
                )
            else:
                known[name] = item
        return known

    def items(self, legal: str) -> list[Item]:
        """Its items; none, and a mistake, where it is no list.

        Args:
            legal: what it should be a list of.
        """
        if not isinstance(self.value, list):
            self.illegal(f"a list of {legal}")
            return []
        return list(self.value)

    def checked(self, rule: checks.Rule) -> Any:
        """Its value in the normal form of a rule; None, and a mistake, where it breaks that."""
        try:
            return rule(self.where or "plan", self.plain())
        except ConfigError as error:
            self.mistakes.add(self.line, str(error))
            return None


def read_document(path: Path) -> Item:
    """Read a YAML file.

    Args:
        path: of it.

    Raises:
        PlanError: it cannot be read, or is no YAML of one document.

    Returns:
        The document; mistakes that it has nevertheless (a name that is there twice) are noted.
    """
    mistakes = Mistakes(str(path))
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise PlanError(str(path), [(1, f"it is no text in UTF-8 ({error.reason})")]) from error
    except OSError as error:
        raise PlanError(str(path), [(0, f"it cannot be read: {error.strerror}")]) from error
    try:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                raise PlanError(
                    str(path), [(1, "it is empty; legal: a mapping of a plan's fields")]
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
    """Makes items of YAML's nodes.

    Args:
        loader: knows how scalars are written.
        mistakes: gets what is wrong.
    """

    def __init__(self, loader: yaml.SafeLoader, mistakes: Mistakes) -> None:
        self._loader = loader
        self._mistakes = mistakes
        self._above: list[yaml.Node] = []

    def read(self, node: yaml.Node, where: str, line: int = 0) -> Item:
        """The item of a node, with all below it.

        Args:
            node: of the document.
            where: its path.
            line: of its name; its own by default.
        """
        line = line or node.start_mark.line + 1
        if node in self._above:
            raise yaml.MarkedYAMLError(
                problem="an alias stands within its own anchor", problem_mark=node.start_mark
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
                problem=f"{error}; text goes in quotes", problem_mark=node.start_mark
            ) from error

    def _mapping(self, node: yaml.MappingNode, where: str) -> dict[str, Item]:
        lines: dict[Any, int] = {}
        for key, _ in node.value:
            if key.tag == _MERGE:
                continue
            name, line = self._scalar(key), key.start_mark.line + 1
            place = where or "plan"
            if not isinstance(name, str):
                legal = "a string; what is none by itself goes in quotes"
                self._mistakes.add(line, str(checks.illegal(f"{place}, key", name, legal)))
            elif name in lines:
                reason = f"{place}: '{name}' is there twice, first in line {lines[name]}"
                self._mistakes.add(line, reason)
            else:
                lines[name] = line
        self._loader.flatten_mapping(node)
        found = {}
        for (
            key,
            value,
        ) in node.value:  # what was merged comes first, and yields to what is said here
            name = self._scalar(key)
            if isinstance(name, str):
                found[name] = self.read(value, _join(where, name), key.start_mark.line + 1)
        return found


def _join(where: str, name: str) -> str:
    if not name.replace("_", "").isalnum():
        return f"{where}[{name!r}]"
    return f"{where}.{name}" if where else name
