"""The watch over open consoles, and the way to a screen."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress

import pytest
from django.db import OperationalError

from compute.hosts.connections import hypervisor_of
from compute.hypervisor.interface import VncEndpoint
from compute.models import Host, Instance, PowerState
from consoleproxy import origins, screens, sessions, tokens
from consoleproxy.sessions import Sessions
from consoleproxy.tokens import Refused, authorise
from tests.consoleproxy.conftest import new_token, wait_until


@pytest.fixture
def grant(server, alice):
    return authorise(new_token(server, alice), "novnc")


@pytest.fixture
def still(monkeypatch):
    """No thread: the tests call ``check`` themselves."""
    monkeypatch.setattr(Sessions, "_run", lambda self: None)


def test_a_user_has_so_many_and_then_no_more(grant, still, settings):
    settings.CONSOLE_SESSIONS_PER_USER = 2
    table = Sessions()
    first = table.begin(grant, lambda why: None)
    table.begin(grant, lambda why: None)
    with pytest.raises(Refused, match="You have 2 consoles open"):
        table.begin(grant, lambda why: None)
    table.finish(first)
    table.finish(first)
    with table.held(grant, lambda why: None):
        assert len(table) == 2
    assert len(table) == 1


def test_all_users_together_have_a_bound_too(grant, still, monkeypatch):
    monkeypatch.setattr(sessions, "MOST_SESSIONS", 0)
    with pytest.raises(Refused, match="Too many"):
        Sessions().begin(grant, lambda why: None)


def test_check_ends_those_that_lost_their_ground_and_no_others(grant, server, root, still):
    ended: list[tuple[str, str]] = []
    table = Sessions()
    table.begin(grant, lambda why: ended.append(("alice", why)))
    table.begin(authorise(new_token(server, root), "novnc"), lambda why: ended.append(("root", why)))
    table.check()
    assert ended == []
    type(root.user).objects.filter(name="alice").update(enabled=False)
    table.check()
    assert ended == [("alice", tokens.REVOKED)]
    table.end_all("bye")
    assert ended[1:] == [("alice", "bye"), ("root", "bye")] or ended[1:] == [("root", "bye"), ("alice", "bye")]


def test_a_database_that_is_away_for_a_moment_ends_nothing_and_for_a_minute_everything(grant, still, monkeypatch):
    def away(grants):
        raise OperationalError("connection refused")

    ended: list[str] = []
    table = Sessions()
    session = table.begin(grant, ended.append)
    monkeypatch.setattr(tokens, "ended", away)
    table.check()
    assert ended == []
    session.confirmed_at -= sessions.BLIND_SECONDS
    table.check()
    assert ended == ["Nobody can say now whether you may use this console."]


@pytest.mark.django_db(transaction=True)
def test_the_watch_lives_while_a_console_is_open_and_outlives_trouble(grant, server, monkeypatch):
    monkeypatch.setattr(sessions, "CHECK_SECONDS", 0.05)
    ended: list[str] = []
    table = Sessions()
    real, calls = tokens.ended, []

    def troubled(grants):
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("once")
        return real(grants)

    monkeypatch.setattr(tokens, "ended", troubled)
    session = table.begin(grant, ended.append)
    wait_until(lambda: len(calls) > 2)
    Instance.objects.filter(pk=server.pk).update(power_state=PowerState.SHUTDOWN)
    wait_until(lambda: "The instance is not running." in ended)
    table.finish(session)
    wait_until(lambda: not watching())
    with table.held(grant, ended.append):
        assert watching()
    wait_until(lambda: not watching())


def watching() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "console-watch"]


@pytest.mark.parametrize(
    ("uri", "console_address", "listens", "reached"),
    [
        ("qemu:///system", "127.0.0.1", "127.0.0.1", "127.0.0.1"),
        ("qemu:///system", "10.0.0.5", "10.0.0.5", "10.0.0.5"),
        ("qemu:///system", "0.0.0.0", "0.0.0.0", "127.0.0.1"),
        ("qemu+ssh://root@localhost/system", "127.0.0.1", "127.0.0.1", "127.0.0.1"),
        ("qemu+ssh://root@node-2/system", "10.0.0.6", "10.0.0.6", "10.0.0.6"),
        ("qemu+tls://node-2/system", "node-2.example", "0.0.0.0", "node-2.example"),
    ],
)
def test_where_a_screen_is_reached(uri, console_address, listens, reached):
    host = Host(uri=uri, console_address=console_address)
    assert screens.address_of(host, VncEndpoint(listens, 5901)) == (reached, 5901)


@pytest.mark.parametrize("uri", ["qemu+ssh://node-2/system", "qemu+tcp://10.0.0.6/system", "qemu+tls://node-2/system"])
@pytest.mark.parametrize("console_address", ["127.0.0.1", "::1", "localhost", "0.0.0.0", "", "127.1.2.3"])
def test_a_remote_guest_is_never_looked_for_here(uri, console_address):
    """The same port of our own loopback is another project's screen."""
    with pytest.raises(Refused, match="no console address"):
        screens.address_of(Host(uri=uri, console_address=console_address), VncEndpoint("127.0.0.1", 5900))


def test_a_port_that_changed_hands_during_the_connect_is_let_go(grant, server, screen, monkeypatch):
    endpoints = [VncEndpoint("127.0.0.1", screen.port), VncEndpoint("127.0.0.1", screen.port + 1)]
    monkeypatch.setattr(hypervisor_of(server.host), "vnc", lambda uuid: endpoints.pop(0))
    with pytest.raises(Refused, match="restarted just now"):
        screens.connect(grant)
    wait_until(lambda: screen.accepted == 1)
    screen.open[0].settimeout(5)
    with suppress(ConnectionResetError):  # its own greeting was not read
        assert screen.open[0].recv(1) == b""  # nothing was ever said to it


def test_a_screen_that_never_answers_is_given_up(grant, server, monkeypatch):
    monkeypatch.setattr(screens, "CONNECT_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        full = [socket.socket() for _ in range(3)]
        for one in full:
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
        monkeypatch.setattr(hypervisor_of(server.host), "vnc", lambda uuid: VncEndpoint(*listener.getsockname()))
        started = time.monotonic()
        with pytest.raises(Refused, match="does not answer"):
            screens.connect(grant)
        assert time.monotonic() - started < 2
        for one in full:
            one.close()


def test_the_origins_of_the_settings(settings):
    settings.CONSOLE_ORIGINS = ("https://Cloud.example:443/nacelle", " http://[::1]:8000", "http://localhost:81")
    assert origins.allowed_origins() == {
        "https://cloud.example",
        "http://[::1]:8000",
        "http://localhost:81",
        "http://127.0.0.1:81",
    }
    assert origins.origin_allowed(["https://cloud.example"])
    assert not origins.origin_allowed(["https://cloud.example", "https://cloud.example"])
    assert not origins.origin_allowed(["https://cloud.example:443"])
