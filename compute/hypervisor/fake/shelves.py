"""A fake host's memory, thing by thing: only what a call asks for is read, and only what it changed is written."""

from __future__ import annotations

import copy
import json
import sqlite3
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, Self

SCHEMA = """
CREATE TABLE IF NOT EXISTS things
    (id INTEGER PRIMARY KEY, host TEXT, kind TEXT, key TEXT, value TEXT NOT NULL, UNIQUE (host, kind, key));
"""
OWN = "host"
EMPTY: dict[str, Any] = {"faults": [], "down": ""}
ONE = "SELECT value FROM things WHERE host = ? AND kind = ? AND key = ?"
ALL = "SELECT key, value FROM things WHERE host = ? AND kind = ? ORDER BY id"
KEEP = (
    "INSERT INTO things (host, kind, key, value) VALUES (?, ?, ?, ?) "
    "ON CONFLICT (host, kind, key) DO UPDATE SET value = excluded.value"
)
FORGET = "DELETE FROM things WHERE host = ? AND kind = ? AND key = ?"


class Shelf(MutableMapping[str, Any]):
    """The things of one kind of a host, by their keys, oldest first.

    What is taken by its key may be changed in its place; ``seen`` shows all, for looking alone.
    """

    def __init__(self, database: sqlite3.Connection, host: str, kind: str) -> None:
        self._database, self._place = database, (host, kind)
        self._texts: dict[str, str] = {}  # as the database has them
        self._taken: dict[str, Any] = {}
        self._gone: set[str] = set()
        self._is_whole = False

    def __getitem__(self, key: str) -> Any:
        if key in self._taken:
            return self._taken[key]
        if key in self._gone or (text := self._text(key)) is None:
            raise KeyError(key)
        value = self._taken[key] = json.loads(text)
        return value

    def __setitem__(self, key: str, value: Any) -> None:
        self._taken[key] = value
        self._gone.discard(key)

    def __delitem__(self, key: str) -> None:
        if key not in self:
            raise KeyError(key)
        self._taken.pop(key, None)
        self._gone.add(key)

    def __iter__(self) -> Iterator[str]:
        if not self._is_whole:
            self._texts, self._is_whole = dict(self._database.execute(ALL, self._place)), True
        kept = [key for key in self._texts if key not in self._gone]
        return iter([*kept, *(key for key in self._taken if key not in self._texts)])

    def __len__(self) -> int:
        return len(list(iter(self)))

    def seen(self) -> Iterator[tuple[str, Any]]:
        """All keys and things, as they are now."""
        for key in self:
            yield key, self._taken[key] if key in self._taken else json.loads(self._texts[key])

    def __ior__(self, more: Mapping[str, Any]) -> Self:
        self.update(more)
        return self

    def save(self) -> None:
        """Write what has changed."""
        for key, value in self._taken.items():
            text = json.dumps(value)
            if text != self._texts.get(key):
                self._database.execute(KEEP, (*self._place, key, text))
        for key in self._gone:
            self._database.execute(FORGET, (*self._place, key))

    def _text(self, key: str) -> str | None:
        if key not in self._texts and not self._is_whole:
            row = self._database.execute(ONE, (*self._place, key)).fetchone()
            if row is not None:
                self._texts[key] = row[0]
        return self._texts.get(key)


class Memory(Shelf):
    """What a host knows: its guests, volumes and networks, each a shelf, and a few things of its own.

    Hosts with the same ``storage`` have their volumes in common.
    """

    def __init__(self, database: sqlite3.Connection, host: str, storage: str) -> None:
        super().__init__(database, host, OWN)
        owners = {"guests": host, "volumes": storage, "networks": host}
        self._shelves = {kind: Shelf(database, owner, kind) for kind, owner in owners.items()}

    def __getitem__(self, key: str) -> Any:
        if key in self._shelves:
            return self._shelves[key]
        if key in EMPTY and key not in self._taken and self._text(key) is None:
            self._texts[key], self._taken[key] = json.dumps(EMPTY[key]), copy.copy(EMPTY[key])
        return super().__getitem__(key)

    def __setitem__(self, key: str, value: Any) -> None:
        if key not in self._shelves:
            super().__setitem__(key, value)
        elif value is not self._shelves[key]:
            raise TypeError(f"The {key} are put and taken one by one.")

    def save(self) -> None:
        """Write what has changed."""
        super().save()
        for shelf in self._shelves.values():
            shelf.save()


def trouble(database: sqlite3.Connection, host: str) -> tuple[list[dict[str, Any]], str]:
    """A host's faults, and why it is down."""
    found = dict(database.execute("SELECT key, value FROM things WHERE host = ? AND kind = ?", (host, OWN)))
    faults, down = (json.loads(found[key]) if key in found else EMPTY[key] for key in ("faults", "down"))
    return faults, down
