"""Tables of the index, and migration of an older index.

The version of the tables is SQLite's `user_version`. To change the tables, append to `MIGRATIONS`;
never edit an entry, because indexes of each version are in use.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from lisa_container.errors import ArtifactIndexError

_FIRST = """
CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    folder TEXT NOT NULL UNIQUE,      -- below LISA's log folder
    run TEXT NOT NULL,                -- LISA's run id
    name TEXT NOT NULL,               -- of the runbook
    started TEXT NOT NULL,            -- ISO 8601, UTC, as all times here
    ended TEXT,
    state TEXT NOT NULL,              -- running, ended, interrupted, cut short
    message TEXT NOT NULL,            -- why it failed as a whole
    runner TEXT NOT NULL,             -- host name of the machine that it ran on
    versions TEXT NOT NULL            -- JSON
);
CREATE TABLE cases (
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    result TEXT NOT NULL,             -- LISA's id of the result
    parent TEXT NOT NULL,             -- the case that a sub-test is a part of
    suite TEXT NOT NULL,
    name TEXT NOT NULL,
    status TEXT NOT NULL,             -- as LISA's, in small letters
    message TEXT NOT NULL,
    started TEXT,
    duration REAL,                    -- seconds
    folder TEXT NOT NULL,             -- of the case, below the run's
    UNIQUE (run, result, parent, name)
);
CREATE INDEX cases_by_name ON cases (name, run);
CREATE TABLE images (
    id INTEGER PRIMARY KEY,
    reference TEXT NOT NULL,
    image_id TEXT NOT NULL,           -- the engine's
    UNIQUE (reference, image_id)
);
CREATE TABLE containers (
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    name TEXT NOT NULL,
    container_id TEXT NOT NULL,
    node TEXT NOT NULL,
    engine TEXT NOT NULL,
    image INTEGER REFERENCES images,
    suite TEXT NOT NULL,
    "case" TEXT NOT NULL,             -- where it served one only
    started TEXT,
    ended TEXT,
    exit_code INTEGER,
    oom_killed INTEGER,
    config TEXT NOT NULL,             -- JSON
    UNIQUE (run, name)
);
CREATE TABLE commands (
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    file TEXT NOT NULL,               -- its record's file, below the run's folder
    n INTEGER NOT NULL,               -- its number there
    container TEXT NOT NULL,
    "case" INTEGER REFERENCES cases ON DELETE SET NULL,
    state TEXT NOT NULL,              -- running, ended, left
    command TEXT NOT NULL,
    cwd TEXT NOT NULL,
    user TEXT NOT NULL,
    started TEXT,
    duration REAL,
    exit_code INTEGER,
    signal INTEGER,
    error TEXT NOT NULL,
    stdout_bytes INTEGER,
    stderr_bytes INTEGER,
    cpu REAL,                         -- seconds
    memory_peak INTEGER,              -- bytes, as the next two
    read_bytes INTEGER,
    written_bytes INTEGER,
    UNIQUE (run, file, n)
);
CREATE INDEX commands_by_case ON commands ("case");
CREATE TABLE tools (
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    container TEXT NOT NULL,
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    manager TEXT NOT NULL,
    command TEXT NOT NULL,
    origin TEXT NOT NULL,
    checksum TEXT NOT NULL,
    UNIQUE (run, container, manager, name)
);
CREATE TABLE artifacts (
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    path TEXT NOT NULL,               -- below the run's folder
    container TEXT NOT NULL,
    "case" INTEGER REFERENCES cases ON DELETE SET NULL,
    kind TEXT NOT NULL,               -- file, output, changes, inspect, log, state
    size INTEGER NOT NULL,            -- bytes
    UNIQUE (run, path)
);
-- How far files that grow have been read.
CREATE TABLE sources (
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    path TEXT NOT NULL,
    offset INTEGER NOT NULL,
    PRIMARY KEY (run, path)
);
"""

MIGRATIONS: tuple[str, ...] = (_FIRST,)
"""SQL scripts: the first makes the tables, each further one changes them."""


def migrate(
    connection: sqlite3.Connection, path: str, migrations: Sequence[str] = MIGRATIONS
) -> None:
    """Migrate an index to the newest version.

    Args:
        connection: a connection without an open transaction.
        path: path of the index, for messages.
        migrations: all scripts, from the first.

    Raises:
        ArtifactIndexError: a later version of lisa_container has made the index.
    """
    if _version(connection) == len(migrations):
        return
    # Another runner may be migrating at the same time.
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = _version(connection)
        if version > len(migrations):
            raise ArtifactIndexError(
                path,
                f"its version is {version}; this lisa_container knows versions up to "
                f"{len(migrations)}. Use the newer lisa_container that made it, or another log "
                "folder",
            )
        for script in migrations[version:]:
            # `executescript` would commit the transaction.
            for statement in _statements(script):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(migrations)}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _statements(script: str) -> list[str]:
    found, begun = [], ""
    for part in script.split(";"):
        begun += f"{part};"
        if sqlite3.complete_statement(begun):
            found.append(begun)
            begun = ""
    return found[:-1]  # without the text after the last semicolon
