"""Compare outputs with what a plan expects. Each function reports all differences."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, cast

import jsonpath

from lisa_container.plan.model import JsonCheck, TextCheck
from lisa_container.plan.rules import NOT_GIVEN
from lisa_container.snapshots.difference import diff_texts

# Longest value shown in a message, in characters.
_MAX_SHOWN = 200


def find_differences(check: TextCheck, what: str, data: bytes) -> list[str]:
    """Return the differences between an output and what is expected, one text each.

    Args:
        check: what is expected.
        what: name of the output in messages: `stdout`, `stderr` or a file's path.
        data: the output.
    """
    text = data.decode("utf-8", errors="replace")
    differences = [f"{what}: {reason}" for reason in _compare_text(check, text)]
    if check.json:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            differences.append(f"{what}: expected JSON, but it cannot be parsed: {error}")
        else:
            for part in check.json:
                differences += [f"{what}, {part.path}: {x}" for x in _compare_json(part, value)]
    return differences


def _compare_text(check: TextCheck, text: str) -> Iterator[str]:
    if check.equals is not None:
        expected, actual = check.equals.rstrip("\n"), text.rstrip("\n")
        if expected != actual:
            if "\n" in expected or "\n" in actual:
                diff = diff_texts(expected, actual, "expected")
                yield f"differs from the expected text:\n{diff}"
            else:
                yield f"expected {_format_value(expected)}, but it is {_format_value(actual)}"
    for part in check.contains:
        if part not in text:
            yield f"expected to contain {_format_value(part)}"
    for part in check.not_contains:
        if part in text:
            yield f"expected not to contain {_format_value(part)}"
    for pattern in check.matches:
        if not re.search(pattern, text, re.MULTILINE):
            yield f"expected to match {_format_value(pattern)}"
    for pattern in check.not_matches:
        match = re.search(pattern, text, re.MULTILINE)
        if match:
            shown = _format_value(match[0])
            yield f"expected not to match {_format_value(pattern)}, but {shown} does"


def _compare_json(check: JsonCheck, value: Any) -> Iterator[str]:
    # compile() returns two types. Only a union of paths ("|") is not a JSONPath.
    path = cast(Any, jsonpath.compile(check.path))
    values = path.findall(value)
    if not check.exists:
        if values:
            yield f"expected nothing, but it is {_format_value(values[0])}"
        return
    if check.count is not None:
        if len(values) != check.count:
            yield f"expected {check.count} values, but there are {len(values)}"
    elif not values and not (check.equals == [] and not _is_single(path)):
        yield "expected a value, but there is none"
        return
    if check.equals is not NOT_GIVEN:
        actual = values[0] if _is_single(path) and values else values
        if not _is_equal(check.equals, actual):
            yield f"expected {_format_value(check.equals)}, but it is {_format_value(actual)}"
    for pattern in check.matches:
        for each in values:
            text = each if isinstance(each, str) else json.dumps(each, ensure_ascii=False)
            if not re.search(pattern, text, re.MULTILINE):
                yield f"expected to match {_format_value(pattern)}, but it is {_format_value(each)}"


def _is_single(path: Any) -> bool:
    """Return whether the path can match at most one value."""
    singular: Callable[[], bool] | None = getattr(path, "singular_query", None)
    return singular is not None and singular()


def _is_equal(expected: Any, actual: Any) -> bool:
    """Return whether two JSON values are equal: 1 equals 1.0, but true does not equal 1."""
    if isinstance(expected, bool) or isinstance(actual, bool):
        return expected is actual
    if isinstance(expected, dict) and isinstance(actual, dict):
        return expected.keys() == actual.keys() and all(
            _is_equal(value, actual[name]) for name, value in expected.items()
        )
    if isinstance(expected, (list, tuple)) and isinstance(actual, list):
        return len(expected) == len(actual) and all(map(_is_equal, expected, actual))
    return bool(expected == actual)


def _format_value(value: Any) -> str:
    text = repr(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"
