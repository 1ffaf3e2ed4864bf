"""Output of a program in a container, up to a limit."""

from __future__ import annotations


class LimitedOutput:
    """Beginning of an output; what comes after the limit is dropped.

    Args:
        limit: Largest number of bytes to keep.
    """

    def __init__(self, limit: int) -> None:
        """Begin without output."""
        self._limit = limit
        self._data = bytearray()
        self.is_cut = False
        """Whether output was dropped."""

    @property
    def data(self) -> bytes:
        """Kept output."""
        return bytes(self._data)

    def add(self, piece: bytes) -> None:
        """Add the next piece of the output."""
        left = self._limit - len(self._data)
        self._data += piece[:left]
        self.is_cut = self.is_cut or len(piece) > left
