"""Live pages: who is told of what, when a socket ends, and that a page which listens stays true."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from asgiref.testing import ApplicationCommunicator
from django.db import connection
from django.test import Client
from django.utils import timezone

from compute.instances import update_instance
from compute.models import Change, Host, Instance, announce
from compute.operations import OPERATIONS
from compute.operations.engine import request
from portal.asgi import application
from portal.dashboard import live
from portal.dashboard.live import NO_LONGER_ALLOWED, Feed, Seen, may_see, same_origin
from portal.identity.models import Assignment, User
from tests.conftest import Cloud, Persona

HOST = b"127.0.0.1"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rechecks come soon, from a tailer of the test's own event loop."""
    monkeypatch.setattr(live, "tailer", live.Tailer())
    monkeypatch.setattr(live, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(live, "RECHECK_SECONDS", 0.1)


class Page(ApplicationCommunicator):
    """The socket of a page."""

    def __init__(self, client: Client | None, origin: bytes = b"http://" + HOST) -> None:
        headers = [(b"host", HOST)] + ([(b"origin", origin)] if origin else [])
        if client is not None:
            headers.append((b"cookie", f"sessionid={client.cookies['sessionid'].value}".encode()))
        scope = {"type": "websocket", "path": "/ws/live", "query_string": b"", "headers": headers, "subprotocols": []}
        super().__init__(application, scope)

    async def connect(self) -> bool:
        """Whether the server lets it in."""
        await self.send_input({"type": "websocket.connect"})
        accepted: bool = (await self.receive_output(timeout=30))["type"] == "websocket.accept"
        return accepted

    async def told(self) -> list[list[str]]:
        """The next message's changes."""
        message = await self.receive_output(timeout=30)
        assert message["type"] == "websocket.send", message
        found: list[list[str]] = json.loads(message["text"])["changes"]
        return found

    async def ends(self) -> int:
        """The close code that comes, whatever is told before."""
        for _ in range(20):
            message = await self.receive_output(timeout=30)
            if message["type"] == "websocket.close":
                return int(message["code"])
        raise AssertionError("it stays open")

    async def disconnect(self) -> None:
        """The browser leaves."""
        await self.send_input({"type": "websocket.disconnect", "code": 1001})
        await self.wait()


def run(story: Callable[[], Awaitable[None]]) -> None:
    """Run a story in an event loop, with the tailer at its end when it ends."""

    async def whole() -> None:
        try:
            await story()
        finally:
            live.tailer.sockets.clear()
            if live.tailer._task:
                await asyncio.wait([live.tailer._task], timeout=30)

    async_to_sync(whole)()


async def opened(page: Page) -> Page:
    """A page that listens."""
    assert await page.connect()
    await asyncio.sleep(0.15)  # the tailer has found its place in the feed
    return page


def change(kind: str, object_id: object, project_id: str = "") -> Any:
    return sync_to_async(announce)(kind, object_id, project_id)


pytestmark = pytest.mark.django_db(transaction=True)


def test_a_page_is_told_of_its_own_project_alone(
    transactional_db: None, alice: Persona, root: Persona, cloud: Cloud, browse
) -> None:
    async def story() -> None:
        member, admin = await opened(Page(browse_alice)), await opened(Page(browse_root))
        await change("server", "foreign", cloud.other.id)
        await change("host", 1)
        await change("server", "own", cloud.demo.id)
        assert await member.told() == [["server", "own"]]
        seen: list[list[str]] = []
        while len(seen) < 3:
            seen += await admin.told()
        assert seen == [["server", "foreign"], ["host", "1"], ["server", "own"]]
        await member.disconnect()
        await admin.disconnect()

    browse_alice, browse_root = browse(alice), browse(root)
    run(story)


@pytest.mark.parametrize(
    "origin", [b"http://evil.example", b"", b"null", b"http://127.0.0.1:81", b"http://127.0.0.1.evil.example"]
)
def test_pages_of_other_sites_get_nothing(transactional_db: None, alice: Persona, browse, origin: bytes) -> None:
    async def story() -> None:
        page = Page(client, origin)
        if await page.connect():
            assert await page.ends() == live.WRONG_ORIGIN
        assert not live.tailer.sockets

    client = browse(alice)
    run(story)


def test_nobody_listens_without_a_login(transactional_db: None, cloud: Cloud) -> None:
    async def story() -> None:
        page = Page(None)
        assert await page.connect()
        assert await page.ends() == NO_LONGER_ALLOWED

    run(story)


@pytest.mark.parametrize("how", ["disabled", "role gone", "logged out", "new password", "another project"])
def test_who_may_no_longer_look_is_cut_off(
    transactional_db: None, alice: Persona, cloud: Cloud, browse, how: str
) -> None:
    client = browse(alice)

    def end() -> None:
        user = User.objects.get(pk=alice.user.pk)
        if how == "disabled":
            User.objects.filter(pk=user.pk).update(enabled=False)
        elif how == "role gone":
            Assignment.objects.filter(user=user).delete()
        elif how == "logged out":
            client.post("/logout")
        elif how == "new password":
            user.set_password("another")
            user.save()
        else:
            role = Assignment.objects.get(user=user).role
            Assignment.objects.create(user=user, role=role, project=cloud.other)
            client.post("/project", {"project": cloud.other.pk})

    async def story() -> None:
        page = await opened(Page(client))
        await sync_to_async(end)()
        assert await page.ends() == NO_LONGER_ALLOWED

    run(story)


def test_the_feed_is_read_only_while_somebody_listens(transactional_db: None, alice: Persona, browse) -> None:
    async def story() -> None:
        page = await opened(Page(client))
        task = live.tailer._task
        assert task is not None
        assert not task.done()
        await page.disconnect()
        await asyncio.wait([task], timeout=30)
        assert task.done()

    client = browse(alice)
    run(story)


def test_administrators_are_told_of_hosts_that_nobody_watches_any_more(
    transactional_db: None, alice: Persona, root: Persona, cloud: Cloud, browse
) -> None:
    def seen(ago: timedelta) -> None:
        Host.objects.update(last_seen_at=timezone.now() - ago)

    async def story() -> None:
        member, admin = await opened(Page(browse_alice)), await opened(Page(browse_root))
        for ago in (timedelta(minutes=5), timedelta(0)):
            await sync_to_async(seen)(ago)
            assert await admin.told() == [["host", str(cloud.host.pk)]]
        await change("server", "own", alice.project.id)
        assert await member.told() == [["server", "own"]]
        await member.disconnect()
        await admin.disconnect()

    browse_alice, browse_root = browse(alice), browse(root)
    run(story)


def test_a_broken_feed_is_read_on(
    transactional_db: None, alice: Persona, browse, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, broken = Feed.read, iter([True])

    def read(self: Feed) -> list[Seen]:
        if next(broken, False):
            raise RuntimeError("the database is away")
        return real(self)

    async def story() -> None:
        page = await opened(Page(client))
        await change("server", "x", alice.project.id)
        assert await page.told() == [["server", "x"]]
        await page.disconnect()

    monkeypatch.setattr(Feed, "read", read)
    client = browse(alice)
    run(story)


def test_a_browser_that_takes_nothing_holds_up_nobody(
    transactional_db: None, alice: Persona, browse, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        one = await opened(Page(client))
        (stuck,) = live.tailer.sockets
        other = await opened(Page(client))

        async def never(*args: object) -> None:
            await asyncio.sleep(60)

        monkeypatch.setattr(stuck, "send_json", never)
        for number in range(3):
            await change("server", number, alice.project.id)
        heard: list[list[str]] = []
        while len(heard) < 3:
            heard += await other.told()
        assert heard == [["server", "0"], ["server", "1"], ["server", "2"]]
        stuck._sending.cancel()
        await one.disconnect()
        await other.disconnect()

    client = browse(alice)
    run(story)


def test_too_much_at_once_is_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MOST_CHANGES", 2)
    socket = live.LiveConsumer()
    for object_id in "abc":
        socket.tell([("server", object_id)])
    assert list(socket._pending) == [("*", "*")]


def test_each_row_of_the_feed_is_returned_once(db: None) -> None:
    announce("server", "before")
    feed = Feed.now()
    announce("server", "one")
    announce("server", "two")
    assert [seen.object_id for seen in feed.read()] == ["one", "two"]
    assert feed.read() == []


def test_a_row_that_appears_late_is_not_missed(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "vendor", "postgresql")
    feed = Feed.now()
    late = Change.objects.create(kind="server", object_id="late")
    early = Change.objects.create(kind="server", object_id="early")
    number = late.pk
    late.delete()
    assert [seen.object_id for seen in feed.read()] == ["early"]
    Change.objects.create(pk=number, kind="server", object_id="late")
    assert [seen.object_id for seen in feed.read()] == ["late"]
    assert feed.read() == []
    Change.objects.update(at=timezone.now() - timedelta(minutes=1))
    assert feed.read() == []
    assert (feed.floor, feed.above) == (early.pk, set())


def test_who_sees_what(alice: Persona, root: Persona) -> None:
    for project_id, member, admin in ((alice.project.id, True, True), ("another", False, True), ("", False, True)):
        seen = Seen(1, "server", "x", project_id)
        assert (may_see(alice.actor, seen), may_see(root.actor, seen)) == (member, admin)


@pytest.mark.parametrize(
    ("origin", "host", "good"),
    [
        (b"http://a:80", b"a:80", True),
        (b"https://a", b"a", True),
        (b"http://b", b"a", False),
        (b"", b"a", False),
        (b"http://", b"", False),
        (b"ftp://a", b"a", False),
    ],
)
def test_origins(origin: bytes, host: bytes, good: bool) -> None:
    assert same_origin([(b"origin", origin), (b"host", host)]) is good


def shown(client: Client, path: str = "/instances/") -> str:
    """What a page shows, without what changes by itself."""
    page = client.get(path, headers={"X-Fragment": "1"}).content.decode()
    return re.sub(r"<time.*?</time>|csrfmiddlewaretoken.*?>", "", page)


def test_the_state_at_first_plus_what_is_pushed_is_the_state_refetched(
    transactional_db: None, alice: Persona, browse, launch, drain
) -> None:
    """A page that fetches itself whenever it is told of a server always shows what a reload would."""
    client = browse(alice)
    made: list[Instance] = []

    def ask(name: str) -> None:
        request(OPERATIONS[name], made[0], alice.actor)

    steps: list[Callable[[], Any]] = [
        lambda: made.append(launch(alice, "web")),
        drain,
        lambda: launch(alice, "second"),
        drain,
        lambda: update_instance(alice.actor, made[0], fields={"name": "renamed"}),
        lambda: ask("stop"),
        drain,
        lambda: ask("start"),
        drain,
        lambda: ask("reboot_hard"),
        drain,
        lambda: ask("delete"),
        drain,
    ]

    async def story() -> None:
        page = await opened(Page(client))
        held = await sync_to_async(shown)(client)
        for step in steps:
            await sync_to_async(step)()
            truth = await sync_to_async(shown)(client)
            if truth == held:
                continue
            kinds: set[str] = set()
            while "server" not in kinds:  # without a word about it within seconds, told() fails
                kinds |= {kind for kind, _ in await page.told()}
            await asyncio.sleep(0.1)
            while not await page.receive_nothing(timeout=0.05):
                await page.receive_output()
            held = truth
        assert held == await sync_to_async(shown)(client)
        await page.disconnect()

    run(story)
