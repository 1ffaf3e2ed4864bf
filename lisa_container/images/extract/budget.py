"""How much an archive may unpack to: against decompression bombs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lisa_container.config.checks import illegal
from lisa_container.images.extract.faults import TooMuch

MAX_BYTES = 16 * 1024**3
MAX_ENTRIES = 1_000_000


class Budget:
    """Counts what was unpacked.

    Args:
        max_bytes: of all layers together, unpacked.
        max_entries: files, folders and so on of all layers together.

    Raises:
        ConfigError: one of them is no whole number above 0.
    """

    def __init__(self, max_bytes: int, max_entries: int) -> None:
        for name, value in (("max_bytes", max_bytes), ("max_entries", max_entries)):
            if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
                raise illegal(name, value, "a whole number above 0")
        self._max_bytes = max_bytes
        self._max_entries = max_entries
        self.bytes = 0
        self.entries = 0

    def counted(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """The same chunks, until there are too many bytes.

        Raises:
            TooMuch: there are.
        """
        for chunk in chunks:
            self.bytes += len(chunk)
            if self.bytes > self._max_bytes:
                raise TooMuch(
                    f"it unpacks to more than {self._max_bytes} bytes: it may be a decompression "
                    "bomb. If it is to be that large, allow it more with max_bytes"
                )
            yield chunk

    def count_entry(self) -> None:
        """One more.

        Raises:
            TooMuch: that is one too many.
        """
        self.entries += 1
        if self.entries > self._max_entries:
            raise TooMuch(
                f"it has more than {self._max_entries} entries: it may be a bomb. If it is to have "
                "that many, allow it more with max_entries"
            )
