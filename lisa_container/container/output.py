"""Destinations of a command's output: its result, a callback, a file."""

from __future__ import annotations

import contextlib
from pathlib import Path, PurePath
from typing import IO, Callable, Union

Target = Union[str, PurePath, IO[bytes]]

# Bytes of output that the result keeps if the output goes to a callback or a file; up to twice as
# many while the command runs.
TAIL = 1 << 20

# Largest size of a stream in a result, in bytes: a hostile container must not take all memory.
MOST_KEPT = 512 << 20


class TooMuchOutputError(Exception):
    """A stream is larger than a result may be."""


class Output:
    """Destination of one output stream of a command.

    Args:
        callback: Function that gets each piece.
        target: Path, or file open for writing bytes, that gets each piece.
        keep: True keeps all output for the result, False only the last MiB. None keeps all output
            unless it goes to a callback or a file.

    Raises:
        OSError: The path cannot be written.
    """

    def __init__(
        self,
        callback: Callable[[bytes], None] | None = None,
        target: Target | None = None,
        keep: bool | None = None,
    ) -> None:
        """Open the target."""
        self.is_cut = False
        """Whether the beginning of the output was dropped."""
        self._kept = bytearray()
        self._callback = callback
        self._is_whole = (callback is None and target is None) if keep is None else keep
        self._own: IO[bytes] | None = None
        self._file: IO[bytes] | None = None
        if isinstance(target, (str, PurePath)):
            self._file = self._own = Path(target).open("wb")  # noqa: SIM115 - see close()
        elif target is not None:
            self._file = target

    @property
    def goes_elsewhere(self) -> bool:
        """Whether a callback or a file gets the output."""
        return self._callback is not None or self._file is not None

    @property
    def kept(self) -> bytes:
        """Kept output: all, or the last MiB."""
        if self._is_whole or len(self._kept) <= TAIL:
            return bytes(self._kept)
        self.is_cut = True
        return bytes(self._kept[-TAIL:])

    def add(self, data: bytes) -> None:
        """Pass on the next piece.

        Raises:
            TooMuchOutputError: The result would become larger than `MOST_KEPT`.
            Exception: The callback or the file raised it.
        """
        self._kept += data
        if self._is_whole and len(self._kept) > MOST_KEPT:
            self._kept.clear()
            raise TooMuchOutputError
        if not self._is_whole and len(self._kept) > 2 * TAIL:
            del self._kept[:-TAIL]
            self.is_cut = True
        if self._file is not None:
            self._file.write(data)
        if self._own is not None:
            self._own.flush()  # for readers of the file, and to notice a full disk at once
        if self._callback is not None:
            self._callback(data)

    def close(self) -> None:
        """Close the file that was opened here."""
        if self._own is not None:
            with contextlib.suppress(OSError):  # `add` has raised it already
                self._own.close()
