"""What every page gets: a content security policy, and sentences instead of stack traces."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from compute.errors import NotFound
from portal.dashboard.views import errors
from portal.identity.policy import Forbidden


def _socket_origins() -> str:
    """Where pages may open websockets: the portal itself and the console proxy."""
    public = urlsplit(settings.PUBLIC_URL)
    console = urlsplit(settings.CONSOLE_PUBLIC_URL)
    scheme = "wss" if public.scheme == "https" else "ws"
    return f"{scheme}://{public.netloc} {console.scheme}://{console.netloc}"


def nonce_for_styles(request: HttpRequest) -> str:
    """A nonce that this one answer's policy accepts on <style>: xterm.js writes its own style elements."""
    nonce = secrets.token_urlsafe(16)
    request.style_nonce = nonce  # type: ignore[attr-defined]  # read when the policy is written
    return nonce


class ContentSecurityPolicyMiddleware:
    """Only our own scripts, styles and sockets; nothing inline, nothing framed."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        self.sockets = _socket_origins()

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        nonce = getattr(request, "style_nonce", None)
        styles = f"'self' 'nonce-{nonce}'" if nonce else "'self'"
        response.headers.setdefault(
            "Content-Security-Policy",
            f"default-src 'none'; script-src 'self'; style-src {styles}; img-src 'self' data:; font-src 'self'; "
            f"connect-src 'self' {self.sockets}; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
        )
        return response


class ActorMiddleware:
    """Who is asking (``request.actor``, set by the pages that need it), and what they are told when it goes wrong."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.actor = None  # type: ignore[attr-defined]  # see access.py
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Pages for the two errors that are not a form's: what is not there, and what is not allowed."""
        if isinstance(exception, NotFound):
            return errors.not_found(request, exception)
        if isinstance(exception, Forbidden):
            return errors.forbidden(request, exception)
        return None
