"""What a fake host remembers, kept so that threads and processes see the same host.

``fake://NAME`` lives in this process. ``fake:///PATH?host=NAME`` lives in the SQLite file PATH, which
several processes may share and which may hold many hosts. Hosts of one place with the same ``storage``
in their query have their volumes in common.
"""

from __future__ import annotations

import functools
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from compute.hypervisor.fake.shelves import SCHEMA as SHELVES
from compute.hypervisor.fake.shelves import Memory, trouble

BUSY_SECONDS = 30.0
SCHEMA = f"""
{SHELVES}
CREATE TABLE IF NOT EXISTS contents (host TEXT, volume TEXT, data BLOB, PRIMARY KEY (host, volume));
CREATE TABLE IF NOT EXISTS notes
    (id INTEGER PRIMARY KEY AUTOINCREMENT, host TEXT, kind TEXT, text TEXT);
CREATE INDEX IF NOT EXISTS notes_of_a_host ON notes (host, kind, id);
"""
# What is committed outlives the process; it need not outlive the machine.
SETTINGS = "PRAGMA synchronous = OFF; PRAGMA journal_mode = WAL;"


class State:
    """One host's memory. ``options`` are the URI's query: what the host is like."""

    def __init__(self, uri: str) -> None:
        parts = urlsplit(uri)
        self.options = dict(parse_qsl(parts.query))
        self.path = parts.path if parts.path.strip("/") else ""
        self.name = self.options.get("host") or parts.netloc or "fake"
        self.storage = f"storage {self.options['storage']}" if "storage" in self.options else self.name

    @contextmanager
    def change(self) -> Iterator[Memory]:
        """What the host knows; changes are kept if the block ends well, seen by all at once."""
        with self._writing() as database:
            memory = Memory(database, self.name, self.storage)
            yield memory
            memory.save()

    @contextmanager
    def look(self) -> Iterator[Memory]:
        """What the host knows, for reading. Nobody is kept from writing."""
        with self._reading() as database:
            yield Memory(database, self.name, self.storage)

    def trouble(self) -> tuple[list[dict[str, Any]], str]:
        """The faults that were ordered, and why the host is down, if it is. Nobody else is kept from writing."""
        with self._reading() as database:
            return trouble(database, self.name)

    def note(self, kind: str, text: str) -> None:
        """Remember that something happened: an event, a call. In a block of ``change``, together with it."""
        with self._writing() as database:
            database.execute("INSERT INTO notes (host, kind, text) VALUES (?, ?, ?)", [self.name, kind, text])

    def notes(self, kind: str, after: int = 0) -> list[tuple[int, str]]:
        """What happened since note ``after``, oldest first."""
        query = "SELECT id, text FROM notes WHERE host = ? AND kind = ? AND id > ? ORDER BY id"
        with self._reading() as database:
            return list(database.execute(query, [self.name, kind, after]))

    def write(self, volume: str, data: bytes | None) -> None:
        """Keep a volume's content; None forgets it."""
        with self._writing() as database:
            database.execute("DELETE FROM contents WHERE host = ? AND volume = ?", [self.storage, volume])
            if data is not None:
                database.execute("INSERT INTO contents VALUES (?, ?, ?)", [self.storage, volume, data])

    def read(self, volume: str) -> bytes | None:
        """A volume's content, if it was kept."""
        query = "SELECT data FROM contents WHERE host = ? AND volume = ?"
        with self._reading() as database:
            row = database.execute(query, [self.storage, volume]).fetchone()
            return row[0] if row else None

    def forget(self) -> None:
        """The host is as new."""
        with self._writing() as database:
            for table in ("things", "contents", "notes"):
                database.execute(f"DELETE FROM {table} WHERE host = ?", [self.name])  # noqa: S608 (constants)

    def version(self) -> tuple[int, int] | None:
        """It changes whenever anybody writes; None where that cannot be told."""
        if not self.path:
            return None
        with self._reading() as database:
            return int(database.execute("PRAGMA data_version").fetchone()[0]), database.total_changes

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """For a single question."""
        while True:
            place = _opened(self.path) if self.path else _in_memory()
            with place.lock:
                if place.is_open:
                    yield place.database
                    return

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that nobody else writes in. Within another of this thread it is a part of that."""
        with self._reading() as database:
            if database.in_transaction:
                yield database
                return
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
            except BaseException:
                database.execute("ROLLBACK")
                raise
            database.execute("COMMIT")


@dataclass
class Place:
    """This process's connection to where hosts are remembered, for one thread at a time."""

    database: sqlite3.Connection
    inode: int = 0
    is_open: bool = True
    lock: threading.RLock = field(default_factory=threading.RLock)


_places: dict[str, Place] = {}
_opening = threading.Lock()


def _opened(path: str) -> Place:
    """The connection to a file. Another file at the same path gets its own."""
    place = _places.get(path)
    if place is not None and place.inode == _inode(path):
        return place
    with _opening:
        place = _places.get(path)
        if place is None or place.inode != _inode(path):
            database = _connected(path)
            place = _places[path] = Place(database, _inode(path))
        return place


def _inode(path: str) -> int:
    try:
        return os.stat(path).st_ino
    except FileNotFoundError:
        return 0


@functools.cache
def _in_memory() -> Place:
    return Place(_connected(":memory:"))


def _connected(path: str) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=BUSY_SECONDS, check_same_thread=False, isolation_level=None)
    database.executescript(SETTINGS + SCHEMA)
    return database


def _let_go() -> None:
    """Before a fork: a connection of SQLite, with its locks, is one process's alone. Parent and child open new ones."""
    _opening.acquire()
    for place in _places.values():
        with place.lock:
            place.is_open = False
            place.database.close()
    _places.clear()


os.register_at_fork(before=_let_go, after_in_parent=_opening.release, after_in_child=_opening.release)
