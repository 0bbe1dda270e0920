"""How requests are carried through the web process: a thread each, none for who is slow to send."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from django.core.signals import request_finished, request_started
from django.db import connection
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.urls import path

from portal.api.image.data import DataResponse
from portal.handler import Handler

pytestmark = pytest.mark.django_db(transaction=True)
TOGETHER = 64
PATIENCE = 120.0

seen: list[tuple[str, int]] = []
meeting = threading.Barrier(TOGETHER)
closed = threading.Event()


def look(request: HttpRequest) -> HttpResponse:
    """Uses the database."""
    connection.ensure_connection()
    seen.append(("view", threading.get_ident()))
    return HttpResponse(request.body)


def meet(request: HttpRequest) -> HttpResponse:
    """Answers only when all of them are here."""
    meeting.wait(PATIENCE)
    return HttpResponse("met")


def fail(request: HttpRequest) -> HttpResponse:
    """Goes wrong."""
    connection.ensure_connection()
    raise RuntimeError("wrong")


def endless(request: HttpRequest) -> HttpResponseBase:
    """Has no end but that of its reader."""
    connection.ensure_connection()

    def chunks() -> Iterator[bytes]:
        try:
            while True:
                yield b"x" * 1000
        finally:
            closed.set()

    return DataResponse(chunks())


urlpatterns = [path("look", look), path("meet", meet), path("fail", fail), path("endless", endless)]


@pytest.fixture
def handler(settings: Any) -> Handler:
    """A handler of these views."""
    settings.ROOT_URLCONF = __name__
    settings.DEBUG_PROPAGATE_EXCEPTIONS = False
    seen.clear()
    closed.clear()
    return Handler()


def scope_of(where: str) -> dict[str, Any]:
    headers = [(b"host", b"localhost")]
    return {"type": "http", "method": "GET", "path": where, "headers": headers, "query_string": b""}


async def ask(handler: Handler, where: str, body: bytes = b"") -> tuple[int, bytes]:
    """One request of a client that stays for the answer."""
    sent: list[Any] = []
    left = [{"type": "http.request", "body": body}]

    async def receive() -> Any:
        return left.pop() if left else await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    await handler(scope_of(where), receive, send)
    return sent[0]["status"], b"".join(one.get("body", b"") for one in sent[1:])


def run(work: Callable[[], Awaitable[Any]]) -> Any:
    async def limited() -> Any:
        return await asyncio.wait_for(work(), PATIENCE)

    return asyncio.run(limited())


def test_view_and_signals_are_in_one_thread_and_the_connection_goes_back(handler: Handler) -> None:
    def note(sender: Any, **_: Any) -> None:
        seen.append(("signal", threading.get_ident()))

    def open_still(sender: Any, **_: Any) -> None:
        seen.append(("open" if connection.connection else "closed", threading.get_ident()))

    request_started.connect(note)
    request_finished.connect(open_still)
    try:
        assert run(lambda: ask(handler, "/look", b"twice" * 2)) == (200, b"twicetwice")
    finally:
        request_started.disconnect(note)
        request_finished.disconnect(open_still)
    assert [what for what, _ in seen] == ["signal", "view", "closed"]
    assert len({thread for _, thread in seen}) == 1
    assert seen[0][1] != threading.get_ident()


def test_as_many_as_like_are_answered_at_once(handler: Handler) -> None:
    async def all_of_them() -> Any:
        return await asyncio.gather(*(ask(handler, "/meet") for _ in range(TOGETHER)))

    assert run(all_of_them) == [(200, b"met")] * TOGETHER


def test_who_is_slow_to_send_keeps_nobody_waiting(handler: Handler) -> None:
    async def never() -> Any:
        await asyncio.Event().wait()

    async def beside_slow_ones() -> Any:
        slow = [asyncio.create_task(handler(scope_of("/look"), never, never)) for _ in range(500)]
        answer = await ask(handler, "/look")
        assert not any(one.done() for one in slow)
        for one in slow:
            one.cancel()
        await asyncio.gather(*slow, return_exceptions=True)
        return answer

    assert run(beside_slow_ones) == (200, b"")


def test_a_view_that_goes_wrong_is_an_answer(handler: Handler, caplog: Any) -> None:
    async def again() -> Any:
        return [await ask(handler, "/fail"), await ask(handler, "/look", b"on")]

    (status, _), after = run(again)
    assert (status, after) == (500, (200, b"on"))


def test_what_nobody_reads_any_more_is_not_read_to_its_end(handler: Handler) -> None:
    """Nor does it keep the connection to the database while it is read."""
    enough = asyncio.Event()
    left = [{"type": "http.request"}]

    async def receive() -> Any:
        if left:
            return left.pop()
        await enough.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message.get("body"):
            enough.set()

    run(lambda: handler(scope_of("/endless"), receive, send))
    assert closed.wait(PATIENCE)


def test_who_leaves_before_the_body_is_whole_is_not_answered(handler: Handler) -> None:
    left = [{"type": "http.disconnect"}, {"type": "http.request", "body": b"half", "more_body": True}]
    sent: list[Any] = []

    async def receive() -> Any:
        return left.pop()

    async def send(message: Any) -> None:
        sent.append(message)

    run(lambda: handler(scope_of("/look"), receive, send))
    assert (sent, seen) == ([], [])
