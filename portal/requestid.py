"""The request id: one name that follows an operation through web, worker and watcher.

OpenStack's form is ``req-`` and a UUID. The id, user and project of what is being worked on live in
context variables, so that every log line and every row written on the way carries them.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from django.http import HttpRequest, HttpResponse

HEADERS = ("X-Openstack-Request-Id", "X-Compute-Request-Id")


@dataclass(frozen=True)
class Context:
    """What a log line says of who is behind it."""

    request_id: str = ""
    user: str = "-"
    project: str = "-"


NOBODY = Context()
_current: ContextVar[Context] = ContextVar("nacelle_context", default=NOBODY)


def new_request_id() -> str:
    """A fresh id, ``req-<uuid4>``."""
    return f"req-{uuid.uuid4()}"


def current() -> Context:
    """The context of the work under way; empty outside any."""
    return _current.get()


def current_request_id() -> str:
    """The id of the work under way; a fresh one outside any (a management command, say)."""
    return _current.get().request_id or new_request_id()


def identify(user: str, project: str) -> None:
    """Say who is behind the request, once that is known."""
    _current.set(Context(_current.get().request_id, user or "-", project or "-"))


@contextmanager
def working_on(request_id: str, user: str = "-", project: str = "-") -> Iterator[None]:
    """Run a block under this request id: a worker's way in."""
    token = _current.set(Context(request_id, user or "-", project or "-"))
    try:
        yield
    finally:
        _current.reset(token)


class RequestIdMiddleware:
    """Gives each request its id, and each answer the headers that name it.

    The id is always fresh, never the caller's, so ids in the action log cannot be forged.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        with working_on(new_request_id()):
            response = self.get_response(request)
            for header in HEADERS:
                response[header] = current().request_id
            return response
