"""Limits for the content of an archive, against decompression bombs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lisa_container.config.checks import illegal
from lisa_container.images.extract.faults import TooMuch

MAX_BYTES = 16 * 1024**3
MAX_ENTRIES = 1_000_000


class Budget:
    """Counter of unpacked bytes and entries, with a limit for each.

    Args:
        max_bytes: most unpacked bytes of all layers together.
        max_entries: most entries (files, folders and so on) of all layers together.

    Raises:
        ConfigError: a limit is no whole number above 0.
    """

    def __init__(self, max_bytes: int, max_entries: int) -> None:
        """Check the limits."""
        for name, value in (("max_bytes", max_bytes), ("max_entries", max_entries)):
            if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
                raise illegal(name, value, "a whole number above 0")
        self._max_bytes = max_bytes
        self._max_entries = max_entries
        self.bytes = 0
        self.entries = 0

    def limit(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the chunks unchanged, and count their bytes.

        Raises:
            TooMuch: the bytes exceed the limit.
        """
        for chunk in chunks:
            self.count_bytes(len(chunk))
            yield chunk

    def count_bytes(self, count: int) -> None:
        """Count bytes that the archive describes without holding them.

        Raises:
            TooMuch: the bytes exceed the limit.
        """
        self.bytes += count
        if self.bytes > self._max_bytes:
            raise TooMuch(
                f"it unpacks to more than {self._max_bytes} bytes: it may be a decompression "
                "bomb. If that size is expected, raise max_bytes"
            )

    def count_entry(self) -> None:
        """Count one entry.

        Raises:
            TooMuch: the entries exceed the limit.
        """
        self.entries += 1
        if self.entries > self._max_entries:
            raise TooMuch(
                f"it has more than {self._max_entries} entries: it may be a bomb. If that "
                "number is expected, raise max_entries"
            )
