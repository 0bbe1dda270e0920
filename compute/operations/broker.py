"""The queue in SQLite: django-q2's own, but for how it waits."""

from __future__ import annotations

import sqlite3
import time
from typing import Any

from django.db import connection
from django_q.brokers.orm import ORM
from django_q.conf import Conf

LOOK_EVERY_SECONDS = 0.5


class SQLiteBroker(ORM):  # type: ignore[misc]  # django-q2 ships no types
    """Asks whether anybody has written to the database, and only then whether there is work.

    The first question (https://sqlite.org/pragma.html#pragma_data_version) takes microseconds, so it
    can be asked often: work is found within hundredths of a second, and an idle lane costs next to
    nothing. django-q2 opens the database anew for the second one.
    """

    def __init__(self, list_key: str | None = None) -> None:
        super().__init__(list_key)
        self._watch: sqlite3.Connection | None = None
        self._seen = -1

    def dequeue(self) -> list[tuple[int, str]] | None:
        """Tasks that are now this lane's, or None after a while without any."""
        until = time.monotonic() + LOOK_EVERY_SECONDS
        while (version := self._version()) == self._seen and time.monotonic() < until:
            time.sleep(Conf.POLL)
        self._seen = version
        found: Any = super().dequeue()
        return found or None

    def _version(self) -> int:
        """A number that changes when another connection writes."""
        if self._watch is None:
            self._watch = sqlite3.connect(connection.settings_dict["NAME"])
        return int(self._watch.execute("PRAGMA data_version").fetchone()[0])
