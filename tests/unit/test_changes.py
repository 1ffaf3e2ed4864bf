"""List of a container's changes, in the engine's format."""

from __future__ import annotations

import tracemalloc

from lisa_container.evidence.changes import parse_changes


def test_parse() -> None:
    assert parse_changes(b"") == parse_changes(b"null") == parse_changes(b"[]") == {}
    data = '[{"Path":"/a b","Kind":0},{"Path":"/ü","Kind":2}]'.encode()
    assert parse_changes(data) == {"/a b": 0, "/ü": 2}


def test_memory() -> None:
    """A list of many short names takes little more memory than the paths themselves."""
    entries = (f'{{"Path":"/{number:x}","Kind":1}}' for number in range(30_000))
    data = f"[{','.join(entries)}]".encode()
    tracemalloc.start()
    assert len(parse_changes(data)) == 30_000
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 7 * len(data)
