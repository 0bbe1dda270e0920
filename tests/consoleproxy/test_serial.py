"""The serial console through the real web process: the fake guest says back what it hears."""

from __future__ import annotations

import socket
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.utils import timezone
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from compute.hosts.connections import hypervisor_of
from compute.hypervisor.interface import Failed, PowerState
from compute.models import Host, HostState
from consoleproxy import serial
from consoleproxy.models import ConsoleToken
from consoleproxy.serial import MOST_MESSAGE_BYTES, MOST_MESSAGES_WAITING, MOST_OUTPUT_BYTES, OUTPUT_LOST, Port
from consoleproxy.tokens import authorise
from tests.consoleproxy.conftest import ENDED, Program, boot, closing, free_port, new_token, wait_until
from tests.consoleproxy.test_proxy import delete, demote, disable, move, stop

pytestmark = pytest.mark.django_db(transaction=True)

RUN = "import django; django.setup(); from portal.setup.programs import web; web()"


class Web(Program):
    """The web process, as the supervisor runs it."""

    def __init__(self, log: Path) -> None:
        self.port = free_port()
        self.origin = f"http://127.0.0.1:{self.port}"
        super().__init__(["-c", RUN], log, NACELLE_BIND=f"127.0.0.1:{self.port}")
        self.wait_for_port(self.port)

    def open(self, token: str, origin: str | None = "", **extra) -> ClientConnection:
        """A websocket, as the page opens it."""
        url = f"ws://127.0.0.1:{self.port}/ws/serial?token={token}"
        return connect(url, origin=self.origin if origin == "" else origin, proxy=None, **extra)

    def refusal(self, token: str, origin: str | None = "") -> str:
        """The sentence with which it is refused."""
        with pytest.raises(InvalidStatus) as refused, self.open(token, origin):
            pass
        assert refused.value.response.status_code == 403
        return refused.value.response.body.decode()


@pytest.fixture(scope="module")
def web(django_db_setup, tmp_path_factory):
    """One for all tests."""
    running = Web(tmp_path_factory.mktemp("web") / "log")
    yield running
    running.stop()
    assert "Traceback" not in running.text()
    assert "never retrieved" not in running.text()


def test_what_is_typed_comes_back_as_bytes(web, server, alice):
    token = new_token(server, alice, "serial")
    with web.open(token) as websocket:
        for typed in ("uname -a\r", b"\x03", "größer ☃", '{"resize": [80, 24]}'):
            websocket.send(typed)
            assert websocket.recv(timeout=30) == (typed if isinstance(typed, bytes) else typed.encode())
        websocket.send(b"")
        large = bytes(range(256)) * 200
        websocket.send(large)
        got = b""
        while len(got) < len(large):
            got += websocket.recv(timeout=30)
        assert got == large
    wait_until(lambda: f"serial port of instance {server.pk} closed" in web.text())
    (line,) = [line for line in web.text().splitlines() if f"serial port of instance {server.pk} opened" in line]
    assert f"INFO consoleproxy.serial [{ConsoleToken.objects.get().request_id} alice demo] " in line


def test_no_token_in_any_line_of_the_web_process(web, server, alice):
    good, wrong = new_token(server, alice, "serial"), new_token(server, alice, "novnc")
    with web.open(good) as websocket:
        websocket.send(b"x")
        assert websocket.recv(timeout=30) == b"x"
    web.refusal(wrong)
    web.refusal(good, "http://evil.example")
    assert "serial port of instance" in web.text()
    assert good not in web.text() and wrong not in web.text()


def test_tokens_that_open_nothing(web, server, alice):
    expired = new_token(server, alice, "serial")
    ConsoleToken.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    for token in (expired, new_token(server, alice, "novnc"), "", "x" * 43, "x" * 5000, "%ff%00"):
        assert "not known here or has expired" in web.refusal(token)


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:6080", "https://127.0.0.1"])
def test_pages_of_other_origins_open_nothing(web, server, alice, origin):
    assert "its origin is not the portal's" in web.refusal(new_token(server, alice, "serial"), origin)


def test_programs_without_an_origin_may(web, server, alice):
    with web.open(new_token(server, alice, "serial"), None) as websocket:
        websocket.send(b"x")
        assert websocket.recv(timeout=30) == b"x"


def test_the_host_has_the_last_word_on_whether_the_guest_runs(web, server, alice):
    token = new_token(server, alice, "serial")
    hypervisor_of(server.host).destroy(server.pk)
    assert "not running" in web.refusal(token)
    hypervisor_of(server.host).break_down()
    assert "does not answer" in web.refusal(token)
    Host.objects.update(state=HostState.DOWN)
    assert "is down" in web.refusal(token)


def test_the_one_who_had_it_before_reads_that_another_took_over(web, server, alice, root):
    with web.open(new_token(server, alice, "serial")) as former:
        former.send(b"mine")
        assert former.recv(timeout=30) == b"mine"
        with web.open(new_token(server, root, "serial")) as later:
            closed = closing(former)
            assert (closed.rcvd.code, closed.rcvd.reason) == (ENDED, "Another console took over this serial port.")
            later.send(b"now mine")
            assert later.recv(timeout=30) == b"now mine"


def test_servers_do_not_disturb_each_other(web, server, alice, cloud, drain):
    other = boot(alice, cloud, drain)
    with web.open(new_token(server, alice, "serial")) as first, web.open(new_token(other, alice, "serial")) as second:
        first.send(b"1")
        second.send(b"2")
        assert (first.recv(timeout=30), second.recv(timeout=30)) == (b"1", b"2")


@pytest.mark.parametrize(
    ("loss", "sentence"),
    [
        (delete, "deleted"),
        (stop, "not running"),
        (move, "another host"),
        (disable, "may not use"),
        (demote, "may not use"),
    ],
)
def test_a_session_ends_within_seconds_of_what_it_stands_on(web, server, alice, cloud, loss, sentence):
    with web.open(new_token(server, alice, "serial")) as websocket:
        websocket.send(b"x")
        assert websocket.recv(timeout=30) == b"x"
        loss(server, alice, cloud)
        closed = closing(websocket)
    assert closed.rcvd.code == ENDED
    assert sentence in closed.rcvd.reason


def test_a_message_beyond_all_bounds_ends_the_session(web, server, alice):
    with web.open(new_token(server, alice, "serial")) as websocket:
        websocket.send(b"x" * (MOST_MESSAGE_BYTES + 1))
        assert closing(websocket).rcvd.code == 1009


def echoes(web, token) -> bool:
    """Whether the server lets one more in, who is then heard.

    One who left a moment ago may still count, or come to the port only now and cut this one off.
    """
    try:
        with web.open(token) as websocket:
            websocket.send(b"x")
            return websocket.recv(timeout=30) == b"x"
    except (InvalidStatus, ConnectionClosed):
        return False


def test_sixteen_at_once_for_a_user_and_all_are_given_back(web, server, alice):
    """OSSN-0008. One server's port has one reader, so each new one ends the last; a seventeenth fits."""
    for _ in range(django_settings.CONSOLE_SESSIONS_PER_USER + 4):
        wait_until(lambda: echoes(web, new_token(server, alice, "serial")))


def test_who_leaves_while_it_opens_leaves_nothing_behind(web, server, alice):
    token = new_token(server, alice, "serial")
    for _ in range(django_settings.CONSOLE_SESSIONS_PER_USER + 4):
        with socket.create_connection(("127.0.0.1", web.port), timeout=30) as raw:
            raw.sendall(
                f"GET /ws/serial?token={token} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\r\n\r\n".encode()
            )
    wait_until(lambda: echoes(web, token))


def test_other_websockets_of_this_app_do_not_exist(web):
    for path in ("/ws/serial/", "/ws/serialx"):
        with pytest.raises((InvalidStatus, ConnectionClosed)):
            with connect(f"ws://127.0.0.1:{web.port}{path}", origin=web.origin, proxy=None) as websocket:
                websocket.recv(timeout=30)


class Stream:
    """A guest that reads nothing, and writes what the test says."""

    def __init__(self) -> None:
        self.closed = threading.Event()
        self.writes: list[bytes] = []

    def receive(self, size: int) -> bytes:
        if self.writes:
            return self.writes.pop(0)
        self.closed.wait()
        return b""

    def send(self, data: bytes) -> None:
        self.closed.wait()
        raise Failed("The stream has ended.")

    def close(self) -> None:
        self.closed.set()


def test_a_guest_that_reads_nothing_costs_no_memory_and_no_threads():
    before = threading.active_count()
    port = Port(Stream(), lambda: None)
    taken = 0
    while port.type(b"x" * 1000):
        taken += 1
    assert taken in (MOST_MESSAGES_WAITING, MOST_MESSAGES_WAITING + 1)
    port.close()
    wait_until(lambda: threading.active_count() <= before)


def test_a_guest_that_writes_faster_than_anybody_reads_costs_no_memory():
    stream = Stream()
    stream.writes = [bytes([number % 256]) * 10_000 for number in range(1000)]
    news: list[int] = []
    port = Port(stream, lambda: news.append(1))
    wait_until(lambda: len(news) == 1000)
    assert not port.ended
    got = b""
    while data := port.take():
        got += data
    assert len(got) <= MOST_OUTPUT_BYTES + len(OUTPUT_LOST)
    assert got.count(OUTPUT_LOST) == 1
    assert got.endswith(bytes([999 % 256]) * 10_000)  # the newest is what a person wants to see
    stream.close()
    wait_until(lambda: port.ended)
    assert len(news) == 1001
    port.close()


@pytest.mark.parametrize("power", [PowerState.SHUTDOWN, None])
def test_a_guest_that_takes_a_moment_to_stop_is_not_taken_for_a_takeover(server, alice, monkeypatch, power):
    grant = authorise(new_token(server, alice, "serial"), "serial")
    hypervisor = hypervisor_of(server.host)
    running = hypervisor.guest(server.pk)
    answers = [running, running, None if power is None else replace(running, power_state=power)]
    monkeypatch.setattr(hypervisor, "guest", lambda uuid: answers.pop(0))
    assert serial._why_ended(grant) == "The instance is not running."


def test_a_reader_elsewhere_took_over(server, alice, monkeypatch):
    monkeypatch.setattr(serial, "STOPPING_SECONDS", 0.5)
    grant = authorise(new_token(server, alice, "serial"), "serial")
    assert serial._why_ended(grant) == "Another console took over this serial port."
    hypervisor_of(server.host).break_down()
    assert "does not answer" in serial._why_ended(grant)
