"""Recorder of one command."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Callable, Protocol

from lisa_container.masking import Masking, secret_values
from lisa_container.recording.commands.journal import Journal
from lisa_container.recording.commands.pieces import Pieces, fit_to_masked
from lisa_container.recording.commands.resources import Meter
from lisa_container.recording.commands.stream import StreamCapture
from lisa_container.recording.commands.watch import forget, watch, watched
from lisa_container.recording.files import describe_error, iso, json_line
from lisa_container.recording.records import Piece, ResourceRecord

STDOUT, STDERR = 1, 2

_NO_OUTPUT = {"bytes": 0, "cut": 0}

# Seconds after which a running command gets a line: this process may be killed.
_LONG = 1.0
# Seconds after which a command that has ended is recorded although no caller waits for it.
_FORGOTTEN = 2.0
# Shorter commands (seconds) are written together within half a second. Written one by one, each
# would cost four times as much, because the processor's caches have lost code and data.
_SHORT = 0.01
# Maximum number of bytes of output that are buffered; more is processed at once.
_MUCH = 64 * 1024
# A shell's exit code for a command that a signal ended is 128 plus the signal's number.
_BY_SIGNAL, _LAST_SIGNAL = 128, 64


@dataclass(frozen=True)
class CommandDescription:
    """A command as its record describes it.

    Args:
        text: Command line, as a shell would have it.
        argv: Program and arguments; None for a string that a shell runs.
        cwd: Working directory; empty for the container's own.
        environment: Environment variables added to the container's.
        user: User who runs the command; empty for the container's own.
    """

    text: str
    argv: Sequence[str] | None = None
    cwd: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str = ""


class Followed(Protocol):
    """Running command, as its recorder sees it."""

    exit_code: int | None
    oom_killed: bool

    @property
    def running(self) -> bool:
        """Whether the command still runs."""


def leave_all(owner: object) -> None:
    """Record that the commands of a container no longer run: it was removed.

    Args:
        owner: recorder of the container.
    """
    for each in watched():
        if isinstance(each, CommandCapture) and each.owner is owner:
            each.leave()


class CommandCapture:
    """Recorder of one command, made before the command starts; its methods never raise.

    Args:
        owner: recorder of the container; see `leave_all`.
        journal: journal that gets the record.
        number: number of the command in its container.
        command: description of the command.
        masking: masking of the container.
        limit: maximum number of bytes that are kept of each stream.
        meter: meter of the command's resources; None: not measured.
    """

    def __init__(
        self,
        owner: object,
        journal: Journal,
        number: int,
        command: CommandDescription,
        masking: Masking,
        limit: int,
        meter: Meter | None = None,
    ) -> None:
        """Begin to watch the command."""
        self.owner = owner
        self._journal = journal
        self._number = number
        self._command = command
        secrets = secret_values(command.environment) if command.environment else frozenset()
        self._masking = masking.extended(secrets)
        self._limit = limit
        self._meter = meter
        self._resources: ResourceRecord | None = None
        self.started = time.time()
        """Start of the command in seconds since 1970."""
        self._began = time.monotonic()
        self._stdout: StreamCapture | None = None
        self._stderr: StreamCapture | None = None
        self._pieces: Pieces | None = None
        self._begun: dict[str, Any] | None = None
        self._is_announced = False
        self._is_over = False
        # Output that is not processed yet, as (seconds, stream, data).
        self._waiting: list[tuple[float, int, bytes]] = []
        self._waiting_size = 0
        self._lock = threading.Lock()
        self._end: tuple[str, int | None, bool, str, float] | None = None
        self._followed: Followed | None = None
        self._seen_ended = 0.0
        watch(self)

    def follow(self, command: Followed) -> None:
        """Follow the command, which has started.

        Args:
            command: the running command.
        """
        self._followed = command
        self._journal.keep_up()

    def piece(self, stream: int, data: bytes) -> None:
        """Record the next piece of output.

        Args:
            stream: `STDOUT` or `STDERR`.
            data: the piece.
        """
        with self._lock:
            if self._is_over:
                return
            self._waiting.append((time.monotonic() - self._began, stream, data))
            self._waiting_size += len(data)
            if self._waiting_size > _MUCH:
                self._digest()

    def end(self, exit_code: int | None, oom_killed: bool = False) -> None:
        """Record the end of the command.

        Args:
            exit_code: exit code; None if unknown.
            oom_killed: whether the kernel killed it for the container's memory limit.
        """
        self._over("ended", exit_code, oom_killed, "", time.monotonic())

    def fail(self, error: BaseException) -> None:
        """Record that the command did not end by itself, or that no caller waits for it.

        Args:
            error: the reason.
        """
        self._over("ended", None, False, describe_error(error), time.monotonic())

    def leave(self) -> None:
        """Record that the container was removed."""
        followed = self._followed
        if followed is not None and not followed.running:
            self.end(followed.exit_code, followed.oom_killed)
        self._over("left", None, False, "", time.monotonic())

    def check(self, now: float) -> None:
        """Write the line of a long command, and record an end that no caller waits for.

        Args:
            now: `time.monotonic()`.
        """
        if not self._is_announced and now - self._began >= _LONG:
            self._is_announced = True
            with self._lock:  # so that this line comes before that of the end
                if not self._is_over:
                    self._digest()
                    record = {**self._prepare(), **self._streams(StreamCapture.so_far)}
                    self._journal.write(json_line(record))
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
        """Write the commands that have ended: the process ends."""
        self._journal.catch_up()

    def _prepare(self) -> dict[str, Any]:
        """Return the part of the record that is known when the command begins."""
        begun = self._begun
        if begun is None:
            command, mask = self._command, self._masking
            begun = self._begun = {
                "n": self._number,
                "state": "running",
                "command": mask.command(command.text),
                "argv": None if command.argv is None else mask.words(command.argv),
                "cwd": mask.text(command.cwd),
                "environment": mask.environment(command.environment),
                "user": command.user,
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
        """Return the record of the ended command as a line; call it once."""
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
