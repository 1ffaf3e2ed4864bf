"""Versions of the index, and incomplete files."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

from lisa_container.errors import ArtifactIndexError
from lisa_container.history.read import RecordError, read_json, read_lines, read_list
from lisa_container.history.schema import MIGRATIONS, migrate

SECOND = "ALTER TABLE runs ADD COLUMN owner TEXT NOT NULL DEFAULT 'nobody';"
BROKEN = "CREATE TABLE samples (id INTEGER); INSERT INTO there_is_none VALUES (1);"


def connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None, timeout=30)


def version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "index"


def test_from_an_older_version(path: Path) -> None:
    """An upgraded index keeps its content."""
    connection = connect(path)
    migrate(connection, "index")
    assert version(connection) == len(MIGRATIONS)
    connection.execute(
        "INSERT INTO runs (folder, run, name, started, state, message, runner, versions) "
        "VALUES ('f', 'r', 'n', '', 'ended', '', '', '{}')"
    )
    migrate(connection, "index", (*MIGRATIONS, SECOND))
    assert connection.execute("SELECT run, owner FROM runs").fetchall() == [("r", "nobody")]
    migrate(connection, "index", (*MIGRATIONS, SECOND))
    assert version(connection) == len(MIGRATIONS) + 1


def test_a_change_that_fails_changes_nothing(path: Path) -> None:
    connection = connect(path)
    migrate(connection, "index")
    with pytest.raises(sqlite3.Error, match="there_is_none"):
        migrate(connection, "index", (*MIGRATIONS, SECOND, BROKEN))
    assert version(connection) == len(MIGRATIONS)
    names = [row[1] for row in connection.execute("PRAGMA table_info(runs)")]
    assert "owner" not in names
    assert not list(connection.execute("PRAGMA table_info(samples)"))


def test_a_later_version(path: Path) -> None:
    connection = connect(path)
    migrate(connection, "index", (*MIGRATIONS, SECOND))
    with pytest.raises(ArtifactIndexError, match="knows versions up to.*newer lisa_container"):
        migrate(connection, "index")


def test_many_at_once(path: Path) -> None:
    """Concurrent connections apply each migration only once."""
    errors: list[BaseException] = []
    barrier = threading.Barrier(8)

    def work() -> None:
        connection = connect(path)
        barrier.wait()
        try:
            migrate(connection, "index", (*MIGRATIONS, SECOND))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert version(connect(path)) == len(MIGRATIONS) + 1


def lines(path: Path, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
    found = list(read_lines(path, offset))
    return [x for x, _ in found if x is not None], found[-1][1] if found else offset


def test_lines_that_are_not_whole(path: Path) -> None:
    path.write_bytes(b'{"n": 1}\nnot json\n[2]\n{"n": 3}\n{"n": 4')
    found, end = lines(path)
    assert found == [{"n": 1}, {"n": 3}]
    with path.open("ab") as file:
        file.write(b', "x": "\xff"}\n')
    found, end = lines(path, end)
    assert found == [{"n": 4, "x": "\udcff"}]
    assert lines(path, end) == ([], end)


@pytest.mark.parametrize("content", ["", "{", '"x"', "null"])
def test_files_that_are_not_whole(path: Path, content: str) -> None:
    path.write_text(content)
    for read in (read_json, read_list):
        with pytest.raises(RecordError, match="holds no"):
            read(path)


def test_files_that_are_not_there(path: Path) -> None:
    for read in (read_json, read_list, lambda x: list(read_lines(x))):
        with pytest.raises(FileNotFoundError):
            read(path)
        with pytest.raises(FileNotFoundError):
            read(Path("/dev/null/below"))
