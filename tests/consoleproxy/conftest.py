"""A running server on a fake host that processes share, whose screen is a VNC server of the tests' own."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db import connections
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from compute.models import Instance
from compute.operations.create import BootRequest, create
from consoleproxy import tokens
from tests.conftest import Cloud, Persona

ROOT = Path(__file__).resolve().parents[2]
BANNER = b"RFB 003.008\n"
ORIGIN = "http://127.0.0.1:8000"
ENDED = 4001


class FakeScreen:
    """Something that listens like a guest's VNC server: says its version, then says back what it hears."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.accepted = 0
        self.open: list[socket.socket] = []
        self.heard = bytearray()
        self.reads = True
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.accepted += 1
                self.open.append(client)
                threading.Thread(target=self._talk, args=(client,), daemon=True).start()

    def _talk(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            client.sendall(BANNER)
            while True:
                while not self.reads:
                    time.sleep(0.05)
                data = client.recv(65536)
                if not data:
                    return
                self.heard += data
                client.sendall(data)

    def hang_up(self) -> None:
        """As when the guest stops."""
        for client in self.open:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
                client.close()

    def close(self) -> None:
        """The port is free again."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.hang_up()


@pytest.fixture
def screen() -> Iterator[FakeScreen]:
    """The first guest's screen."""
    listening = FakeScreen()
    yield listening
    listening.close()


@pytest.fixture
def server(cloud: Cloud, alice: Persona, screen: FakeScreen, tmp_path: Path, drain: Callable[[], int]) -> Instance:
    """Alice's server: ACTIVE on the fake host, the first guest there."""
    cloud.host.uri = f"fake://{tmp_path}/host.sqlite3?host=shared&vnc={screen.port}"
    cloud.host.save()
    return boot(alice, cloud, drain)


def boot(persona: Persona, cloud: Cloud, drain: Callable[[], int]) -> Instance:
    """A server that runs."""
    wanted = BootRequest(name="web", flavor_id=cloud.nano.id, image_id=str(cloud.image.id))
    (instance,) = create(persona.actor, wanted)
    drain()
    found = Instance.objects.select_related("host", "project").get(pk=instance.pk)
    assert found.vm_state == "active"
    return found


def token_of(url: str) -> str:
    """The token in a console's URL."""
    return parse_qs(urlsplit(url).query)["token"][0]


def new_token(instance: Instance, persona: Persona, kind: tokens.Kind = "novnc") -> str:
    """A fresh token."""
    return token_of(tokens.issue(instance, persona.actor, kind))


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class Program:
    """A process of Nacelle on the test's database, with its log."""

    def __init__(self, command: list[str], log: Path, **environment: str) -> None:
        values = connections["default"].settings_dict
        engine = values["ENGINE"].rsplit(".", 1)[1]
        name = values["NAME"]
        where = f"sqlite:///{name}" if engine == "sqlite3" else _server_url(values)
        self.log = log
        self._file = log.open("wb")
        env = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", "DATABASE_URL": where, **environment}
        self.process = subprocess.Popen(
            [sys.executable, *command], cwd=ROOT, env=env, stdout=self._file, stderr=subprocess.STDOUT
        )

    def wait_for_port(self, port: int) -> None:
        """Until it listens."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.text()
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            time.sleep(0.1)
        raise AssertionError(f"it never listened on {port}: {self.text()}")

    def text(self) -> str:
        """All that it logged."""
        return self.log.read_text(errors="replace")

    def stop(self) -> int:
        """SIGTERM, and the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        finally:
            self._file.close()


def _server_url(values: dict[str, str]) -> str:
    address = f"{values['HOST']}:{values['PORT']}" if values["PORT"] else values["HOST"]
    return f"postgresql://{values['USER']}:{values['PASSWORD']}@{address}/{values['NAME']}"


class Proxy(Program):
    """`manage.py console_proxy`."""

    def __init__(self, log: Path, **environment: str) -> None:
        self.port = free_port()
        super().__init__(
            ["manage.py", "console_proxy"], log, NACELLE_CONSOLE_BIND=f"127.0.0.1:{self.port}", **environment
        )
        self.wait_for_port(self.port)

    def open(self, token: str, origin: str | None = ORIGIN, **extra) -> ClientConnection:
        """A websocket, as noVNC opens it."""
        url = f"ws://127.0.0.1:{self.port}/?token={token}"
        return connect(url, origin=origin, subprotocols=["binary"], compression=None, proxy=None, **extra)

    def refusal(self, token: str, origin: str | None = ORIGIN, status: int = 403) -> str:
        """The sentence with which it is refused."""
        with pytest.raises(InvalidStatus) as refused, self.open(token, origin):
            pass
        assert refused.value.response.status_code == status
        return refused.value.response.body.decode()


@pytest.fixture(scope="module")
def proxy(django_db_setup, tmp_path_factory):
    """One for all tests; what it logged must never name a token."""
    running = Proxy(tmp_path_factory.mktemp("proxy") / "log")
    yield running
    assert running.stop() == 0
    assert "Traceback" not in running.text()


@pytest.fixture
def no_tokens_in_the_log(proxy):
    """Every token that the test had issued, looked for in all that the proxy wrote."""
    seen: list[str] = []
    yield seen
    assert seen
    assert not [token for token in seen if token in proxy.text()]


def closing(websocket: ClientConnection, seconds: float = 30.0) -> ConnectionClosed:
    """How the proxy ends it."""
    deadline = time.monotonic() + seconds
    with pytest.raises(ConnectionClosed) as closed:
        while True:
            websocket.recv(timeout=max(0.1, deadline - time.monotonic()))
    return closed.value


def wait_until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for something that must come."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.05)
