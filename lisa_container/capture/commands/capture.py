"""The record of one command."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, Protocol

from lisa_container.capture.commands.journal import Journal
from lisa_container.capture.commands.pieces import Pieces, fit_to_masked
from lisa_container.capture.commands.stream import StreamCapture
from lisa_container.capture.commands.watch import forget, watch
from lisa_container.capture.files import iso, json_line
from lisa_container.capture.masking import Masking, secret_values
from lisa_container.capture.records import Piece

STDOUT, STDERR = 1, 2

# A command that has run for so long (seconds) gets a line at once: this process may be killed.
_LONG = 1.0
# A command that has ended, and for so long (seconds) nobody asked how, is recorded by itself.
_FORGOTTEN = 2.0
# A shell's exit code for a command that a signal ended is 128 and the signal's number.
_BY_SIGNAL, _LAST_SIGNAL = 128, 64


class Followed(Protocol):
    """A command that runs, as far as its record needs to know."""

    exit_code: int | None
    oom_killed: bool

    @property
    def running(self) -> bool:
        """Whether it still runs."""


class CommandCapture:
    """Records one command. Made before it starts; nothing here raises.

    Args:
        journal: where to.
        number: of the command in its container.
        command: as a shell would have it.
        argv: its words; None for a text.
        cwd: its working directory.
        environment: what is added to the container's.
        user: who runs it.
        masking: of the container.
        limit: bytes of each stream that are kept.
    """

    def __init__(
        self,
        journal: Journal,
        number: int,
        command: str,
        argv: Sequence[str] | None,
        cwd: str,
        environment: Mapping[str, str] | None,
        user: str,
        masking: Masking,
        limit: int,
    ) -> None:
        self._journal = journal
        self._number = number
        self._what = (command, argv, cwd, environment, user)
        self._masking = masking.extended(secret_values(environment)) if environment else masking
        self._limit = limit
        self._began = time.monotonic()
        self._started = datetime.now(timezone.utc)
        self._stdout = StreamCapture(journal, f"{number:05}.stdout", limit)
        self._stderr = StreamCapture(journal, f"{number:05}.stderr", limit)
        self._pieces = Pieces(journal, f"{number:05}.pieces")
        self._begun: dict[str, Any] | None = None
        self._is_announced = False
        self._is_over = False
        self._followed: Followed | None = None
        self._seen_ended = 0.0
        watch(self)

    def follow(self, command: Followed) -> None:
        """The command is on its way: do what takes time now, while it runs.

        Args:
            command: that runs.
        """
        self._followed = command
        self._prepare()

    def piece(self, stream: int, data: bytes) -> None:
        """Take the next piece of its output.

        Args:
            stream: `STDOUT` or `STDERR`.
            data: what it wrote.
        """
        if self._is_over:
            return
        kept = (self._stdout if stream == STDOUT else self._stderr).add(data, self._masking)
        if kept:
            self._pieces.add(time.monotonic() - self._began, stream, kept)

    def end(self, exit_code: int | None, oom_killed: bool = False) -> None:
        """It has ended.

        Args:
            exit_code: its own, or None where nobody knows.
            oom_killed: the kernel killed it for the container's memory limit.
        """
        self._end("ended", exit_code, oom_killed, "", time.monotonic())

    def fail(self, error: BaseException) -> None:
        """It did not come to its own end, or nobody waits for that.

        Args:
            error: why.
        """
        text = f"{type(error).__name__}: {error}"
        self._end("ended", None, False, text, time.monotonic())

    def leave(self) -> None:
        """Its container goes."""
        self._end("left", None, False, "", time.monotonic())

    def look(self, now: float) -> None:
        """See `watch`."""
        if not self._is_announced and now - self._began >= _LONG:
            self._is_announced = True
            running = {"stdout": self._stdout.so_far(), "stderr": self._stderr.so_far()}
            line = json_line({**self._prepare(), **running})
            if not self._is_over:
                self._journal.write(line)
        followed = self._followed
        if followed is None or followed.running:
            return
        self._seen_ended = self._seen_ended or now
        if now - self._seen_ended >= _FORGOTTEN:
            code, oom_killed = followed.exit_code, followed.oom_killed
            self._end("ended", code, oom_killed, "", self._seen_ended)

    def _prepare(self) -> dict[str, Any]:
        """The part of the record that is known from the begin."""
        begun = self._begun
        if begun is None:
            command, argv, cwd, environment, user = self._what
            mask = self._masking
            begun = self._begun = {
                "n": self._number,
                "state": "running",
                "command": mask.command(command),
                "argv": None if argv is None else [mask.command(word) for word in argv],
                "cwd": mask.text(cwd),
                "environment": mask.environment(environment),
                "user": user,
                "started": iso(self._started),
            }
        return begun

    def _end(
        self, state: str, exit_code: int | None, oom_killed: bool, error: str, now: float
    ) -> None:
        if self._is_over:
            return
        self._is_over = True
        forget(self)
        record = dict(self._prepare())
        stdout, stderr = self._stdout.record(self._masking), self._stderr.record(self._masking)
        by_signal = exit_code is not None and 0 < exit_code - _BY_SIGNAL <= _LAST_SIGNAL
        record.update(
            state=state,
            duration=round(now - self._began, 6),
            exit_code=exit_code,
            signal=exit_code - _BY_SIGNAL if exit_code is not None and by_signal else None,
            oom_killed=oom_killed,
            error=self._masking.command(error),
            stdout=stdout,
            stderr=stderr,
            pieces=self._pieces.record(self._fit),
            resources=None,
        )
        self._journal.write(json_line(record))
        cut = max(self._stdout.cut, self._stderr.cut)
        if cut and self._stdout.size + self._stderr.size > self._limit:
            self._journal.warn(
                f"the record of {record['command']!r} lacks the last {cut} bytes of its output: "
                f"{self._limit} bytes of a stream are kept; raise 'capture_limit' in the "
                "container's config"
            )

    def _fit(self, pieces: list[Piece]) -> list[Piece]:
        raw = {STDOUT: self._stdout.masked_away, STDERR: self._stderr.masked_away}
        changed = {stream: data for stream, data in raw.items() if data}
        return fit_to_masked(pieces, changed, self._masking.data) if changed else pieces
