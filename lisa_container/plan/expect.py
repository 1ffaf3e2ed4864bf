"""Comparing what came out with what a plan expects. Each function tells all differences."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, cast

import jsonpath

from lisa_container.capture.snapshot.difference import difference
from lisa_container.plan.model import JsonCheck, TextCheck
from lisa_container.plan.rules import NOT_GIVEN

# So much (characters) of a value is shown in a line.
_SHOWN = 200


def differences(check: TextCheck, what: str, data: bytes) -> list[str]:
    """How an output differs from what is expected of it.

    Args:
        check: what is expected.
        what: it is: `stdout`, or a file's path.
        data: the output.
    """
    text = data.decode("utf-8", errors="replace")
    found = [f"{what}: {reason}" for reason in _text_differences(check, text)]
    if check.json:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            found.append(f"{what}: expected JSON, but it is none: {error}")
        else:
            for part in check.json:
                found += [f"{what}, {part.path}: {x}" for x in _json_differences(part, value)]
    return found


def _text_differences(check: TextCheck, text: str) -> Iterator[str]:
    if check.equals is not None:
        expected, actual = check.equals.rstrip("\n"), text.rstrip("\n")
        if expected != actual:
            if "\n" in expected or "\n" in actual:
                diff = difference(expected, actual, "expected")
                yield f"it is not as expected:\n{diff}"
            else:
                yield f"expected {_show(expected)}, but it is {_show(actual)}"
    for part in check.contains:
        if part not in text:
            yield f"expected to have {_show(part)} in it"
    for part in check.not_contains:
        if part in text:
            yield f"expected to have no {_show(part)} in it"
    for pattern in check.matches:
        if not re.search(pattern, text, re.MULTILINE):
            yield f"expected to match {_show(pattern)}"
    for pattern in check.not_matches:
        match = re.search(pattern, text, re.MULTILINE)
        if match:
            yield f"expected not to match {_show(pattern)}, but {_show(match[0])} does"


def _json_differences(check: JsonCheck, value: Any) -> Iterator[str]:
    # compile() gives two kinds; only a union of paths ("|") is not a JSONPath.
    path = cast(Any, jsonpath.compile(check.path))
    found = path.findall(value)
    if not check.exists:
        if found:
            yield f"expected nothing, but it is {_show(found[0])}"
        return
    if check.count is not None:
        if len(found) != check.count:
            yield f"expected {check.count} values, but there are {len(found)}"
    elif not found and not (check.equals == [] and not _is_single(path)):
        yield "expected a value, but there is none"
        return
    if check.equals is not NOT_GIVEN:
        actual = found[0] if _is_single(path) and found else found
        if not _same(check.equals, actual):
            yield f"expected {_show(check.equals)}, but it is {_show(actual)}"
    for pattern in check.matches:
        for each in found:
            text = each if isinstance(each, str) else json.dumps(each, ensure_ascii=False)
            if not re.search(pattern, text, re.MULTILINE):
                yield f"expected to match {_show(pattern)}, but it is {_show(each)}"


def _is_single(path: Any) -> bool:
    """Whether it can lead to one value at most."""
    singular: Callable[[], bool] | None = getattr(path, "singular_query", None)
    return singular is not None and singular()


def _same(expected: Any, actual: Any) -> bool:
    """Equal as JSON has it: 1 is 1.0, and true is not 1."""
    if isinstance(expected, bool) or isinstance(actual, bool):
        return expected is actual
    if isinstance(expected, dict) and isinstance(actual, dict):
        return expected.keys() == actual.keys() and all(
            _same(value, actual[name]) for name, value in expected.items()
        )
    if isinstance(expected, (list, tuple)) and isinstance(actual, list):
        return len(expected) == len(actual) and all(map(_same, expected, actual))
    return bool(expected == actual)


def _show(value: Any) -> str:
    text = repr(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
