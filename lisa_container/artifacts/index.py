"""The index over all runs: one SQLite file."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lisa_container.artifacts.place import INDEX_NAME
from lisa_container.artifacts.schema import migrate
from lisa_container.errors import ArtifactIndexError

# Seconds to wait for another runner that writes.
_PATIENCE = 30.0


class Index:
    """The index of a log folder; a context manager. It is made, or brought to today's version, when
    it is opened.

    Several runners may use it at once. In SQLite's write-ahead mode readers wait for nobody, a
    writer for the other's present transaction, and after kill -9 or a power cut the file is as it
    was after some transaction.

    Args:
        log: the folder where LISA makes a folder for each run.

    Raises:
        ArtifactIndexError: it cannot be read or written, or is of a later version.
    """

    def __init__(self, log: Path) -> None:
        self.log = log
        self.path = log / INDEX_NAME
        with self._explained():
            # Transactions are begun by hand: Python's own begin late, and so may meet a change.
            self._connection = sqlite3.connect(
                self.path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
            )
        try:
            with self._explained():
                self._connection.row_factory = sqlite3.Row
                # Some network file systems have no shared memory; SQLite then stays with a journal.
                self._connection.execute("PRAGMA journal_mode = WAL")
                # Loses the last transactions at a power cut, never more; the files have them.
                self._connection.execute("PRAGMA synchronous = NORMAL")
                self._connection.execute("PRAGMA foreign_keys = ON")
                migrate(self._connection, str(self.path))
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @staticmethod
    def remove(log: Path) -> None:
        """Remove the index of a log folder, as broken as it may be; it can be made anew.

        Args:
            log: the folder.
        """
        for end in ("", "-wal", "-shm"):  # SQLite's own files beside it
            (log / f"{INDEX_NAME}{end}").unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def read(self, query: str, *values: Any) -> list[sqlite3.Row]:
        """The rows of a query.

        Args:
            query: SQL; a `?` for each value.
            values: for those.
        """
        with self._explained():
            return self._connection.execute(query, values).fetchall()

    @contextlib.contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """A transaction in which nobody else writes: all of it, or nothing of it, is kept."""
        with self._explained():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # a full disk has ended it already
                    self._connection.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise ArtifactIndexError(
                str(self.path),
                f"{error}. Check that the folder can be written and its disk is not full. Nothing "
                "is lost: the index is made from the runs' files, 'lisa-container history "
                "--rebuild' makes a new one",
            ) from error
