"""The record of one command."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, Callable, Protocol

from lisa_container.capture.commands.journal import Journal
from lisa_container.capture.commands.pieces import Pieces, fit_to_masked
from lisa_container.capture.commands.resources import Meter
from lisa_container.capture.commands.stream import StreamCapture
from lisa_container.capture.commands.watch import forget, watch, watched
from lisa_container.capture.files import iso, json_line, told
from lisa_container.capture.masking import Masking, secret_values
from lisa_container.capture.records import Piece, ResourceRecord

STDOUT, STDERR = 1, 2

_NO_OUTPUT = {"bytes": 0, "cut": 0}

# A command that has run for so long (seconds) gets a line at once: this process may be killed.
_LONG = 1.0
# A command that has ended, and for so long (seconds) nobody asked how, is recorded by itself.
_FORGOTTEN = 2.0
# Those that took less (seconds) are written together, within half a second: in between, nothing of
# it is in the processor's caches, and each would cost four times as much.
_SHORT = 0.01
# So much output (bytes) waits for that, too; more is taken care of as it comes.
_MUCH = 64 * 1024
# A shell's exit code for a command that a signal ended is 128 and the signal's number.
_BY_SIGNAL, _LAST_SIGNAL = 128, 64


class Followed(Protocol):
    """A command that runs, as far as its record needs to know."""

    exit_code: int | None
    oom_killed: bool

    @property
    def running(self) -> bool:
        """Whether it still runs."""


def move_all(owner: object, journal: Journal, since: float) -> None:
    """What runs in a container, and began lately, belongs to another journal.

    Args:
        owner: of the container.
        journal: where to.
        since: seconds since 1970.
    """
    for each in watched():
        if isinstance(each, CommandCapture) and each.owner is owner and each.started >= since:
            each.move(journal)


def leave_all(owner: object) -> None:
    """A container has been removed: what ran in it does not any more.

    Args:
        owner: of the container.
    """
    for each in watched():
        if isinstance(each, CommandCapture) and each.owner is owner:
            each.leave()


class CommandCapture:
    """Records one command. Made before it starts; nothing here raises.

    Args:
        owner: of the container; see `leave_all`.
        journal: where to.
        number: of the command in its container.
        command: as a shell would have it.
        argv: its words; None for a text.
        cwd: its working directory.
        environment: what is added to the container's.
        user: who runs it.
        masking: of the container.
        limit: bytes of each stream that are kept.
        meter: measures what it uses.
    """

    def __init__(
        self,
        owner: object,
        journal: Journal,
        number: int,
        command: str,
        argv: Sequence[str] | None,
        cwd: str,
        environment: Mapping[str, str] | None,
        user: str,
        masking: Masking,
        limit: int,
        meter: Meter | None = None,
    ) -> None:
        self.owner = owner
        self._journal = journal
        self._number = number
        self._what = (command, argv, cwd, dict(environment or {}), user)
        self._masking = masking.extended(secret_values(environment)) if environment else masking
        self._limit = limit
        self._meter = meter
        self._resources: ResourceRecord | None = None
        self.started = time.time()
        """When, in seconds since 1970."""
        self._began = time.monotonic()
        self._stdout: StreamCapture | None = None
        self._stderr: StreamCapture | None = None
        self._pieces: Pieces | None = None
        self._begun: dict[str, Any] | None = None
        self._is_announced = False
        self._is_over = False
        # What was written lately, as (seconds, stream, data).
        self._waiting: list[tuple[float, int, bytes]] = []
        self._waiting_size = 0
        self._lock = threading.Lock()
        self._end: tuple[str, int | None, bool, str, float] | None = None
        self._followed: Followed | None = None
        self._seen_ended = 0.0
        watch(self)

    def follow(self, command: Followed) -> None:
        """The command is on its way, and nobody waits for us.

        Args:
            command: that runs.
        """
        self._followed = command
        self._journal.keep_up()

    def move(self, journal: Journal) -> None:
        """Belong to another journal, if nothing was written yet.

        Args:
            journal: where to.
        """
        with self._lock:
            if self._pieces is None and not self._is_announced:
                self._journal = journal

    def piece(self, stream: int, data: bytes) -> None:
        """Take the next piece of its output.

        Args:
            stream: `STDOUT` or `STDERR`.
            data: what it wrote.
        """
        with self._lock:
            if self._is_over:
                return
            self._waiting.append((time.monotonic() - self._began, stream, data))
            self._waiting_size += len(data)
            if self._waiting_size > _MUCH:
                self._digest()

    def end(self, exit_code: int | None, oom_killed: bool = False) -> None:
        """It has ended.

        Args:
            exit_code: its own, or None where nobody knows.
            oom_killed: the kernel killed it for the container's memory limit.
        """
        self._over("ended", exit_code, oom_killed, "", time.monotonic())

    def fail(self, error: BaseException) -> None:
        """It did not come to its own end, or nobody waits for that.

        Args:
            error: why.
        """
        self._over("ended", None, False, told(error), time.monotonic())

    def leave(self) -> None:
        """Its container has been removed."""
        followed = self._followed
        if followed is not None and not followed.running:
            self.end(followed.exit_code, followed.oom_killed)
        self._over("left", None, False, "", time.monotonic())

    def look(self, now: float) -> None:
        """See `watch`."""
        if not self._is_announced and now - self._began >= _LONG:
            self._is_announced = True
            with self._lock:
                self._digest()
            line = json_line({**self._prepare(), **self._streams(StreamCapture.so_far)})
            if not self._is_over:
                self._journal.write(line)
        if self._is_over:
            self._journal.catch_up()
            return
        followed = self._followed
        if followed is None or followed.running:
            return
        self._seen_ended = self._seen_ended or now
        if now - self._seen_ended >= _FORGOTTEN:
            code, oom_killed = followed.exit_code, followed.oom_killed
            self._over("ended", code, oom_killed, "", self._seen_ended)

    def flush(self) -> None:
        """See `watch`."""
        self._journal.catch_up()

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
                "started": iso(datetime.fromtimestamp(self.started, timezone.utc)),
            }
        return begun

    def _over(
        self, state: str, exit_code: int | None, oom_killed: bool, error: str, now: float
    ) -> None:
        with self._lock:
            if self._is_over:
                return
            self._is_over = True
        if self._meter is not None:
            self._resources = self._meter.end()
        self._end = state, exit_code, oom_killed, error, now
        self._journal.add(self)
        if now - self._began > _SHORT:
            self._journal.catch_up()

    def line(self) -> bytes:
        """The record, once it has ended. To be asked for once."""
        assert self._end is not None
        state, exit_code, oom_killed, error, now = self._end
        forget(self)
        self._digest()
        record = dict(self._prepare())
        by_signal = exit_code is not None and 0 < exit_code - _BY_SIGNAL <= _LAST_SIGNAL
        record.update(
            state=state,
            duration=round(now - self._began, 6),
            exit_code=exit_code,
            signal=exit_code - _BY_SIGNAL if exit_code is not None and by_signal else None,
            oom_killed=oom_killed,
            error=self._masking.command(error),
            **self._streams(lambda stream: stream.record(self._masking)),
            pieces=self._pieces.record(self._fit) if self._pieces else [],
            resources=self._resources,
        )
        for name, stream in (("stdout", self._stdout), ("stderr", self._stderr)):
            if stream is not None and stream.size > self._limit:
                self._journal.warn(
                    f"the record of {record['command']!r} lacks the last {stream.cut} bytes of its "
                    f"{name}: {self._limit} bytes are kept; raise 'capture_limit' in the config of "
                    "the container"
                )
        return json_line(record)

    def _digest(self) -> None:
        pieces, self._waiting, self._waiting_size = self._waiting, [], 0
        for seconds, stream, data in pieces:
            if stream == STDOUT:
                taker = self._stdout = self._stdout or self._new_stream("stdout")
            else:
                taker = self._stderr = self._stderr or self._new_stream("stderr")
            kept = taker.add(data, self._masking)
            if kept:
                self._pieces = self._pieces or Pieces(self._journal, f"{self._number:05}.pieces")
                self._pieces.add(seconds, stream, kept)

    def _new_stream(self, name: str) -> StreamCapture:
        return StreamCapture(self._journal, f"{self._number:05}.{name}", self._limit)

    def _streams(self, record: Callable[[StreamCapture], Any]) -> dict[str, Any]:
        stdout, stderr = self._stdout, self._stderr
        return {
            "stdout": record(stdout) if stdout is not None else _NO_OUTPUT,
            "stderr": record(stderr) if stderr is not None else _NO_OUTPUT,
        }

    def _fit(self, pieces: list[Piece]) -> list[Piece]:
        streams = ((STDOUT, self._stdout), (STDERR, self._stderr))
        changed = {number: stream.masked_away for number, stream in streams if stream}
        changed = {number: data for number, data in changed.items() if data}
        return fit_to_masked(pieces, changed, self._masking.data) if changed else pieces
