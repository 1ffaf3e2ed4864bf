"""Progress of a transfer, on a terminal and in a log."""

from __future__ import annotations

import fcntl
import logging
import os
import pty
import re
import struct
import sys
import termios
import time
from collections.abc import Iterator

import pytest

from lisa_container.engine import progress
from lisa_container.engine.progress import Progress
from lisa_container.images.transfer import _Sizes

MIB = 1024 * 1024


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Make stderr a terminal of 90 columns; return the end to read from."""
    reading, writing = pty.openpty()
    fcntl.ioctl(writing, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 90, 0, 0))
    monkeypatch.setattr(progress, "_FIRST", 0.0)
    monkeypatch.setattr(progress, "_REDRAW", 0.0)
    with os.fdopen(writing, "w") as stream:
        monkeypatch.setattr(sys, "__stderr__", stream)
        yield reading
    os.close(reading)


def shown(terminal: int) -> str:
    return os.read(terminal, 10000).decode()


def test_terminal(terminal: int) -> None:
    """A terminal shows one line, cut to its width, that is redrawn and removed at the end."""
    log = logging.getLogger("lisa")
    before = list(log.handlers)
    with Progress("pulling image 'a'", log) as first:
        first.update(MIB, 4 * MIB)
        assert re.fullmatch(
            r"\r\x1b\[2K\[#{5}\.{15}\] 25% \(1\.0 of 4\.0 MiB, [0-9.]+ MiB/s\) pulling image 'a'",
            shown(terminal),
        )
        with Progress("pulling image 'b'", log) as second:
            second.update(MIB, 0)
            line = shown(terminal)
            assert " | 1.0 MiB (" in line and "\n" not in line
            assert len(line) - len("\r\x1b[2K") <= 89
        assert shown(terminal) == "\r\x1b[2K"
        first.update(2 * MIB, 4 * MIB)
        assert "50%" in shown(terminal)
        log.warning("something else")
        assert shown(terminal) == "\r\x1b[2K", "makes place for it"
        first.update(4 * MIB, 4 * MIB)
        assert "100%" in shown(terminal)
    assert shown(terminal) == "\r\x1b[2K"
    assert log.handlers == before


def test_quick_on_a_terminal(terminal: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_FIRST", 60.0)
    with Progress("pulling", logging.getLogger("lisa")) as quick:
        quick.update(1, 2)
    os.write(sys.__stderr__.fileno(), b"end")  # type: ignore[union-attr]
    assert shown(terminal) == "end"


def test_log(caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("tests.progress")
    with caplog.at_level(logging.INFO), Progress("pulling 'a'", log, period=0.05) as told:
        for step in range(12):
            told.update(step * MIB, 12 * MIB if step else 0)
            time.sleep(0.02)
    messages = [record.getMessage() for record in caplog.records]
    assert 2 <= len(messages) <= 6
    for message in messages:
        assert re.fullmatch(r"pulling 'a': \d+% \([0-9.]+ of 12\.0 MiB, [0-9.]+ MiB/s\)", message)


def test_sizes() -> None:
    """Sizes of all layers are found in an engine's messages."""
    sizes = _Sizes()

    def say(layer: str, status: str, current: int | None = None, total: int = 0) -> None:
        detail = {} if current is None else {"current": current, "total": total}
        sizes.add({"id": layer, "status": status, "progressDetail": detail})

    say("a", "Already exists")
    say("b", "Downloading", 10, 100)
    say("c", "Downloading", 5)
    assert (sizes.done, sizes.total) == (15, 105)
    say("b", "Download complete")
    say("b", "Extracting", 3, 100)
    assert (sizes.done, sizes.total) == (105, 105)
    sizes.add({"status": "Status: Downloaded newer image"})
    assert (sizes.done, sizes.total) == (105, 105)
