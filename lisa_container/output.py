"""Where the output of a command goes: into its result, a callback, a file."""

from __future__ import annotations

import contextlib
from pathlib import Path, PurePath
from typing import IO, Callable, Union

Target = Union[str, PurePath, IO[bytes]]

# So much (bytes) of what went to a callback or a file is kept for the result; up to twice that
# while the command runs.
TAIL = 1 << 20


class Output:
    """One stream of a command.

    Args:
        callback: called with each piece.
        target: a path, or a file open for writing in binary mode, that gets each piece.
        keep: keep all of it for the result. By default that is so unless it goes elsewhere; then
            the last MiB is kept, however much comes.

    Raises:
        OSError: the path cannot be written.
    """

    def __init__(
        self,
        callback: Callable[[bytes], None] | None = None,
        target: Target | None = None,
        keep: bool | None = None,
    ) -> None:
        self.is_cut = False
        """The beginning is not here any more."""
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
        """Whether code of the user's gets it."""
        return self._callback is not None or self._file is not None

    @property
    def kept(self) -> bytes:
        """What is here: all, or the last MiB."""
        if self._is_whole or len(self._kept) <= TAIL:
            return bytes(self._kept)
        self.is_cut = True
        return bytes(self._kept[-TAIL:])

    def add(self, data: bytes) -> None:
        """Take the next piece.

        Raises:
            Exception: whatever the callback or the file raised.
        """
        self._kept += data
        if not self._is_whole and len(self._kept) > 2 * TAIL:
            del self._kept[:-TAIL]
            self.is_cut = True
        if self._file is not None:
            self._file.write(data)
        if self._own is not None:
            self._own.flush()  # somebody may look, and a full disk shows at once
        if self._callback is not None:
            self._callback(data)

    def close(self) -> None:
        """No more comes: the file that was opened here is closed."""
        if self._own is not None:
            with contextlib.suppress(OSError):  # `add` has raised it
                self._own.close()
