"""websockify's websocket, with bounds; and the pump that moves bytes between a browser and a screen."""

from __future__ import annotations

import contextlib
import select
import socket
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore", UserWarning)  # without numpy, which would cost more memory than it saves time
    from websockify.websocket import WebSocketWantReadError, WebSocketWantWriteError
    from websockify.websockifyserver import CompatibleWebSocket

# A message of a browser: noVNC sends at most 10 KiB at once; a paste is the longest.
MOST_MESSAGE_BYTES = 1 << 20
CHUNK_BYTES = 64 << 10
PING_SECONDS = 15.0
SILENCE_SECONDS = 45.0
WAIT_SECONDS = 1.0
GOODBYE_SECONDS = 1.0
# Close codes: RFC 6455's, and one of the range that it leaves to applications.
NORMAL, TOO_LARGE, ENDED = 1000, 1009, 4001


@dataclass(frozen=True)
class Closing:
    """How a session ends: the close code, and the sentence that goes with it."""

    code: int
    why: str


class TooLarge(Exception):
    """A browser sent a message beyond all bounds."""


class BoundedWebSocket(CompatibleWebSocket):  # type: ignore[misc]  # websockify ships no types
    """websockify's server socket, which here keeps no more than one message of bounded size in memory.

    websockify wants a call that could not write all to be made again with the same argument, and
    raises ValueError for another one in between, such as the answer to a ping. The rest of a message
    is in its buffer anyway: here ``flush`` writes it, and nothing else is begun while ``is_writing``.
    """

    def __init__(self, handler: Any) -> None:
        super().__init__(handler)
        self.heard_at = time.monotonic()

    @property
    def is_closing(self) -> bool:
        """Whether a close frame was sent or has come."""
        return bool(self._sent_close or self._received_close)

    @property
    def is_writing(self) -> bool:
        """Whether a message, or a part of one, waits to be written."""
        return bool(self._send_buffer)

    def write(self, message: bytes) -> None:
        """Begin a message; only when nothing waits to be written."""
        self._part(self.sendmsg, message)

    def flush(self) -> None:
        """Write more of what waits."""
        self._part(self._flush)

    def handle_ping(self, data: bytes) -> None:
        """Answer, unless a message waits: by that one the browser sees that somebody is here."""
        if not self.is_writing:
            self._part(self.pong, data)

    def send_ping(self) -> None:
        """Ask the browser whether it is there, unless a message waits."""
        if not self.is_writing:
            self._part(self.ping)

    def _part(self, write: Callable[..., Any], *args: bytes) -> None:
        with contextlib.suppress(WebSocketWantWriteError):
            write(*args)
        self._previous_sendmsg = None

    def _recv(self) -> bool:
        heard = bool(super()._recv())
        self.heard_at = time.monotonic()
        if len(self._recv_buffer) + len(self._partial_msg) > MOST_MESSAGE_BYTES:
            raise TooLarge
        return heard


class Pump:
    """Moves bytes between a browser and a screen until one of them, or somebody else, ends it.

    It reads from one side only what the other has room for, so a slow reader costs no memory.
    """

    def __init__(self, browser: BoundedWebSocket, screen: socket.socket) -> None:
        self._browser = browser
        self._screen = screen
        self._to_screen = bytearray()
        self._ping_at = time.monotonic() + PING_SECONDS
        browser.setblocking(False)
        screen.setblocking(False)

    def run(self, told_to_end: Callable[[], str]) -> Closing:
        """Pump until the end. ``told_to_end`` gives the reason once there is one; asked every second."""
        try:
            while True:
                if why := told_to_end():
                    return Closing(ENDED, why)
                if closing := self._turn():
                    return closing
        except TooLarge:
            return Closing(TOO_LARGE, "The message is too large.")
        except OSError:
            return Closing(NORMAL, "The connection was lost.")

    def close(self, closing: Closing) -> None:
        """Say goodbye to the browser, and give it a moment to hear it."""
        raw = self._browser.socket
        if raw is None:  # it said goodbye first
            return
        reason = closing.why.encode()[:120].decode(errors="ignore")
        with contextlib.suppress(OSError):
            self._browser.shutdown(socket.SHUT_RDWR, closing.code, reason)
            raw.shutdown(socket.SHUT_WR)
            raw.settimeout(GOODBYE_SECONDS)
            deadline = time.monotonic() + GOODBYE_SECONDS
            # Closing with bytes unread would reset the connection, and the goodbye would be lost.
            while time.monotonic() < deadline and raw.recv(CHUNK_BYTES):
                pass

    def _turn(self) -> Closing | None:
        now = time.monotonic()
        if now - self._browser.heard_at > SILENCE_SECONDS:
            return Closing(NORMAL, "The browser is silent.")
        if now > self._ping_at:
            self._ping_at = now + PING_SECONDS
            self._browser.send_ping()
        browser, screen = self._wait()
        if browser & select.POLLOUT:
            self._browser.flush()
        if browser & ~select.POLLOUT or self._browser_has_more():
            self._read_browser()
        if self._browser.is_closing:
            return Closing(NORMAL, "The browser closed it.")
        if self._to_screen:
            self._write_screen()
        if screen & ~select.POLLOUT and not self._browser.is_writing and not self._read_screen():
            return Closing(NORMAL, "The instance's screen is gone: it was stopped or restarted.")
        return None

    def _wait(self) -> tuple[int, int]:
        """What happened to the browser and to the screen. A side with nothing to wait for is not asked."""
        writing, room = self._browser.is_writing, len(self._to_screen) < CHUNK_BYTES
        browser, screen = self._browser.fileno(), self._screen.fileno()
        poll = select.poll()
        if events := (select.POLLIN if room else 0) | (select.POLLOUT if writing else 0):
            poll.register(browser, events)
        if events := (select.POLLIN if not writing else 0) | (select.POLLOUT if self._to_screen else 0):
            poll.register(screen, events)
        happened = dict(poll.poll(0 if self._browser_has_more() else WAIT_SECONDS * 1000))
        return happened.get(browser, 0), happened.get(screen, 0)

    def _browser_has_more(self) -> bool:
        """Whether messages that came already are still to be looked at, and there is room for them."""
        return bool(self._browser.pending()) and len(self._to_screen) < CHUNK_BYTES

    def _read_browser(self) -> None:
        with contextlib.suppress(WebSocketWantReadError):
            self._to_screen += self._browser.recvmsg() or b""

    def _write_screen(self) -> None:
        with contextlib.suppress(BlockingIOError):
            del self._to_screen[: self._screen.send(self._to_screen)]

    def _read_screen(self) -> bool:
        """Read a chunk and send it on. False when the screen has ended."""
        try:
            chunk = self._screen.recv(CHUNK_BYTES)
        except BlockingIOError:
            return True
        if chunk:
            self._browser.write(chunk)
        return bool(chunk)
