"""The VNC proxy as a process: real websockets in front, something that speaks RFB behind."""

from __future__ import annotations

import os
import random
import re
import socket
import string
import time
from contextlib import ExitStack
from datetime import timedelta
from http.client import HTTPConnection

import psutil
import pytest
from django.utils import timezone
from websockets.exceptions import ConnectionClosed, InvalidStatus

from compute.hosts.connections import hypervisor_of
from compute.models import Host, HostState, Instance, PowerState
from compute.operations import OPERATIONS
from compute.operations.engine import request as ask
from consoleproxy.models import ConsoleToken
from portal.identity.models import Assignment
from tests.consoleproxy.conftest import (
    BANNER,
    ENDED,
    ORIGIN,
    FakeScreen,
    boot,
    closing,
    new_token,
    wait_until,
)

pytestmark = pytest.mark.django_db(transaction=True)


def test_bytes_go_both_ways_and_the_log_says_who(proxy, server, alice, screen, no_tokens_in_the_log):
    token = new_token(server, alice)
    no_tokens_in_the_log.append(token)
    with proxy.open(token) as websocket:
        assert websocket.subprotocol == "binary"
        assert websocket.recv(timeout=30) == BANNER
        websocket.send(b"\x00\xff typed")
        assert websocket.recv(timeout=30) == b"\x00\xff typed"
        large = os.urandom(700_000)
        websocket.send(large)
        got = b""
        while len(got) < len(large):
            got += websocket.recv(timeout=30)
        assert got == large
    wait_until(lambda: f"screen of instance {server.pk} closed" in proxy.text())
    line = next(line for line in proxy.text().splitlines() if f"screen of instance {server.pk} opened" in line)
    request_id = ConsoleToken.objects.get().request_id
    assert re.match(rf"^\S+ \S+ \d+ INFO consoleproxy.proxy \[{request_id} alice demo\] .* proxy.py:\d+$", line), line


def test_within_its_time_a_token_opens_the_console_again(proxy, server, alice, screen):
    token = new_token(server, alice)
    for _ in range(2):
        with proxy.open(token) as websocket:
            assert websocket.recv(timeout=30) == BANNER


def test_tokens_that_open_nothing(proxy, server, alice, screen, no_tokens_in_the_log):
    expired, serial, good = new_token(server, alice), new_token(server, alice, "serial"), new_token(server, alice)
    no_tokens_in_the_log += [expired, serial, good]
    for token in (expired, serial, "", "x" * 43, "x" * 5000, good + "&token=x"):
        if token == expired:
            ConsoleToken.objects.filter(kind="novnc").exclude(pk=ConsoleToken.objects.latest("created_at").pk).update(
                expires_at=timezone.now() - timedelta(seconds=1)
            )
        assert "not known here or has expired" in proxy.refusal(token)
    assert screen.accepted == 0


def test_a_token_does_not_outlive_its_server_even_when_another_gets_its_port(
    proxy, server, alice, cloud, drain, screen
):
    """OSSA-2013-006, OSSA-2014-035."""
    token = new_token(server, alice)
    ask(OPERATIONS["delete"], server, alice.actor)
    drain()
    other = boot(alice, cloud, drain)
    assert hypervisor_of(other.host).vnc(other.pk).port == screen.port  # the same port, another guest
    assert "was deleted" in proxy.refusal(token)
    assert screen.accepted == 0
    with proxy.open(new_token(other, alice)) as websocket:
        assert websocket.recv(timeout=30) == BANNER


def test_a_token_does_not_follow_its_server_to_another_host(proxy, server, alice, cloud, screen):
    token = new_token(server, alice)
    cloud.host.pk, cloud.host.uuid, cloud.host.service_uuid = None, server.pk, server.pk
    cloud.host.name, cloud.host.uri = "host-2", cloud.host.uri + "&another=1"
    cloud.host.save(force_insert=True)
    Instance.objects.filter(pk=server.pk).update(host=cloud.host)
    assert "on another host now" in proxy.refusal(token)
    assert screen.accepted == 0


def test_the_host_has_the_last_word_on_whether_the_guest_runs(proxy, server, alice, screen):
    """The database may be a moment behind."""
    token = new_token(server, alice)
    hypervisor_of(server.host).destroy(server.pk)
    assert "not running" in proxy.refusal(token)
    screen.close()
    hypervisor_of(server.host).start(server.pk)
    assert "screen does not answer" in proxy.refusal(token)
    hypervisor_of(server.host).break_down()
    assert "host of the instance does not answer" in proxy.refusal(token)
    Host.objects.update(state=HostState.DOWN)
    assert "host of the instance is down" in proxy.refusal(token)


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "https://127.0.0.1:8000",
        "http://127.0.0.1",
        "http://127.0.0.1:6080",
        "http://127.0.0.1:8000.evil.example",
        "http://127.0.0.1:8000/",
        "http://user@127.0.0.1:8000",
        "HTTP://127.0.0.1:8000",
        "",
    ],
)
def test_pages_of_other_origins_open_nothing(proxy, server, alice, screen, origin):
    assert "its origin is not the portal's" in proxy.refusal(new_token(server, alice), origin)
    assert screen.accepted == 0


def test_the_portal_by_its_other_name_and_programs_without_an_origin_may(proxy, server, alice, screen):
    for origin in (ORIGIN, "http://localhost:8000", None):
        with proxy.open(new_token(server, alice), origin) as websocket:
            assert websocket.recv(timeout=30) == BANNER


def test_a_foreign_origin_is_refused_whatever_the_host_header_says(proxy, server, alice, screen):
    """OSSN-0101: the Host header is the caller's to choose."""
    token = new_token(server, alice)
    forwarded = {"X-Forwarded-Host": "evil.example"}
    with pytest.raises(InvalidStatus), proxy.open(token, "http://evil.example", additional_headers=forwarded):
        pass
    raw = HTTPConnection("127.0.0.1", proxy.port, timeout=30)
    raw.putrequest("GET", f"/?token={token}", skip_host=True)
    for name, value in {
        "Host": "evil.example",
        "Origin": "http://evil.example",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "x3JJHMbDL1EzLkh9GBhXDw==",
        "Sec-WebSocket-Version": "13",
    }.items():
        raw.putheader(name, value)
    raw.endheaders()
    assert raw.getresponse().status == 403
    raw.close()


def test_random_hosts_and_origins_change_nothing(proxy, server, alice, screen):
    """OSSN-0101: neither memory nor the list of origins grows; 10,000 requests end as the first did."""
    process = psutil.Process(proxy.process.pid)
    before = None
    for number in range(10_000):
        name = "".join(random.choices(string.ascii_lowercase, k=40))
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=30) as raw:
            raw.sendall(
                f"GET /?token={name} HTTP/1.1\r\nHost: {name}.example\r\nOrigin: http://{name}.example\r\n"
                "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\r\n\r\n".encode()
            )
            assert raw.recv(64).startswith(b"HTTP/1.1 403 ")
        if number == 1_000:
            before = process.memory_info().rss
    assert process.memory_info().rss - before < 4 << 20
    assert process.num_threads() < 10
    assert "its origin is not the portal's" in proxy.refusal(new_token(server, alice), f"http://{name}.example")
    with proxy.open(new_token(server, alice)) as websocket:
        assert websocket.recv(timeout=30) == BANNER


def delete(server, alice, cloud):
    Instance.objects.filter(pk=server.pk).update(deleted_at=timezone.now(), vm_state="deleted", power_state=0)


def stop(server, alice, cloud):
    Instance.objects.filter(pk=server.pk).update(power_state=PowerState.SHUTDOWN)


def move(server, alice, cloud):
    other = Host.objects.create(name="host-2", uri="fake://elsewhere", state=HostState.UP)
    Instance.objects.filter(pk=server.pk).update(host=other)


def disable(server, alice, cloud):
    type(alice.user).objects.filter(pk=alice.user.pk).update(enabled=False)


def demote(server, alice, cloud):
    Assignment.objects.filter(user=alice.user).delete()


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
def test_a_session_ends_within_seconds_of_what_it_stands_on(proxy, server, alice, cloud, screen, loss, sentence):
    with proxy.open(new_token(server, alice)) as websocket:
        assert websocket.recv(timeout=30) == BANNER
        loss(server, alice, cloud)
        closed = closing(websocket)
    assert closed.rcvd.code == ENDED
    assert sentence in closed.rcvd.reason


def test_a_session_goes_on_while_nothing_is_lost(proxy, server, alice, screen):
    with proxy.open(new_token(server, alice)) as websocket:
        assert websocket.recv(timeout=30) == BANNER
        ConsoleToken.objects.all().delete()  # the ten minutes are for connecting, not for the session
        time.sleep(5)
        websocket.send(b"still here")
        assert websocket.recv(timeout=30) == b"still here"


def test_a_screen_that_hangs_up_ends_the_session(proxy, server, alice, screen):
    with proxy.open(new_token(server, alice)) as websocket:
        assert websocket.recv(timeout=30) == BANNER
        screen.hang_up()
        assert "stopped or restarted" in closing(websocket).rcvd.reason


def test_two_servers_at_once_each_get_their_own_screen(proxy, server, alice, cloud, drain, screen):
    """The target belongs to the connection, not to the process: websockify's own way mixes them up."""
    other = boot(alice, cloud, drain)
    endpoint = hypervisor_of(other.host).vnc(other.pk)
    assert endpoint.port == screen.port + 1
    with socket.create_server(("127.0.0.1", endpoint.port)) as listener:
        tokens = [new_token(server, alice), new_token(other, alice)]
        with proxy.open(tokens[1]) as second, proxy.open(tokens[0]) as first:
            client, _ = listener.accept()
            client.sendall(b"the other screen")
            assert first.recv(timeout=30) == BANNER
            assert second.recv(timeout=30) == b"the other screen"
            client.close()


def test_sixteen_at_once_for_a_user_and_no_more(proxy, server, alice, root, screen, settings):
    """OSSN-0008."""
    token = new_token(server, alice)
    with ExitStack() as opened:
        for _ in range(settings.CONSOLE_SESSIONS_PER_USER - 1):
            opened.enter_context(proxy.open(token))
        with proxy.open(token):
            assert "You have 16 consoles open" in proxy.refusal(token)
            with proxy.open(new_token(server, root)) as others_are_not_held_up:
                assert others_are_not_held_up.recv(timeout=30) == BANNER
        wait_until(lambda: _opens(proxy, token))


def _opens(proxy, token) -> bool:
    try:
        with proxy.open(token):
            return True
    except InvalidStatus:
        return False


def test_a_message_beyond_all_bounds_ends_the_session(proxy, server, alice, screen):
    with proxy.open(new_token(server, alice)) as websocket:
        assert websocket.recv(timeout=30) == BANNER
        with pytest.raises(ConnectionClosed):
            websocket.send(b"x" * (8 << 20))
            while True:
                websocket.recv(timeout=30)


def test_text_is_not_what_a_screen_speaks(proxy, server, alice, screen):
    with proxy.open(new_token(server, alice)) as websocket:
        websocket.send("hello")
        assert closing(websocket).rcvd.code == 1003


def test_a_slow_screen_costs_no_memory(proxy, server, alice, screen):
    process = psutil.Process(proxy.process.pid)
    with proxy.open(new_token(server, alice)) as websocket:
        assert websocket.recv(timeout=30) == BANNER
        screen.reads = False
        before = process.memory_info().rss
        websocket.socket.settimeout(1.0)
        sent = 0
        try:
            while sent < 64 << 20:
                websocket.send(b"x" * 60_000)
                sent += 60_000
        except (TimeoutError, ConnectionClosed):
            pass
        assert sent < 48 << 20, "nothing ever held the sender back"
        assert process.memory_info().rss - before < 16 << 20
        screen.reads = True
        websocket.socket.close()


def test_a_forgotten_screen_of_a_fake_is_not_confused_with_its_neighbour(server, screen: FakeScreen):
    """The fixture's promise: the first guest has the screen's own port."""
    assert hypervisor_of(server.host).vnc(server.pk).port == screen.port
