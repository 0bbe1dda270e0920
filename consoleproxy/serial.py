"""The serial console: from a websocket of the portal to a guest's serial port.

It runs in the web process, so the page needs no second address. Messages from the browser, text or
binary, are what was typed; messages to it are binary, as the guest sent the bytes. A serial port has
no size, so none is ever told.

libvirt gives a serial port to the one who opened it last. Whoever had it before reads the reason.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs

from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from django.db import connections

from compute.hosts.connections import hypervisor_of
from compute.hypervisor.interface import Busy, Gone, HypervisorError, PowerState, SerialStream
from consoleproxy import origins, tokens
from consoleproxy.screens import NOT_RUNNING
from consoleproxy.sessions import Session, Sessions
from consoleproxy.tokens import Grant, Refused
from consoleproxy.wire import CHUNK_BYTES, ENDED, TOO_LARGE
from portal.requestid import working_on

log = logging.getLogger(__name__)

MOST_MESSAGE_BYTES = 64 << 10
MOST_MESSAGES_WAITING = 64
STUCK_SECONDS = 30.0
TAKEN_OVER = "Another console took over this serial port."

sessions = Sessions()

# A call into a silent host cannot be interrupted, only left behind; so few threads may ever wait there.
_openers = ThreadPoolExecutor(max_workers=4, thread_name_prefix="serial-open")


class Port:
    """An open serial port with a thread for each direction.

    ``on_data`` is called from a thread for each piece of output, and the next is read once it
    returns; ``on_end`` once, with the reason, unless ``close`` came first.
    """

    def __init__(self, stream: SerialStream, on_data: Callable[[bytes], None], on_end: Callable[[], None]) -> None:
        self._stream = stream
        self._on_data = on_data
        self._on_end = on_end
        self._typed: queue.Queue[bytes] = queue.Queue(MOST_MESSAGES_WAITING)
        self._closing = False
        for target in (self._read, self._write):
            threading.Thread(target=target, name="serial", daemon=True).start()

    def type(self, data: bytes) -> bool:
        """Hand over what was typed. False when the guest takes nothing and too much waits already."""
        try:
            self._typed.put_nowait(data)
        except queue.Full:
            return False
        return True

    def close(self) -> None:
        """End both threads. May block for as long as the host takes to hear it."""
        self._closing = True
        self._stream.close()
        with suppress(queue.Full):     # a writer that is behind finds the stream closed at its next piece
            self._typed.put_nowait(b"")

    def _read(self) -> None:
        while data := self._stream.receive(CHUNK_BYTES):
            self._on_data(data)
        if not self._closing:
            self._on_end()

    def _write(self) -> None:
        with suppress(HypervisorError):    # it has ended, and the reader says so
            while data := self._typed.get():
                self._stream.send(data)


class SerialConsole(AsyncWebsocketConsumer):  # type: ignore[misc]  # channels ships no types
    """One websocket: /ws/serial?token=…"""

    _port: Port | None = None
    _session: Session | None = None
    _ended = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Whatever ends the connection, also while it is being opened, gives back the port."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._release()

    async def connect(self) -> None:
        """Check the page, the token and the user; open the port. Refusals are 403 with a sentence."""
        self._loop = asyncio.get_running_loop()
        self._opened_at = time.monotonic()
        try:
            if not origins.origin_allowed(_headers(self.scope, b"origin")):
                raise Refused(origins.REFUSAL)
            self._session = await self._loop.run_in_executor(_openers, self._authorise)
            stream = await self._loop.run_in_executor(_openers, _open, self._session.grant)
        except Refused as refusal:
            await self._refuse(str(refusal))
            return
        await self.accept()
        self._say("opened by %s", self._client())
        self._port = Port(stream, self._from_guest, self._guest_ended)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """What was typed. Waits while the guest takes nothing, and no longer than half a minute."""
        data = bytes_data if bytes_data is not None else (text_data or "").encode()
        if len(data) > MOST_MESSAGE_BYTES:
            await self._end("The message is too large.", TOO_LARGE)
        deadline = time.monotonic() + STUCK_SECONDS
        while data and self._port and not self._ended and not self._port.type(data):
            if time.monotonic() > deadline:
                await self._end("The instance does not read its serial port.")
            await asyncio.sleep(0.05)

    # how it ends ----------------------------------------------------------------------------------
    async def _end(self, why: str, code: int = ENDED) -> None:
        """Close the websocket with a reason, once."""
        if self._ended:
            return
        await self._release(why)
        with suppress(RuntimeError, OSError):          # it has closed itself meanwhile
            await self.close(code=code, reason=why.encode()[:120].decode(errors="ignore"))

    async def _release(self, why: str = "by the browser") -> None:
        """Give back the port and the session, once."""
        self._ended = True
        if self._session is not None:
            sessions.finish(self._session)
        port, self._port = self._port, None
        if port is not None:
            self._say("closed after %.0f s: %s", time.monotonic() - self._opened_at, why)
            await self._loop.run_in_executor(_openers, port.close)

    async def _refuse(self, why: str) -> None:
        """403 with the sentence as its body, where the server can; a bare 403 otherwise."""
        log.warning("console refused to %s: %s", self._client(), why)
        if "websocket.http.response" not in self.scope.get("extensions", {}):
            await self.close()
            return
        headers = [(b"content-type", b"text/plain; charset=utf-8")]
        await self.base_send({"type": "websocket.http.response.start", "status": 403, "headers": headers})
        await self.base_send({"type": "websocket.http.response.body", "body": f"{why}\n".encode()})
        raise StopConsumer

    # called from other threads ----------------------------------------------------------------------
    def _from_guest(self, data: bytes) -> None:
        """Send output to the browser; returns once the server has taken it."""
        with suppress(CancelledError, RuntimeError, OSError):     # the browser is gone; the release follows
            asyncio.run_coroutine_threadsafe(self.send(bytes_data=data), self._loop).result()

    def _guest_ended(self) -> None:
        if self._session is not None:
            self._end_soon(_why_ended(self._session.grant))

    def _end_soon(self, why: str) -> None:
        with suppress(RuntimeError):                   # the server is stopping
            asyncio.run_coroutine_threadsafe(self._end(why), self._loop)

    def _authorise(self) -> Session:
        try:
            grant = tokens.authorise(_token_of(self.scope), "serial")
        finally:
            connections.close_all()
        return sessions.begin(grant, self._end_soon)

    # words -------------------------------------------------------------------------------------------
    def _client(self) -> str:
        return str((self.scope.get("client") or ["-"])[0])

    def _say(self, text: str, *args: Any) -> None:
        if self._session is None:
            return
        grant = self._session.grant
        with working_on(grant.request_id, grant.user_name, grant.project_name):
            log.info("serial port of instance %s " + text, grant.instance_id, *args)


def _open(grant: Grant) -> SerialStream:
    try:
        return hypervisor_of(grant.host).serial(grant.instance_id)
    except (Gone, Busy) as error:
        raise Refused(NOT_RUNNING) from error
    except HypervisorError as error:
        raise Refused("The host of the instance does not answer.") from error


def _why_ended(grant: Grant) -> str:
    """Why a stream came to its end: only the host knows whether the guest still runs."""
    try:
        guest = hypervisor_of(grant.host).guest(grant.instance_id)
    except HypervisorError:
        return "The host of the instance does not answer."
    return TAKEN_OVER if guest is not None and guest.power_state == PowerState.RUNNING else NOT_RUNNING


def _token_of(scope: dict[str, Any]) -> str:
    values = parse_qs(scope["query_string"].decode("latin-1")).get("token", [])
    return values[0] if len(values) == 1 else ""


def _headers(scope: dict[str, Any], wanted: bytes) -> list[str]:
    return [value.decode("latin-1") for name, value in scope["headers"] if name == wanted]
