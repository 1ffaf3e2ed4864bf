"""Maps of sparse files in tar archives: the parts of a file that the archive holds.

GNU tar defines the formats: https://www.gnu.org/software/tar/manual/html_node/Sparse-Formats.html.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Callable

Segments = list[tuple[int, int]]
"""Offset and length of each stored part; the rest of the file is zeros."""

SPARSE = b"GNU.sparse."
# An old header holds pairs of an offset and a length, 24 bytes each: 4 in the header itself, 21 in
# each further block.
_PAIR, _IN_HEADER, _IN_BLOCK = 24, 4, 21
# Go's maxSpecialFileSize, which limits maps too.
_MOST_MAP = 1024 * 1024
_DIGITS = re.compile(rb"[0-9]{1,19}")
_LARGEST = 2**63 - 1


class SparseError(Exception):
    """The map of a sparse file is malformed."""


def read_old_map(
    block: bytes, number: Callable[[bytes], int], more: Callable[[], bytes]
) -> tuple[int, Segments]:
    """Read the map of the old GNU format.

    Args:
        block: the entry's header.
        number: parses a number field.
        more: returns the next block of the archive.

    Returns:
        The file's size and its map.

    Raises:
        SparseError: the map is malformed.
    """
    pairs = _pairs(block[386 : 386 + _PAIR * _IN_HEADER], number)
    is_more, blocks = block[482] != 0, 0
    while is_more:
        blocks += 1
        if blocks * 512 > _MOST_MAP:
            raise SparseError(f"it has more than {_MOST_MAP} bytes")
        extension = more()
        pairs += _pairs(extension[: _PAIR * _IN_BLOCK], number)
        is_more = extension[504] != 0
    return number(block[483:495]), pairs


def read_pax_map(records: Mapping[bytes, bytes], line: Callable[[], bytes]) -> tuple[int, Segments]:
    """Read the map of the pax formats 0.0, 0.1 and 1.0.

    Args:
        records: pax records of the entry. Format 0.0 repeats its records; the caller joins their
            values under `GNU.sparse.map`, as format 0.1 has them.
        line: returns the next line of the entry's content.

    Returns:
        The file's size and its map.

    Raises:
        SparseError: the map is malformed.
    """
    if records.get(SPARSE + b"major") == b"1":
        size = _decimal(records.get(SPARSE + b"realsize", b""))
        count = _decimal(line())
        if count * 4 > _MOST_MAP:  # an offset and a length take at least two bytes each
            raise SparseError(f"it has more than {_MOST_MAP} bytes")
        numbers = [_decimal(line()) for _ in range(2 * count)]
    else:
        size = _decimal(records.get(SPARSE + b"size", b""))
        joined = records.get(SPARSE + b"map", b"")
        numbers = [_decimal(word) for word in joined.split(b",")] if joined else []
    if len(numbers) % 2:
        raise SparseError("an offset in it has no length")
    return size, list(zip(numbers[::2], numbers[1::2]))


def check_map(size: int, segments: Iterable[tuple[int, int]], stored: int) -> Segments:
    """Return the map without empty parts, after checking that it is possible.

    Args:
        size: size of the file, in bytes.
        segments: the map.
        stored: bytes of content in the archive.

    Raises:
        SparseError: parts overlap, are out of order or outside of the file, or their sum is not
            `stored`.
    """
    result, end, total = [], 0, 0
    for offset, length in segments:
        if not (end <= offset and length >= 0 and offset + length <= size):
            raise SparseError("its parts overlap, or lie outside of the file")
        end, total = offset + length, total + length
        if length:
            result.append((offset, length))
    if total != stored:
        raise SparseError(f"it lists {total} bytes, but {stored} are stored")
    return result


def _pairs(data: bytes, number: Callable[[bytes], int]) -> Segments:
    result = []
    for at in range(0, len(data), _PAIR):
        if not data[at]:
            break
        result.append((number(data[at : at + 12]), number(data[at + 12 : at + _PAIR])))
    return result


def _decimal(digits: bytes) -> int:
    if not _DIGITS.fullmatch(digits) or int(digits) > _LARGEST:
        raise SparseError(f"{digits[:30]!r} in it is not a number")
    return int(digits)
