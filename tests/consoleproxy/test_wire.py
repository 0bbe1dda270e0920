"""The pump between a browser and a screen, with hand-made frames on a socket pair."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from typing import ClassVar

import pytest

from consoleproxy import wire
from consoleproxy.wire import BoundedWebSocket, Closing, Pump


def frame(opcode: int, payload: bytes, fin: bool = True) -> bytes:
    """A masked frame, as browsers send them."""
    head = bytes([(0x80 if fin else 0) | opcode])
    if len(payload) < 126:
        head += bytes([0x80 | len(payload)])
    elif len(payload) < 1 << 16:
        head += struct.pack(">BH", 0x80 | 126, len(payload))
    else:
        head += struct.pack(">BQ", 0x80 | 127, len(payload))
    mask = b"\x37\xfa\x21\x3d"
    return head + mask + bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))


class Rig:
    """A pump in a thread, with the test at both ends."""

    HEADERS: ClassVar = {"upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "x"}

    def __init__(self) -> None:
        self.browser, server_side = socket.socketpair()
        self.screen, guest_side = socket.socketpair()
        self.websocket = BoundedWebSocket(self)
        self.websocket.accept(server_side, self.HEADERS)
        self.pump = Pump(self.websocket, guest_side)
        self.why = ""
        self.closing: Closing | None = None
        self.thread = threading.Thread(target=self._run)
        for mine in (self.browser, self.screen):
            mine.settimeout(30)

    def _run(self) -> None:
        self.closing = self.pump.run(lambda: self.why)
        self.pump.close(self.closing)

    def send_response(self, *_: object) -> None:
        """websockify's handshake is not what is tested."""

    send_header = send_response

    def end_headers(self) -> None:
        """As above."""

    def ended(self, seconds: float = 6.0) -> Closing:
        self.thread.join(seconds)
        assert self.closing is not None, "it never ended"
        return self.closing


@pytest.fixture
def rig():
    built = Rig()
    built.thread.start()
    yield built
    built.why = "the test is over"
    for mine in (built.browser, built.screen):
        with contextlib.suppress(OSError):
            mine.close()
    built.thread.join(10)
    assert not built.thread.is_alive()


def read(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        got = sock.recv(size - len(data))
        assert got, f"it ended after {data!r}"
        data += got
    return data


def test_frames_in_pieces_and_several_at_once(rig):
    message = frame(2, b"hello")
    for byte in message:
        rig.browser.sendall(bytes([byte]))
    rig.browser.sendall(frame(2, b" wo", fin=False) + frame(0, b"rld") + frame(2, b"!") + frame(2, b""))
    assert read(rig.screen, 12) == b"hello world!"


def test_pings_are_answered_also_while_data_flows(rig):
    rig.browser.sendall(frame(9, b"are you there"))
    assert read(rig.browser, 15) == b"\x8a\x0dare you there"


def test_a_flood_of_pings_that_nobody_reads_the_answers_of_costs_nothing(rig):
    rig.browser.settimeout(2)
    with contextlib.suppress(TimeoutError):
        for _ in range(30_000):
            rig.browser.sendall(frame(9, b"x" * 125))
    assert len(rig.websocket._send_buffer) < 4096


def test_a_browser_that_does_not_read_holds_back_the_screen(rig):
    rig.screen.settimeout(1)
    sent = 0
    with contextlib.suppress(TimeoutError):
        while sent < 64 << 20:
            sent += rig.screen.send(b"x" * 65536)
    assert sent < 8 << 20
    assert len(rig.websocket._send_buffer) <= wire.CHUNK_BYTES + 16
    got = 0
    rig.browser.settimeout(30)
    while got <= sent:  # all of it, and the frames' heads
        got += len(rig.browser.recv(1 << 20))


def test_a_slow_browser_may_ping_in_the_middle_of_a_message(rig):
    """websockify alone raises ValueError here."""
    rig.screen.settimeout(1)
    with contextlib.suppress(TimeoutError):
        while True:
            rig.screen.send(b"x" * 65536)
    rig.browser.sendall(frame(9, b"ping") + frame(2, b"typed"))
    rig.browser.settimeout(30)
    threading.Thread(target=drink, args=(rig.browser,), daemon=True).start()
    rig.screen.settimeout(30)
    assert read(rig.screen, 5) == b"typed"


def drink(browser):
    """Take all that comes, to the end."""
    with contextlib.suppress(OSError):
        while browser.recv(1 << 20):
            pass


def test_the_end_has_a_code_and_a_sentence(rig):
    rig.why = "The instance was deleted."
    assert read(rig.browser, 2)[0] == 0x88
    assert rig.ended() == Closing(wire.ENDED, "The instance was deleted.")


def test_a_long_sentence_is_cut_to_what_a_frame_may_carry(rig):
    rig.why = "ä" * 200
    head = read(rig.browser, 2)
    assert head[0] == 0x88 and head[1] <= 125
    read(rig.browser, 2)
    assert set(read(rig.browser, head[1] - 2).decode()) == {"ä"}


def test_a_browser_that_says_goodbye_gets_one_back(rig):
    rig.browser.sendall(frame(8, struct.pack(">H", 1000)))
    assert read(rig.browser, 4) == b"\x88\x02" + struct.pack(">H", 1000)
    assert rig.ended().why == "The browser closed it."


def test_a_browser_that_vanishes(rig):
    rig.browser.close()
    assert rig.ended().code == wire.NORMAL


def test_a_screen_that_ends_after_its_last_words(rig):
    rig.screen.sendall(b"bye")
    rig.screen.close()
    assert read(rig.browser, 5) == b"\x82\x03bye"
    assert "stopped or restarted" in rig.ended().why


def test_silence_is_noticed(monkeypatch):
    monkeypatch.setattr(wire, "PING_SECONDS", 0.5)
    monkeypatch.setattr(wire, "SILENCE_SECONDS", 3.0)
    silent = Rig()
    silent.thread.start()
    started = time.monotonic()
    assert read(silent.browser, 2) == b"\x89\x00"  # it asks whether anybody is there
    assert silent.ended(30).why == "The browser is silent."
    assert time.monotonic() - started > 2.5


def test_an_answered_ping_keeps_it_open(monkeypatch):
    monkeypatch.setattr(wire, "PING_SECONDS", 0.5)
    monkeypatch.setattr(wire, "SILENCE_SECONDS", 3.0)
    alive = Rig()
    alive.thread.start()
    for _ in range(5):
        assert read(alive.browser, 2) == b"\x89\x00"
        alive.browser.sendall(frame(10, b""))
    assert alive.closing is None
    alive.why = "done"
    assert alive.ended().why == "done"


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"\x82\x05hello", 1002),  # not masked
        (frame(1, b"text"), 1003),
        (frame(0, b"a continuation of nothing"), 1002),
        (frame(11, b"?"), 1003),
    ],
)
def test_what_is_no_protocol_ends_it(rig, sent, code):
    rig.browser.sendall(sent)
    head = read(rig.browser, 4)
    assert (head[0], struct.unpack(">H", head[2:])[0]) == (0x88, code)
    rig.ended()


@pytest.mark.parametrize("claimed", [2 << 20, 1 << 62])
def test_a_frame_that_claims_too_much_is_not_waited_for(rig, claimed):
    rig.browser.sendall(b"\x82" + struct.pack(">BQ", 0x80 | 127, claimed) + b"mask")
    with contextlib.suppress(OSError):
        for _ in range(100):
            rig.browser.sendall(b"x" * 65536)
    assert rig.ended().code == wire.TOO_LARGE


def test_a_message_without_an_end_is_not_kept(rig):
    with contextlib.suppress(OSError):
        rig.browser.sendall(frame(2, b"x" * 65536, fin=False))
        for _ in range(40):
            rig.browser.sendall(frame(0, b"x" * 65536, fin=False))
    assert rig.ended().code == wire.TOO_LARGE
