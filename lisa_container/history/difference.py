"""Comparison of two runs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, TypeVar

from lisa_container.history.history import Case, History, Run

T = TypeVar("T")

# A duration has changed when it differs by more than this factor and by more than these seconds.
_FACTOR, _SECONDS = 1.5, 1.0
_MISSING = "-"


@dataclass(frozen=True)
class Change:
    """Difference between two runs."""

    what: str
    """`case`, `command`, `image`, `tool` or `duration`."""
    name: str
    before: str
    """Value in the earlier run; `-` if it has none."""
    after: str
    """Value in the later run; `-` if it has none."""


def changes(history: History, before: Run, after: Run) -> list[Change]:
    """Compare two runs.

    Compared are results of cases and sub-tests, exit codes of commands, ids of images with the same
    name, versions of tools, and durations.

    Args:
        history: the history that has both runs.
        before: the earlier run.
        after: the later run.
    """
    old, new = (_numbered([(_name(x), x) for x in history.cases(run)]) for run in (before, after))
    found = _compare(
        "case", *({name: x.status or "none" for name, x in y.items()} for y in (old, new))
    )
    for name in old.keys() & new.keys():
        first, second = old[name].duration, new[name].duration
        if first is not None and second is not None and _differ(first, second):
            found.append(Change("duration", name, f"{first:.2f} s", f"{second:.2f} s"))
    found += _compare("image", _images(history, before), _images(history, after))
    found += _compare("tool", _tools(history, before), _tools(history, after))
    one, other = (_results(history, run) for run in (before, after))
    # A command that only one of the runs has follows from a difference of its case.
    common = one.keys() & other.keys()
    found += _compare("command", {x: one[x] for x in common}, {x: other[x] for x in common})
    return sorted(found, key=lambda change: (_ORDER.index(change.what), change.name))


_ORDER = ["case", "command", "image", "tool", "duration"]


def _compare(what: str, before: dict[str, Any], after: dict[str, Any]) -> list[Change]:
    names = dict.fromkeys([*before, *after])
    pairs = [(x, str(before.get(x, _MISSING)), str(after.get(x, _MISSING))) for x in names]
    return [Change(what, name, one, other) for name, one, other in pairs if one != other]


def _name(case: Case) -> str:
    return f"{case.parent} / {case.name}" if case.parent else case.name


def _numbered(pairs: list[tuple[str, T]]) -> dict[str, T]:
    """Add a number to repeated names: LISA can run a case several times."""
    count: Counter[str] = Counter()
    found = {}
    for name, value in pairs:
        count[name] += 1
        found[name if count[name] == 1 else f"{name} (#{count[name]})"] = value
    return found


def _differ(first: float, second: float) -> bool:
    small, large = sorted((first, second))
    return large - small > _SECONDS and large > small * _FACTOR


def _images(history: History, run: Run) -> dict[str, str]:
    found = history.containers(run)
    return {x.image: x.image_id.removeprefix("sha256:")[:12] for x in found if x.image}


def _tools(history: History, run: Run) -> dict[str, str]:
    return {f"{x.name} ({x.manager})": x.version for x in history.tools(run)}


def _results(history: History, run: Run) -> dict[str, str]:
    return _numbered([(f"{case}: {text}", code) for case, text, code in history.results(run)])
