"""Lines about a long job, in a log and on a terminal."""

from __future__ import annotations

import logging
import os
import pty
import sys
import threading

import pytest

from lisa_container.engine import activity, progress
from lisa_container.engine.activity import Activity

LOG = logging.getLogger("tests.activity")


def test_in_a_log(caplog: pytest.LogCaptureFixture) -> None:
    """A job logs one line at its start, some with the tool's last words, and one at its end."""
    caplog.set_level("INFO")
    seen = threading.Event()

    class Seen(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "unpacking b" in record.getMessage():
                seen.set()

    LOG.addHandler(handler := Seen())
    with Activity("making a", LOG, period=0.05) as job:
        job.add_output(b"unpacking a\n[=====>      ] 20%\r")
        job.add_output(b"\x1b[1munpacking b\x1b[0m\n[======>     ] 30%\r")
        assert seen.wait(10)
    LOG.removeHandler(handler)
    lines = caplog.messages
    assert lines[0] == "making a…"
    assert "making a, 0 s: unpacking b" in lines
    assert lines[-1].startswith("making a: done in ")
    assert not any("=====" in line or "\x1b" in line for line in lines)


def test_it_fails(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")

    def ask() -> str:
        raise OSError("gone")

    with pytest.raises(ValueError), Activity("making a", LOG, ask, period=0.01):
        threading.Event().wait(0.1)
        raise ValueError
    assert caplog.messages[-1].startswith("making a: failed in ")
    assert "making a, 0 s" in caplog.messages, "an unknown progress harms nothing"


def test_a_quick_job_has_no_line(caplog: pytest.LogCaptureFixture) -> None:
    """An activity with a delay logs only a job that lasts longer than the delay."""
    caplog.set_level("INFO")
    with Activity("making a", LOG, delay=1000):
        pass
    assert caplog.messages == []
    with Activity("making b", LOG, period=0.01, delay=0.01):
        threading.Event().wait(0.1)
    assert caplog.messages[:2] == ["making b…", "making b, 0 s"]
    assert caplog.messages[-1] == "making b: done in 0 s"


def test_on_a_terminal(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A terminal shows one live line during the job, which is removed at the end."""
    caplog.set_level("INFO")
    reading, writing = pty.openpty()
    monkeypatch.setattr(progress, "_REDRAW", 0.0)
    monkeypatch.setattr(activity, "_REDRAW", 0.01)
    with os.fdopen(writing, "w") as stream:
        monkeypatch.setattr(sys, "__stderr__", stream)
        with Activity("making a", LOG) as job:
            job.add_output(b"unpacking\n")
            text = ""
            while "making a, 0 s: unpacking" not in text:
                text += os.read(reading, 10000).decode()
        assert os.read(reading, 10000).decode().endswith("\r\x1b[2K")
    os.close(reading)
    assert caplog.messages == ["making a…", "making a: done in 0 s"]
