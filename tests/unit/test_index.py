"""The index's versions, and files that are not whole."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from lisa_container.artifacts.read import read_json, read_lines, read_list
from lisa_container.artifacts.schema import MIGRATIONS, migrate
from lisa_container.errors import ArtifactIndexError

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
    """What is in it stays."""
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
    with pytest.raises(ArtifactIndexError, match="knows none above.*newer lisa_container"):
        migrate(connection, "index")


def test_many_at_once(path: Path) -> None:
    """Each change is made once, whoever comes first."""
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


def test_lines_that_are_not_whole(path: Path) -> None:
    path.write_bytes(b'{"n": 1}\nnot json\n[2]\n{"n": 3}\n{"n": 4')
    lines, end = read_lines(path)
    assert lines == [{"n": 1}, {"n": 3}]
    with path.open("ab") as file:
        file.write(b', "x": "\xff"}\n')
    lines, end = read_lines(path, end)
    assert lines == [{"n": 4, "x": "\ufffd"}]
    assert read_lines(path, end) == ([], end)


@pytest.mark.parametrize("content", [None, "", "{", "[1]", '"x"', "null"])
def test_files_that_are_not_whole(path: Path, content: str | None) -> None:
    if content is not None:
        path.write_text(content)
    assert read_json(path) == {}
    assert read_list(path) == []
    assert read_lines(path / "below") == ([], 0)
