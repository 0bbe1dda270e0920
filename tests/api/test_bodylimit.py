"""How much a request may bring: decided before any of it is taken in."""

from __future__ import annotations

import asyncio
import json
from importlib import import_module
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth import SESSION_KEY

from portal.bodylimit import SMALL_BYTES, BodyLimit

pytestmark = pytest.mark.django_db(transaction=True)
DATA = f"/image/v2/images/{uuid4()}/file"
CAP = 1 << 30
MIB = b"x" * (1 << 20)


class Outcome:
    """What became of a request: how much was read of it, and the answer."""

    def __init__(self) -> None:
        self.read = 0
        self.status = 0
        self.body = b""
        self.headers: dict[bytes, bytes] = {}


def ask(method: str, path: str, headers: dict[str, str], chunks: int, settings: Any) -> Outcome:
    settings.IMAGE_SIZE_CAP_BYTES = CAP
    outcome, left = Outcome(), chunks

    async def receive() -> dict[str, Any]:
        nonlocal left
        left -= 1
        outcome.read += 1
        return {"type": "http.request", "body": MIB, "more_body": left > 0}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            outcome.status, outcome.headers = message["status"], dict(message["headers"])
        else:
            outcome.body += message["body"]

    async def application(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["more_body"]:
            pass
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    sent = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": path, "headers": sent}
    asyncio.run(BodyLimit(application)(scope, receive, send))
    return outcome


def length(mib: int) -> dict[str, str]:
    return {"Content-Length": str(mib << 20)}


def test_a_token_opens_the_way_for_images(alice: Any, settings: Any) -> None:
    outcome = ask("PUT", DATA, {"X-Auth-Token": alice.token, **length(20)}, 20, settings)
    assert (outcome.status, outcome.read) == (204, 20)


@pytest.mark.parametrize("said", [{}, length(20)])
@pytest.mark.parametrize(
    "token", [{}, {"X-Auth-Token": "forged"}, {"X-Identity-Status": "Confirmed", "X-Roles": "admin"}]
)
def test_without_one_hardly_anything_is_taken(settings: Any, token: Any, said: Any) -> None:
    outcome = ask("PUT", DATA, {**token, **said}, 20, settings)
    assert outcome.status == 401
    assert outcome.read <= (0 if said else (SMALL_BYTES >> 20) + 1)
    assert json.loads(outcome.body)["error"]["code"] == 401
    assert outcome.headers[b"x-openstack-request-id"].startswith(b"req-")


def test_a_token_is_for_images_alone(alice: Any, settings: Any) -> None:
    for method, path in (
        ("POST", "/compute/v2.1/servers"),
        ("POST", "/image/v2/images"),
        ("POST", DATA),
        ("PUT", f"{DATA}x"),
    ):
        outcome = ask(method, path, {"X-Auth-Token": alice.token, **length(20)}, 20, settings)
        assert (outcome.status, outcome.read) == (413, 0), path
    assert set(json.loads(outcome.body)) == {"code", "title", "message"}


def test_nobody_brings_more_than_an_image_may_be(alice: Any, settings: Any) -> None:
    outcome = ask("PUT", DATA, {"X-Auth-Token": alice.token, **length(1025)}, 1, settings)
    assert (outcome.status, outcome.read) == (413, 0)
    assert str(CAP) in json.loads(outcome.body)["message"]
    outcome = ask("PUT", DATA, {"X-Auth-Token": alice.token}, 1025, settings)
    assert (outcome.status, outcome.read) == (413, 1025)


def test_the_upload_page_is_for_those_who_have_logged_in(alice: Any, settings: Any) -> None:
    store = import_module(settings.SESSION_ENGINE).SessionStore()
    store[SESSION_KEY] = alice.user.pk
    store.save()
    cookie = {"Cookie": f"other=1; {settings.SESSION_COOKIE_NAME}={store.session_key}"}
    assert ask("POST", "/images/upload", {**cookie, **length(20)}, 20, settings).status == 204
    for other in ({}, {"Cookie": f"{settings.SESSION_COOKIE_NAME}=guessed"}, {"Cookie": ";;;=\x01"}):
        outcome = ask("POST", "/images/upload", {**other, **length(20)}, 20, settings)
        assert (outcome.status, outcome.read) == (401, 0)
    assert ask("POST", "/images/", {**cookie, **length(20)}, 20, settings).status == 413


def test_small_requests_are_nobodys_business(settings: Any) -> None:
    for method, path in (("POST", "/identity/v3/auth/tokens"), ("PUT", DATA), ("GET", "/")):
        assert ask(method, path, {}, 8, settings).status == 204


def test_websockets_pass(settings: Any) -> None:
    seen = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    asyncio.run(BodyLimit(application)({"type": "websocket"}, None, None))  # type: ignore[arg-type]  # neither is called
    assert seen == ["websocket"]
