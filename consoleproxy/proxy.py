"""The VNC proxy: from a websocket of noVNC to the screen of a guest.

websockify does the protocol; who may connect, and where to, is ours. One thread serves a console
(websockify's other way, a process for each, costs tens of megabytes every time and carries database
connections over a fork). The target lives in the handler, never on the server: websockify's own
token plug-ins put it there, where two connections at once could get each other's guest.

It serves no files, lists nothing and redirects nowhere (OSSA-2021-002), and it writes no log line of
websockify's, which would name the token (OSSA-2020-001).
"""

from __future__ import annotations

import logging
import socket
import sys
import threading
import time
from contextlib import ExitStack, suppress
from typing import Any
from urllib.parse import parse_qs, urlsplit

from django.db import connections

from consoleproxy import origins, screens, tokens
from consoleproxy.sessions import Session, Sessions
from consoleproxy.tokens import Refused
from consoleproxy.wire import BoundedWebSocket, Pump
from portal.requestid import working_on

# After consoleproxy.wire, which keeps websockify from warning that it found no numpy.
from websockify.websocketproxy import LibProxyServer, ProxyRequestHandler  # isort: skip

log = logging.getLogger(__name__)

HANDSHAKE_SECONDS = 10.0
MOST_CONNECTIONS = 512
LAST_WORDS_SECONDS = 3.0


class Handler(ProxyRequestHandler):  # type: ignore[misc]  # websockify ships no types
    """One connection: a websocket with a valid token, or an answer in plain text."""

    SocketClass = BoundedWebSocket
    server: Proxy
    server_version = "Nacelle"
    sys_version = ""
    error_content_type = "text/plain; charset=utf-8"
    error_message_format = "%(message)s\n"
    timeout = HANDSHAKE_SECONDS

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: these lines carry the path, and so the token. Ours are in ``handle_upgrade``."""

    def handle_upgrade(self) -> None:
        """Check the page, the token and the user; find the screen; then speak websocket."""
        with ExitStack() as held:
            try:
                self._prepare(held)
            except Refused as refusal:
                log.warning("console refused to %s: %s", self.client_address[0], refusal)
                self.send_error(403, str(refusal))
                return
            finally:
                connections.close_all()
            super().handle_upgrade()

    def new_websocket_client(self) -> None:
        """The handshake is done: pump until somebody ends it."""
        self.server.handshake_done(self)
        grant = self._session.grant
        log.info("screen of instance %s opened by %s", grant.instance_id, self.client_address[0])
        started = time.monotonic()
        pump = Pump(self.request, self._screen)
        closing = pump.run(lambda: self._told_to_end)
        seconds = time.monotonic() - started
        log.info("screen of instance %s closed after %.0f s: %s", grant.instance_id, seconds, closing.why)
        pump.close(closing)

    def _prepare(self, held: ExitStack) -> None:
        """All that can be refused. What it opens is closed with ``held``."""
        if not origins.origin_allowed(self.headers.get_all("Origin", [])):
            raise Refused(origins.REFUSAL)
        grant = tokens.authorise(_token_of(self.path), "novnc")
        held.enter_context(working_on(grant.request_id, grant.user_name, grant.project_name))
        self._told_to_end = ""
        self._session: Session = held.enter_context(self.server.sessions.held(grant, self._end))
        self._screen: socket.socket = held.enter_context(screens.connect(grant))

    def _end(self, why: str) -> None:
        self._told_to_end = why


class Proxy(LibProxyServer):  # type: ignore[misc]  # nor types for its server
    """The listening side. ``address`` is (host, port); raises OSError when it cannot be had."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int]) -> None:
        self.sessions = Sessions()
        self._shaking_hands: dict[socket.socket, float] = {}
        self._open = 0
        self._lock = threading.Lock()
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(Handler, listen_host=address[0], listen_port=address[1])

    def server_bind(self) -> None:
        """Bind, without asking the name service what our address is called."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address: Any = self.socket.getsockname()
        self.server_name, self.server_port = self.server_address[:2]

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether there is room for one more connection."""
        return self._open < MOST_CONNECTIONS

    def process_request_thread(self, request: socket.socket, client_address: Any) -> None:
        """One connection, from the first byte to the last."""
        with self._lock:
            self._open += 1
            self._shaking_hands[request] = time.monotonic() + HANDSHAKE_SECONDS
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._open -= 1
                self._shaking_hands.pop(request, None)

    def handshake_done(self, handler: Handler) -> None:
        """This connection has shown who it is; it may take its time now."""
        with self._lock:
            self._shaking_hands.pop(handler.connection, None)

    def service_actions(self) -> None:
        """Twice a second: hang up on whoever sends a request byte by byte."""
        now = time.monotonic()
        with self._lock:
            late = [request for request, deadline in self._shaking_hands.items() if deadline < now]
        for request in late:
            _hang_up(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke off is no news; anything else is a fault of ours."""
        if not isinstance(sys.exc_info()[1], OSError):
            log.exception("connection of %s", client_address[0])

    def stop(self) -> None:
        """Stop listening, end the consoles, and give them a moment to say goodbye. From any thread."""
        self.shutdown()
        self.server_close()
        self.sessions.end_all("The console proxy is stopping. Open the console again.")
        deadline = time.monotonic() + LAST_WORDS_SECONDS
        while len(self.sessions) and time.monotonic() < deadline:
            time.sleep(0.05)


def _token_of(path: str) -> str:
    """The token in the query of a request; empty when there is none, or more than one."""
    values = parse_qs(urlsplit(path).query).get("token", [])
    return values[0] if len(values) == 1 else ""


def _hang_up(request: socket.socket) -> None:
    with suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)
