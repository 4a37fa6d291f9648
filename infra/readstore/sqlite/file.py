"""SQLite connections, opened one way, and errors translated once.

Owns the pragmas. Never knows a table.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from domain.errors import Unavailable

BUSY_S_WRITER = 10.0
"""Another process may hold the control file's lock for a commit, or be recovering a file after a crash."""

BUSY_S_READER = 1.0
"""Readers of a WAL file wait only while it is being recovered after a crash."""

CHECKPOINT_PAGES = 4000
"""16 MB of log between checkpoints: fewer of their flushes, and a restart still reads it in a moment."""

WRITER_CACHE_KIB = 8 * 1024
"""Random keys touch pages all over a table: a million rows' inner pages and a good part of its leaves."""

READER_MAPPED_BYTES = 1 << 30
"""Of each file: readers look at the system's own copy of a page, where random keys would have nearly each page copied
by a call of its own.
"""

STATEMENTS_CACHED = 512


def open_writer(path: Path) -> sqlite3.Connection:
    connection = _connect(path, "rwc", BUSY_S_WRITER)
    connection.execute("PRAGMA journal_mode = WAL")
    # With WAL a power cut may lose the newest transactions, never a part of one: they come again from the log.
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    connection.execute(f"PRAGMA journal_size_limit = {CHECKPOINT_PAGES * 4096 * 4}")
    connection.execute(f"PRAGMA cache_size = -{WRITER_CACHE_KIB}")
    # What a statement that fails takes back: a page of rows touches so many leaves that it would be a file each time.
    connection.execute("PRAGMA temp_store = MEMORY")
    return connection


def open_reader(path: Path) -> sqlite3.Connection:
    connection = _connect(path, "rw", BUSY_S_READER)
    connection.execute("PRAGMA query_only = ON")
    connection.execute(f"PRAGMA mmap_size = {READER_MAPPED_BYTES}")
    return connection


def _connect(path: Path, mode: str, busy_s: float) -> sqlite3.Connection:
    # One connection is used by one thread at a time; which one it is may change.
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=busy_s,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=STATEMENTS_CACHED,
    )


@contextmanager
def translated() -> Iterator[None]:
    """The file's trouble becomes Unavailable; a wrong statement of ours stays what it is."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        if type(error) not in (sqlite3.DatabaseError, sqlite3.OperationalError):
            raise
        raise Unavailable("the read store does not answer") from error


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing, also when the process is killed inside."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
