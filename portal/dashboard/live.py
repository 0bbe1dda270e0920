"""Live pages: a websocket tells each page which objects changed, and the page fetches them itself.

What goes over the socket is a kind and an id, never content: who may see it is decided again when
the page asks. One task for each web process reads the change feed while sockets are open.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from importlib import import_module
from typing import Any, NamedTuple

from asgiref.sync import sync_to_async
from channels.auth import get_user
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.conf import settings
from django.db import close_old_connections, connection
from django.db.models import Max
from django.utils import timezone

from compute.models import Change, Host
from portal.dashboard.access import PROJECT_KEY, actor_in, projects_of
from portal.identity.actor import Actor
from portal.identity.models import User

log = logging.getLogger(__name__)
SessionStore = import_module(settings.SESSION_ENGINE).SessionStore

POLL_SECONDS = 0.25
RECHECK_SECONDS = 3.0
# With more changes than this waiting, the page is told that everything may have changed.
MOST_CHANGES = 500
EVERYTHING = ("*", "*")
# Where writers run side by side (PostgreSQL), a row with a lower id may appear later. Rows this
# young are read again, so that none is missed; no transaction of ours lasts nearly as long.
LATE = timedelta(seconds=10)
# Close codes, for static/js/live.js.
NO_LONGER_ALLOWED = 4403
WRONG_ORIGIN = 4400


class Seen(NamedTuple):
    """One row of the feed."""

    id: int
    kind: str
    object_id: str
    project_id: str


def may_see(actor: Actor, change: Seen) -> bool:
    """Whether this actor's pages are told: changes of the own project, or all for an administrator."""
    return actor.is_admin or (change.project_id != "" and change.project_id == actor.project_id)


@dataclass
class Feed:
    """The place up to which the change feed was read. Each row is returned once."""

    floor: int = 0
    above: set[int] = field(default_factory=set)

    @classmethod
    def now(cls) -> Feed:
        """From here on."""
        return cls(floor=Change.objects.aggregate(last=Max("id"))["last"] or 0)

    def read(self) -> list[Seen]:
        """The rows that have appeared since."""
        rows = (
            Change.objects.filter(id__gt=self.floor)
            .order_by("id")
            .values_list("id", "kind", "object_id", "project_id", "at")
        )
        settled = timezone.now() - (timedelta(0) if connection.vendor == "sqlite" else LATE)
        fresh: list[Seen] = []
        moving = True
        for number, kind, object_id, project_id, at in rows:
            if number not in self.above:
                fresh.append(Seen(number, kind, object_id, project_id))
                self.above.add(number)
            moving = moving and at <= settled
            if moving:
                self.floor = number
        self.above = {one for one in self.above if one > self.floor}
        return fresh


class Tailer:
    """Reads the feed for the sockets of this process; runs while there are any."""

    def __init__(self) -> None:
        self.sockets: set[LiveConsumer] = set()
        self._task: asyncio.Task[None] | None = None
        self._in_place = asyncio.Event()
        self._unheard: frozenset[int] = frozenset()

    async def join(self, socket: LiveConsumer) -> None:
        """From here on the socket is told of everything; returns once that is so."""
        self.sockets.add(socket)
        if self._task is None or self._task.done():
            self._in_place = asyncio.Event()
            self._task = asyncio.create_task(self._run(self._in_place))
        await self._in_place.wait()

    def leave(self, socket: LiveConsumer) -> None:
        """A socket has closed."""
        self.sockets.discard(socket)

    async def _run(self, in_place: asyncio.Event) -> None:
        feed: Feed | None = None
        checked = asyncio.get_running_loop().time()
        while self.sockets:
            try:
                feed = feed or await _in_thread(Feed.now)
                in_place.set()
                self._push(await _in_thread(feed.read))
                if asyncio.get_running_loop().time() - checked >= RECHECK_SECONDS:
                    await self._recheck()
                    await self._notice_unheard()
                    checked = asyncio.get_running_loop().time()
            except Exception:
                log.exception("the change feed could not be read; trying on")
            await asyncio.sleep(POLL_SECONDS)

    def _push(self, changes: list[Seen]) -> None:
        for socket in list(self.sockets if changes else ()):
            socket.tell((one.kind, one.object_id) for one in changes if may_see(socket.actor, one))

    async def _notice_unheard(self) -> None:
        """A host that nobody watches any more is down, and nobody is left who would write so to the feed."""
        now: frozenset[int] = await _in_thread(lambda: frozenset(Host.objects.unheard().values_list("pk", flat=True)))
        self._push([Seen(0, "host", str(pk), "") for pk in now ^ self._unheard])
        self._unheard = now

    async def _recheck(self) -> None:
        """Cut off whoever was disabled, has logged out, or lost the role."""
        by_session: dict[str, list[LiveConsumer]] = defaultdict(list)
        for socket in self.sockets:
            by_session[socket.session_key].append(socket)
        for sockets in by_session.values():
            actor = await current_actor(sockets[0].scope)
            for socket in sockets:
                if actor is None or actor.project_id != socket.actor.project_id:
                    self.leave(socket)
                    socket.cut_off()
                else:
                    socket.actor = actor


def _in_thread(call: Any) -> Any:
    """Run a database call off the event loop, with a connection that is given back."""

    def run() -> Any:
        close_old_connections()
        try:
            return call()
        finally:
            close_old_connections()

    return sync_to_async(run, thread_sensitive=False)()


async def current_actor(scope: dict[str, Any]) -> Actor | None:
    """Who a session is now: read afresh, because the scope's own copy is as old as the socket."""
    session = SessionStore(scope["session"].session_key)
    user = await get_user({"session": session})
    if not isinstance(user, User):
        return None
    actor: Actor | None = await _in_thread(lambda: actor_in(user, projects_of(user), session.get(PROJECT_KEY)))
    return actor


class LiveConsumer(AsyncJsonWebsocketConsumer):  # type: ignore[misc]  # channels ships no types
    """One page's socket. It only listens; what the page sends is ignored.

    What it is told waits in ``_pending`` until the browser has taken what came before, so that a
    browser which takes nothing holds up nobody else.
    """

    actor: Actor
    session_key: str

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._pending: dict[tuple[str, str], None] = {}
        self._open = False
        self._sending: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        """Accept a page of ours whose user is logged in; tell any other why not."""
        actor = await current_actor(self.scope)
        if same_origin(self.scope["headers"]) and actor is not None:
            self.actor, self.session_key = actor, self.scope["session"].session_key
            await tailer.join(self)  # before the page fetches itself, so that nothing falls in between
            await self.accept()
            self._open = True
            self.tell(())
        else:
            await self.accept()
            await self.close(code=WRONG_ORIGIN if actor else NO_LONGER_ALLOWED)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Nothing is asked over this socket."""

    async def disconnect(self, code: int) -> None:
        """Gone."""
        self._open = False
        tailer.leave(self)

    def tell(self, changes: Iterable[tuple[str, str]]) -> None:
        """Say what changed, as soon as the browser takes it; never waits for it."""
        self._pending.update(dict.fromkeys(changes))
        if len(self._pending) > MOST_CHANGES:
            self._pending = {EVERYTHING: None}
        if self._pending and self._open and (self._sending is None or self._sending.done()):
            self._sending = asyncio.create_task(self._send())

    async def _send(self) -> None:
        with suppress(RuntimeError, OSError):  # it has closed meanwhile
            while self._pending and self._open:
                changes, self._pending = list(self._pending), {}
                await self.send_json({"changes": changes})

    def cut_off(self) -> None:
        """End it: its user may not look any more."""
        self._open = False
        self._sending = asyncio.create_task(self.close(code=NO_LONGER_ALLOWED))


def same_origin(headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether the page that opens the socket came from this very address (scheme aside: a proxy may end TLS)."""
    found = dict(headers)
    origin, host = found.get(b"origin", b""), found.get(b"host", b"")
    return bool(host) and origin in (b"http://" + host, b"https://" + host)


tailer = Tailer()
