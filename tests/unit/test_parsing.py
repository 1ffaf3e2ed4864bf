"""Parsing of arbitrary text from outside."""

from __future__ import annotations

import pytest

from lisa_container.container.view import _unescape
from lisa_container.install.managers import gem, npm, pip
from lisa_container.parsing import find_value, parse_int, parse_json, parse_time
from lisa_container.recording.commands import parse

MANY, DEEP = "9" * 5000, "[" * 100_000


@pytest.mark.parametrize(
    ("text", "base", "number"),
    [
        ("42\n", 10, 42),
        ("-1", 10, -1),
        ("0755", 8, 493),
        ("81a4", 16, 33188),
        ("9" * 20, 10, 10**20 - 1),
    ],
)
def test_numbers(text: str, base: int, number: int) -> None:
    assert parse_int(text, base) == number


@pytest.mark.parametrize("text", ["", " ", "²", "٣", "x", "-", "1_0", "1.0", "0x1", "9" * 21, MANY])
def test_no_numbers(text: str) -> None:
    assert parse_int(text) is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("1970-01-01T00:00:01Z", 1),
        ("1970-01-01T01:00:02.500000000+01:00", 2.5),
        (3, 3),
        ("0001-01-01T00:00:00Z", -62135596800),
        *((text, None) for text in ("", "yesterday", "2024-99-01T00:00:00Z", MANY, None, [])),
        ("٢٠٢٤-01-01T00:00:00Z", None),
    ],
)
def test_times(value: object, seconds: float | None) -> None:
    assert parse_time(value) == seconds


def test_json() -> None:
    assert parse_json('{"a": {"b": [1]}}', "a", "b") == [1]
    for text in ("", "{", DEEP, MANY, "[]", "1", '"a"', '{"a": [1]}', '{"a": null}'):
        assert parse_json(text, "a", "b") is None
    assert parse_json(DEEP) is parse_json('"\\ud800"') is None
    assert find_value(None, "a") is None


def test_odd_answers_of_package_managers() -> None:
    for text in ("", "[]", "1", DEEP, '{"install": {}}', '{"install": [1, {"metadata": 1}]}'):
        assert pip.parse_source(text, "x") == ("", "")
        assert npm.parse_programs(text, "x") == []
    assert npm.parse_versions("") == npm.parse_versions(DEEP) == []
    assert gem.parse_versions("x ( )", "x") == [""]


def test_odd_resources() -> None:
    sample = parse(f"@memory.current\n²\n@cpu.stat\nusage_usec {MANY}\n@io.stat\nrbytes={MANY}\n")
    assert sample is not None
    assert (sample.cpu, sample.memory, sample.read) == (None, None, 0)


def test_odd_mount_point() -> None:
    assert str(_unescape(rb"/a\040b\777")) == r"/a b\777"
