"""Frames of a stream, valid and invalid."""

from __future__ import annotations

import struct

import pytest

from lisa_container.engine.http.frames import STDERR, STDOUT, FrameSplitter
from lisa_container.errors import EngineError


def _frame(stream: int, length: int, data: bytes) -> bytes:
    return struct.pack(">BxxxL", stream, length) + data


@pytest.mark.parametrize("size", [1, 3, 8, 100])
def test_frames_however_they_are_cut(size: int) -> None:
    whole = _frame(STDOUT, 3, b"abc") + _frame(STDERR, 0, b"") + _frame(STDERR, 2, b"de")
    splitter = FrameSplitter()
    found = [
        piece for i in range(0, len(whole), size) for piece in splitter.feed(whole[i : i + size])
    ]
    assert b"".join(data for stream, data in found if stream == STDOUT) == b"abc"
    assert b"".join(data for stream, data in found if stream == STDERR) == b"de"


def test_frame_of_four_gibibytes_is_not_held() -> None:
    splitter = FrameSplitter()
    assert [*splitter.feed(_frame(STDOUT, 0xFFFFFFFF, b"a"))] == [(STDOUT, b"a")]
    assert [*splitter.feed(b"b")] == [(STDOUT, b"b")]


@pytest.mark.parametrize("header", [b"\x04\0\0\0\0\0\0\1", b"\1\1\0\0\0\0\0\1", b"HTTP/1.1"])
def test_invalid_frame(header: bytes) -> None:
    with pytest.raises(EngineError, match="something else than a command's output"):
        [*FrameSplitter().feed(header)]


def test_message_of_the_engine() -> None:
    with pytest.raises(EngineError, match="could not pass on all output: no space"):
        [*FrameSplitter().feed(_frame(3, 8, b"no space"))]
    with pytest.raises(EngineError, match="could not pass on"):
        [*FrameSplitter().feed(_frame(3, 0xFFFFFFFF, b"x" * 5000))]
