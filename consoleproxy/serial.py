"""The serial console: from a websocket of the portal to a guest's serial port.

It runs in the web process, so the page needs no second address. Messages from the browser, text or
binary, are what was typed; messages to it are binary, as the guest sent the bytes. A serial port has
no size, so none is ever told.

libvirt gives a serial port to the one who opened it last. Whoever had it before reads the reason.
A real serial line loses what nobody reads in time, and so does this one: a guest that writes faster
than the browser reads costs no memory.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID

from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from django.db import connections

from compute.hosts.asking import ask_host
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
MOST_OUTPUT_BYTES = 1 << 20
STUCK_SECONDS = 30.0
# A guest that is being cut off still counts as running for this long, at most.
STOPPING_SECONDS = 5.0
TAKEN_OVER = "Another console took over this serial port."
OUTPUT_LOST = b"\r\n[output was lost here]\r\n"

sessions = Sessions()

# A call into a silent host cannot be interrupted, only left behind; so few threads may ever wait there.
_openers = ThreadPoolExecutor(max_workers=4, thread_name_prefix="serial-open")


class Port:
    """An open serial port, with a thread for each direction.

    ``on_news`` is called from a thread when there is something to ``take``, and when ``ended`` came true.
    """

    def __init__(self, stream: SerialStream, on_news: Callable[[], None]) -> None:
        self.ended = False
        self._stream = stream
        self._on_news = on_news
        self._lock = threading.Lock()
        self._output = bytearray()
        self._typed: queue.Queue[bytes] = queue.Queue(MOST_MESSAGES_WAITING)
        for target in (self._read, self._write):
            threading.Thread(target=target, name="serial", daemon=True).start()

    def take(self) -> bytes:
        """What the guest wrote since the last time, a chunk of it at most; b"" if nothing."""
        with self._lock:
            data = bytes(self._output[:CHUNK_BYTES])
            del self._output[:CHUNK_BYTES]
        return data

    def type(self, data: bytes) -> bool:
        """Hand over what was typed. False when the guest takes nothing and too much waits already."""
        try:
            self._typed.put_nowait(data)
        except queue.Full:
            return False
        return True

    def close(self) -> None:
        """End both threads. May block for as long as the host takes to hear it."""
        self._stream.close()
        with suppress(queue.Full):  # a writer that is behind finds the stream closed at its next piece
            self._typed.put_nowait(b"")

    def _read(self) -> None:
        while data := self._stream.receive(CHUNK_BYTES):
            with self._lock:
                self._output += data
                if len(self._output) > MOST_OUTPUT_BYTES:
                    self._output[: -MOST_OUTPUT_BYTES // 2] = OUTPUT_LOST
            self._on_news()
        self.ended = True
        self._on_news()

    def _write(self) -> None:
        with suppress(HypervisorError):  # it has ended, and the reader says so
            while data := self._typed.get():
                self._stream.send(data)


class SerialConsole(AsyncWebsocketConsumer):  # type: ignore[misc]  # channels ships no types
    """One websocket: /ws/serial?token=…"""

    _port: Port | None = None
    _session: Session | None = None
    _sending: asyncio.Task[None] | None = None
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
        self._news = asyncio.Event()
        self._opened_at = time.monotonic()
        try:
            if not origins.origin_allowed(_headers(self.scope, b"origin")):
                raise Refused(origins.REFUSAL)
            self._session = await self._loop.run_in_executor(_openers, self._authorise)
            stream = await self._loop.run_in_executor(_openers, _open, self._session.grant)
        except Refused as refusal:
            await self._refuse(str(refusal))
            return
        self._port = Port(stream, self._wake)
        former = _holders.get(self._session.grant.instance_id)
        _holders[self._session.grant.instance_id] = self
        await self.accept()
        self._say("opened by %s", self._client())
        self._sending = self._loop.create_task(self._send_output(self._port, self._session.grant))
        if former is not None:
            await former._end(TAKEN_OVER)

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
        with suppress(RuntimeError, OSError):  # it has closed itself meanwhile
            await self.close(code=code, reason=why.encode()[:120].decode(errors="ignore"))

    async def _release(self, why: str = "by the browser") -> None:
        """Give back the port and the session, once."""
        self._ended = True
        if self._session is not None:
            sessions.finish(self._session)
            if _holders.get(self._session.grant.instance_id) is self:
                del _holders[self._session.grant.instance_id]
        if self._sending is not None and self._sending is not asyncio.current_task():
            self._sending.cancel()
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

    async def _send_output(self, port: Port, grant: Grant) -> None:
        """What the guest writes, as fast as the browser reads it; then why it stopped."""
        with suppress(RuntimeError, OSError):  # the browser is gone; the release follows
            while not port.ended:
                await self._news.wait()
                self._news.clear()
                while data := port.take():
                    await self.send(bytes_data=data)
            await self._end(await self._loop.run_in_executor(_openers, _why_ended, grant))

    # called from other threads ----------------------------------------------------------------------
    def _wake(self) -> None:
        with suppress(RuntimeError):  # the server is stopping
            self._loop.call_soon_threadsafe(self._news.set)

    def _end_soon(self, why: str) -> None:
        with suppress(RuntimeError):  # the server is stopping
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


# Who has the serial port of which instance, among the websockets of this process.
_holders: dict[UUID, SerialConsole] = {}


def _open(grant: Grant) -> SerialStream:
    try:
        port: SerialStream = ask_host(grant.host, "serial", grant.instance_id)
    except (Gone, Busy) as error:
        raise Refused(NOT_RUNNING) from error
    except HypervisorError as error:
        raise Refused("The host of the instance does not answer.") from error
    finally:
        connections.close_all()
    return port


def _why_ended(grant: Grant) -> str:
    """Why a stream came to its end. Only the host knows whether the guest still runs; it may need a moment."""
    try:
        return _asked_why(grant)
    finally:
        connections.close_all()


def _asked_why(grant: Grant) -> str:
    deadline = time.monotonic() + STOPPING_SECONDS
    while time.monotonic() < deadline:
        try:
            guest = ask_host(grant.host, "guest", grant.instance_id)
        except HypervisorError:
            return "The host of the instance does not answer."
        if guest is None or guest.power_state != PowerState.RUNNING:
            return NOT_RUNNING
        time.sleep(0.2)
    return TAKEN_OVER


def _token_of(scope: dict[str, Any]) -> str:
    values = parse_qs(scope["query_string"].decode("latin-1")).get("token", [])
    return values[0] if len(values) == 1 else ""


def _headers(scope: dict[str, Any], wanted: bytes) -> list[str]:
    return [value.decode("latin-1") for name, value in scope["headers"] if name == wanted]
