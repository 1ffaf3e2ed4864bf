"""SQLite index over all runs."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lisa_container.errors import ArtifactIndexError
from lisa_container.escaping import restored, storable
from lisa_container.history.place import INDEX_NAME
from lisa_container.history.schema import migrate

# Seconds to wait for another runner's transaction.
_PATIENCE = 30.0
# Errors that are caused by the values, not by the file or its disk.
_OF_VALUES = (
    sqlite3.DataError,
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
)


class Index:
    """Index of a log folder, created or migrated when it is opened; a context manager.

    Several runners may use it at once. In SQLite's write-ahead mode readers never wait, and a
    writer waits for another writer's transaction. After kill -9 or a power cut the file holds whole
    transactions only.

    Args:
        log: LISA's log folder.
        is_in_memory: make an empty index in memory, for a folder that cannot be written.

    Raises:
        ArtifactIndexError: the index cannot be read or written, or a later version has made it.
    """

    def __init__(self, log: Path, is_in_memory: bool = False) -> None:
        """Open the index."""
        self.log = log
        self.path = log / INDEX_NAME
        with self._explained():
            # Python begins transactions late, when another runner may have changed the data.
            self._connection = sqlite3.connect(
                ":memory:" if is_in_memory else self.path,
                timeout=_PATIENCE,
                isolation_level=None,
                check_same_thread=False,
            )
        try:
            with self._explained():
                self._connection.row_factory = sqlite3.Row
                self._connection.text_factory = _read_text
                # On network file systems without shared memory SQLite falls back to a journal.
                self._connection.execute("PRAGMA journal_mode = WAL")
                # A power cut may lose the last transactions; the runs' files have their data.
                self._connection.execute("PRAGMA synchronous = NORMAL")
                self._connection.execute("PRAGMA foreign_keys = ON")
                migrate(self._connection, str(self.path))
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> Index:
        """Return the open index."""
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Close the index."""
        self.close()

    @staticmethod
    def remove(log: Path) -> None:
        """Remove the index of a log folder, which may be damaged; opening it makes a new one.

        Args:
            log: LISA's log folder.
        """
        for end in ("", "-wal", "-shm"):  # SQLite's own files beside it
            (log / f"{INDEX_NAME}{end}").unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def read(self, query: str, *values: Any) -> list[sqlite3.Row]:
        """Return the rows of a query.

        Args:
            query: SQL with a `?` for each value.
            values: the values.
        """
        stored = [storable(x) if isinstance(x, str) else x for x in values]
        with self._explained():
            return self._connection.execute(query, stored).fetchall()

    @contextlib.contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """Open a write transaction: commit at the end, roll back after an exception."""
        with self._explained():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # a full disk ends it
                    self._connection.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except _OF_VALUES:
            raise
        except sqlite3.Error as error:
            raise ArtifactIndexError(
                str(self.path),
                f"{error}. Check that the folder can be written and its disk is not full. Nothing "
                "is lost: 'lisa-container history --rebuild' makes a new index of the runs' files",
                is_unwritable=type(error) is sqlite3.OperationalError,
            ) from error


def _read_text(data: bytes) -> str:
    # Another program may have written bytes that are not UTF-8.
    return restored(data.decode("utf-8", "surrogateescape"))
