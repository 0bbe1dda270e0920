"""How large a request may be, decided before any of it is taken in.

Django puts a request's whole body into a temporary file before anybody has asked who sends it. So a
stranger could fill the disk. Here, only those who may upload send more than a form or a JSON document,
and nobody sends more than an image may be.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from importlib import import_module
from typing import Any

import orjson
from channels.db import database_sync_to_async
from django.conf import settings
from django.contrib.auth import SESSION_KEY

from portal.api.errors import body, form_of_path
from portal.identity.tokens import InvalidToken, read
from portal.requestid import HEADERS, new_request_id

SMALL_BYTES = 8 << 20
# A form around a file.
FORM_BYTES = 1 << 20
IMAGE_DATA = re.compile(r"/image/v2/images/[^/]+/file")
UPLOAD_PAGE = "/images/upload"
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
# Django's and channels' own types of the same protocol differ in the kind of mapping.
Application = Callable[[Any, Any, Any], Awaitable[None]]


class _TooMuch(Exception):
    """The body went on beyond the limit."""


class BodyLimit:
    """ASGI: refuses what is too large for its sender, by the length that it says or by counting."""

    def __init__(self, application: Application) -> None:
        self.application = application
        # Where Django keeps bodies while they come in: beside the data, not on what may be a small /tmp.
        tempfile.tempdir = str(settings.FILE_UPLOAD_TEMP_DIR)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.application(scope, receive, send)
        limit, known = await _limit(scope)
        taken, started = 0, False

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > limit:
                raise _TooMuch
            return message

        async def noticed(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            if _length(scope) > limit:
                raise _TooMuch
            await self.application(scope, counted, noticed)
        except _TooMuch:
            if not started:
                await _refuse(scope, send, limit, known)


async def _limit(scope: Message) -> tuple[int, bool]:
    """How many bytes this request may have, and False for a stranger who could have more after logging in."""
    path = scope["path"]
    if scope["method"] == "PUT" and IMAGE_DATA.fullmatch(path):
        known = await _in_thread(_has_token, _header(scope, b"x-auth-token"))
        return (settings.IMAGE_SIZE_CAP_BYTES, True) if known else (SMALL_BYTES, False)
    if scope["method"] == "POST" and path == UPLOAD_PAGE:
        known = await _in_thread(_has_session, _header(scope, b"cookie"))
        return (settings.IMAGE_SIZE_CAP_BYTES + FORM_BYTES, True) if known else (SMALL_BYTES, False)
    return SMALL_BYTES, True


async def _in_thread(ask: Callable[[str], bool], text: str) -> bool:
    return bool(await database_sync_to_async(ask)(text))


def _has_token(text: str) -> bool:
    try:
        read(text)
    except InvalidToken:
        return False
    return True


def _has_session(cookies: str) -> bool:
    try:
        cookie = SimpleCookie(cookies).get(settings.SESSION_COOKIE_NAME)
    except CookieError:
        return False
    if cookie is None:
        return False
    return SESSION_KEY in import_module(settings.SESSION_ENGINE).SessionStore(cookie.value)


def _header(scope: Message, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name), "")


def _length(scope: Message) -> int:
    text = _header(scope, b"content-length")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0


async def _refuse(scope: Message, send: Send, limit: int, known: bool) -> None:
    if known:
        status, sentence = 413, f"The request is larger than is taken here ({limit} bytes)."
        answer = body(form_of_path(scope["path"]), status, sentence)
    else:
        status, sentence = 401, "Log in first: data this large is taken from those who may upload it."
        answer = body("identity", status, sentence)
    request_id = new_request_id().encode()
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    headers += [(name.lower().encode(), request_id) for name in HEADERS]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": orjson.dumps(answer)})
