"""The open consoles of this process: how many each user has, and whether they may go on.

One thread watches over all of them. It asks the database every two seconds, in a handful of queries
however many there are, and ends those whose instance was deleted, stopped or moved, and those whose
user was disabled or lost the role. It lives only while a console is open.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from django.conf import settings
from django.db import DatabaseError, connections

from consoleproxy import tokens
from consoleproxy.tokens import Grant, Refused

log = logging.getLogger(__name__)

CHECK_SECONDS = 2.0
# A database that cannot be asked for this long ends the consoles: nobody knows who may use them.
BLIND_SECONDS = 60.0
# Threads and sockets are the process's own to protect, however many users there are.
MOST_SESSIONS = 256


@dataclass(eq=False)
class Session:
    """One open console. ``end`` may be called from any thread, more than once, and never blocks."""

    grant: Grant
    end: Callable[[str], None]
    confirmed_at: float = field(default_factory=time.monotonic)


class Sessions:
    """All open consoles of one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: set[Session] = set()
        self._watch: threading.Thread | None = None

    def __len__(self) -> int:
        return len(self._open)

    def begin(self, grant: Grant, end: Callable[[str], None]) -> Session:
        """Count a console in and watch over it. Raises Refused when there are too many (OSSN-0008)."""
        with self._lock:
            mine = Counter(session.grant.user_id for session in self._open)[grant.user_id]
            if mine >= settings.CONSOLE_SESSIONS_PER_USER:
                raise Refused(f"You have {mine} consoles open, the most that one user may have. Close one first.")
            if len(self._open) >= MOST_SESSIONS:
                raise Refused("Too many consoles are open here. Try again later.")
            session = Session(grant, end)
            self._open.add(session)
            if self._watch is None:
                self._watch = threading.Thread(target=self._run, name="console-watch", daemon=True)
                self._watch.start()
        return session

    def finish(self, session: Session) -> None:
        """The console is closed."""
        with self._lock:
            self._open.discard(session)

    @contextmanager
    def held(self, grant: Grant, end: Callable[[str], None]) -> Iterator[Session]:
        """A console for the length of a block."""
        session = self.begin(grant, end)
        try:
            yield session
        finally:
            self.finish(session)

    def end_all(self, why: str) -> None:
        """Tell every console to close."""
        for session in self._now():
            session.end(why)

    def check(self) -> None:
        """End the consoles that may not go on."""
        open_now = self._now()
        try:
            reasons = tokens.ended({session.grant for session in open_now})
        except DatabaseError as error:
            log.warning("cannot check the open consoles: %s", error)
            self._end_unconfirmed(open_now)
            return
        for session in open_now:
            if why := reasons.get(session.grant):
                session.end(why)
            else:
                session.confirmed_at = time.monotonic()

    def _now(self) -> list[Session]:
        with self._lock:
            return list(self._open)

    def _end_unconfirmed(self, open_now: list[Session]) -> None:
        for session in open_now:
            if time.monotonic() - session.confirmed_at > BLIND_SECONDS:
                session.end("Nobody can say now whether you may use this console.")

    def _run(self) -> None:
        """The watching thread: ends itself when there is nothing left to watch."""
        while True:
            time.sleep(CHECK_SECONDS)
            with self._lock:
                if not self._open:
                    self._watch = None
                    return
            try:
                self.check()
            except Exception:
                log.exception("checking the open consoles")
            finally:
                connections.close_all()
