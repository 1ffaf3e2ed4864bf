"""Outputs of tools in messages: without terminal codes and progress displays, the cause first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lisa_container.errors import EngineError, ImageBuildError, NoSpaceError, ShipError
from lisa_container.escaping import plain_lines, quote_output, says_disk_is_full

MMDEBSTRAP = (
    "I: installing essential packages...\r\n"
    + "".join(f"\r[{'=' * n}>{' ' * (40 - n)}] {n * 2.5:.2f} %" for n in range(40))
    + "\r\x1b[2K\x1b[1mE:\x1b[0m run_chroot failed: E: setup failed\r\n"
)


@pytest.mark.parametrize(
    ("output", "lines"),
    [
        ("", []),
        ("one\n\n  two  \r\n", ["one", "two"]),
        ("\x1b[1mbold\x1b[0m \x1b(Bplain\x1b[m", ["bold plain"]),
        ("\x1b]0;title\x07text", ["text"]),
        ("\x1b]8;;http://x\x1b\\link", ["link"]),
        (
            "Reading package lists... 0%\rReading package lists... Done\r\n",
            ["Reading package lists... Done"],
        ),
        ("first\rsecond\r", ["second"]),
        (
            MMDEBSTRAP,
            ["I: installing essential packages...", "E: run_chroot failed: E: setup failed"],
        ),
        ("######################## 100.0%", []),
        ("  12.50 [=====>        ] 3.2MiB/s", []),
        ("   ━━━━━━━━━━━━━━━━ 1.2/3.4 MB 3 MB/s eta 0:00:01", []),
        ("Progress: [ 45%] [####.......]", []),
        ("a1b2c3: Downloading [=======>      ]  1.2MB/4MB", []),
        ("75%", []),
        ("75 % of it", ["75 % of it"]),
        ("--------------------", []),
        ("-------- a heading --------", ["-------- a heading --------"]),
        ("======== error: 5% of it", ["======== error: 5% of it"]),
        ("npm ERR! code ENOSPC", ["npm ERR! code ENOSPC"]),
    ],
)
def test_plain_lines(output: str, lines: list[str]) -> None:
    assert plain_lines(output) == lines


@pytest.mark.parametrize(
    ("output", "first"),
    [
        (MMDEBSTRAP, "E: run_chroot failed: E: setup failed"),
        ("E: a\ntar: x: No space left on device\nE: b\nbye", "tar: x: No space left on device"),
        (
            "W: an old key\nE: Unable to locate package x\nsee apt(8)",
            "E: Unable to locate package x",
        ),
        ("failed to start daemon: no such pool\n", "failed to start daemon: no such pool"),
        (
            "tar: a: Cannot open: denied\ntar: Error is not recoverable: exiting now",
            "tar: a: Cannot open: denied",
        ),
        (
            "tar: x: Wrote only 4096 of 10240 bytes\ntar: Error is not recoverable: exiting now",
            "tar: x: Wrote only 4096 of 10240 bytes",
        ),
        ("one\ntwo", "two"),
        ("\x1b[2K\r", "it printed nothing"),
    ],
)
def test_cause_first(output: str, first: str) -> None:
    quoted = quote_output(output)
    assert quoted.splitlines()[0] == first
    assert len(quote_output(output * 200, 500)) <= 1001


@given(st.text(alphabet="aE:#=-[]> %0123456789.\r\n\x1b[mK()"))
def test_any_output(output: str) -> None:
    """Quoting is idempotent and removes all terminal codes."""
    lines = plain_lines(output)
    assert all(line.strip() and "\r" not in line and "\x1b" not in line for line in lines)
    assert plain_lines("\n".join(lines)) == lines


@pytest.mark.parametrize(
    "said",
    [
        "dpkg: error: failed to write (No space left on device)",
        "npm ERR! code ENOSPC",
        "E: You don't have enough free space in /var/cache/apt/archives/.",
        "write: Disk quota exceeded",
        "the disk is full",
        "tar: root.tar: Wrote only 4096 of 10240 bytes",
    ],
)
def test_full_disk(said: str) -> None:
    assert says_disk_is_full(f"one\n{said}\ntwo")
    message = str(NoSpaceError("a", f"[=====>     ] 40%\r{said}\nmore\n"))
    assert message.splitlines()[0].startswith(f"no space is left on node 'a': {said}"[:60])
    assert "=====" not in message


def test_cause_in_errors_with_several_steps() -> None:
    """The first line of a build's and of a shipment's error has the cause."""
    output = "Get:1 x\n[=====>   ] 40%\rE: Unable to locate package x\n"
    built = ImageBuildError("a", "n", "code: 100", "2/3: RUN x", 100, output, "/log")
    assert "step 2/3: RUN x: code: 100 (E: Unable to locate package x)" in str(built).split("\n")[0]
    assert "=====" not in str(built)
    failures = [("one", EngineError("refused: x")), ("two", EngineError("refused: y"))]
    first, second, _ = str(ShipError("a", failures, [])).splitlines()
    assert first.endswith("2 of 2 nodes: node 'one': refused: x") and second.endswith("refused: y")


def test_disk_with_space() -> None:
    assert not says_disk_is_full("space: 5 GB left on device")
