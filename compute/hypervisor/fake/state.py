"""What a fake host remembers, kept so that threads and processes see the same host.

``fake://NAME`` lives in this process. ``fake:///PATH?host=NAME`` lives in the SQLite file PATH, which
several processes may share and which may hold many hosts. Hosts of one place with the same ``storage``
in their query have their volumes in common.
"""

from __future__ import annotations

import functools
import json
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl, urlsplit

BUSY_SECONDS = 30.0
SCHEMA = """
CREATE TABLE IF NOT EXISTS hosts (name TEXT PRIMARY KEY, state TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS contents (host TEXT, volume TEXT, data BLOB, PRIMARY KEY (host, volume));
CREATE TABLE IF NOT EXISTS notes
    (id INTEGER PRIMARY KEY AUTOINCREMENT, host TEXT, kind TEXT, text TEXT);
CREATE INDEX IF NOT EXISTS notes_of_a_host ON notes (host, kind, id);
"""
EMPTY = {"guests": {}, "volumes": {}, "networks": {}, "faults": [], "counts": {}, "down": ""}

_memory_lock = threading.RLock()
_mine = threading.local()


class State:
    """One host's memory. ``options`` are the URI's query: what the host is like."""

    def __init__(self, uri: str) -> None:
        parts = urlsplit(uri)
        self.options = dict(parse_qsl(parts.query))
        self.path = parts.path if parts.path.strip("/") else ""
        self.name = self.options.get("host") or parts.netloc or "fake"
        self.storage = f"storage {self.options['storage']}" if "storage" in self.options else self.name

    @contextmanager
    def change(self) -> Iterator[dict[str, Any]]:
        """The host's state as one value; changes are kept if the block ends well, seen by all at once."""
        with self._database() as database, _row(database, self.name) as state:
            if self.storage == self.name:
                yield state
                return
            with _row(database, self.storage) as storage:
                state["volumes"] = storage["volumes"]
                yield state
                storage["volumes"], state["volumes"] = state["volumes"], {}

    def note(self, kind: str, text: str) -> None:
        """Remember that something happened: an event, a call."""
        with self._database() as database:
            database.execute("INSERT INTO notes (host, kind, text) VALUES (?, ?, ?)", [self.name, kind, text])

    def notes(self, kind: str, after: int = 0) -> list[tuple[int, str]]:
        """What happened since note ``after``, oldest first."""
        query = "SELECT id, text FROM notes WHERE host = ? AND kind = ? AND id > ? ORDER BY id"
        with self._database() as database:
            return list(database.execute(query, [self.name, kind, after]))

    def write(self, volume: str, data: bytes | None) -> None:
        """Keep a volume's content; None forgets it."""
        with self._database() as database:
            database.execute("DELETE FROM contents WHERE host = ? AND volume = ?", [self.storage, volume])
            if data is not None:
                database.execute("INSERT INTO contents VALUES (?, ?, ?)", [self.storage, volume, data])

    def read(self, volume: str) -> bytes | None:
        """A volume's content, if it was kept."""
        query = "SELECT data FROM contents WHERE host = ? AND volume = ?"
        with self._database() as database:
            row = database.execute(query, [self.storage, volume]).fetchone()
            return row[0] if row else None

    def forget(self) -> None:
        """The host is as new."""
        with self._database() as database:
            database.execute("DELETE FROM hosts WHERE name = ?", [self.name])
            for table in ("contents", "notes"):
                database.execute(f"DELETE FROM {table} WHERE host = ?", [self.name])  # noqa: S608 (two constants)

    def version(self) -> int | None:
        """A number that changes when another thread or process writes; None where nobody can tell."""
        return int(_opened(self.path).execute("PRAGMA data_version").fetchone()[0]) if self.path else None

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        """A transaction that nobody else writes in."""
        if not self.path:
            with _memory_lock:
                yield _in_memory()
            return
        database = _opened(self.path)
        database.execute("BEGIN IMMEDIATE")
        try:
            yield database
        except BaseException:
            database.execute("ROLLBACK")
            raise
        database.execute("COMMIT")


@contextmanager
def _row(database: sqlite3.Connection, name: str) -> Iterator[dict[str, Any]]:
    """A row's value, written back if it changes."""
    row = database.execute("SELECT state FROM hosts WHERE name = ?", [name]).fetchone()
    before = row[0] if row else json.dumps(EMPTY)
    state = json.loads(before)
    yield state
    after = json.dumps(state)
    if after != before or row is None:
        database.execute("INSERT OR REPLACE INTO hosts VALUES (?, ?)", [name, after])


def _opened(path: str) -> sqlite3.Connection:
    """This thread's connection to a file. Another process, or another file at the same path, gets its own."""
    known: dict[str, tuple[tuple[int, int], sqlite3.Connection]] = _mine.__dict__.setdefault("connections", {})
    if path in known and known[path][0] == _identity(path):
        return known[path][1]
    database = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    database.executescript("PRAGMA synchronous = OFF;" + SCHEMA)
    known[path] = _identity(path), database
    return database


def _identity(path: str) -> tuple[int, int]:
    """The process, and the file that is at a path now."""
    try:
        return os.getpid(), os.stat(path).st_ino
    except FileNotFoundError:
        return os.getpid(), 0


@functools.cache
def _in_memory() -> sqlite3.Connection:
    database = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
    database.executescript(SCHEMA)
    return database
