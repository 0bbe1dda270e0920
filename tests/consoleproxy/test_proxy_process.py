"""The VNC proxy as a process: what it is to strangers, how it starts and stops."""

from __future__ import annotations

import signal
import socket
import time
from http.client import HTTPConnection

import pytest

from tests.consoleproxy.conftest import (
    BANNER,
    Program,
    Proxy,
    closing,
    new_token,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize(
    "path", ["/", "//evil.example/%2f..", "/../../etc/passwd", "/vnc.html", "/websockify", "//evil.example"]
)
def test_it_serves_no_files_and_redirects_nowhere(proxy, path):
    """OSSA-2021-002."""
    for method in ("GET", "HEAD", "POST", "OPTIONS"):
        client = HTTPConnection("127.0.0.1", proxy.port, timeout=30)
        client.request(method, path)
        answer = client.getresponse()
        body = answer.read()
        assert answer.status in (405, 501)
        assert answer.headers["Location"] is None
        assert answer.headers["Server"].strip() == "Nacelle"
        assert b"<" not in body and b"root" not in body
        client.close()


def test_a_request_that_is_no_request_is_answered_and_not_logged(proxy, server, alice, no_tokens_in_the_log):
    token = new_token(server, alice)
    no_tokens_in_the_log.append(token)
    for line in (
        f"GET /?token={token} HTTP/9.x\r\n\r\n",
        f"NONSENSE ?token={token}\r\n\r\n",
        f"GET /?token={token}{'a' * 70_000} HTTP/1.1\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=30) as raw:
            raw.sendall(line.encode())
            answer = raw.recv(4096)
            assert answer.startswith((b"HTTP/1.1 4", b"Bad "))  # before HTTP/1.0 there was no status line


def test_port_in_use_is_one_sentence_and_status_1(proxy, tmp_path):
    second = Program(["manage.py", "console_proxy"], tmp_path / "log", NACELLE_CONSOLE_BIND=f"127.0.0.1:{proxy.port}")
    assert second.process.wait(30) == 1
    (line,) = second.text().strip().splitlines()
    assert line.startswith(f"The console proxy cannot listen on 127.0.0.1:{proxy.port}: Address already in use.")


@pytest.mark.parametrize("bind", ["6080", "127.0.0.1:x", "127.0.0.1:99999", ":6080"])
def test_an_address_that_is_none_is_one_sentence(tmp_path, bind, django_db_setup):
    program = Program(
        ["manage.py", "console_proxy"], tmp_path / "log", NACELLE_CONSOLE_BIND=bind, NACELLE_CONSOLE_PUBLIC_URL="ws://x"
    )
    assert program.process.wait(30) == 1
    (line,) = program.text().strip().splitlines()
    assert line.startswith(f"NACELLE_CONSOLE_BIND is '{bind}'; it must be ADDRESS:PORT")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_cleanly_and_says_goodbye(server, alice, screen, tmp_path, number):
    own = Proxy(tmp_path / "log")
    with own.open(new_token(server, alice)) as websocket:
        assert websocket.recv(timeout=30) == BANNER
        started = time.monotonic()
        own.process.send_signal(number)
        assert "proxy is stopping" in closing(websocket).rcvd.reason
        assert own.process.wait(10) == 0
        assert time.monotonic() - started < 6
    assert "Traceback" not in own.text()


def test_who_sends_nothing_is_hung_up_on(proxy, server, alice, screen):
    """A request that comes byte by byte must not hold a thread for ever."""
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=20) as raw:
        raw.sendall(b"GET / HT")
        started = time.monotonic()
        while time.monotonic() - started < 15:
            try:
                raw.sendall(b"T")
                raw.settimeout(1)
                if not raw.recv(1):
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        assert 8 < time.monotonic() - started < 14
