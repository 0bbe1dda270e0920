"""A real QEMU guest's screen and serial port, through the real proxy and the real web process."""

from __future__ import annotations

import hashlib
import shutil
import statistics
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from websockets.sync.client import ClientConnection

from compute.consoles import console_log
from compute.hosts.connections import hypervisor_of
from compute.models import Instance
from compute.operations import OPERATIONS
from compute.operations.create import BootRequest, create
from compute.operations.engine import request as ask
from tests.consoleproxy.conftest import ENDED, Proxy, closing, new_token, wait_until
from tests.consoleproxy.test_serial import Web
from tests.hypervisor.conftest import libvirtd, tiny_raw  # noqa: F401  (fixtures)

pytestmark = [pytest.mark.real, pytest.mark.django_db(transaction=True)]

BOOT_SECONDS = 90.0


@pytest.fixture
def guest(cloud, alice, drain, libvirtd, tiny_raw: Path) -> Iterator[Instance]:  # noqa: F811  (fixtures)
    """The tiny image on this machine's QEMU, at its login prompt."""
    cloud.host.uri = "qemu:///system"
    cloud.host.save()
    image = cloud.image
    image.size = image.virtual_size = tiny_raw.stat().st_size
    image.hash_value = hashlib.sha512(tiny_raw.read_bytes()).hexdigest()
    image.save()
    shutil.copyfile(tiny_raw, Path(django_settings.IMAGE_STORE) / str(image.id))
    hypervisor = hypervisor_of(cloud.host)
    hypervisor.prepare()
    wanted = BootRequest(name="real", flavor_id=cloud.nano.id, image_id=str(image.id), networks=())
    (instance,) = create(alice.actor, wanted)
    try:
        drain()
        found = Instance.objects.select_related("host", "project").get(pk=instance.pk)
        assert found.vm_state == "active", list(found.faults.values_list("message", "details"))
        wait_until(lambda: "login:" in console_log(found), BOOT_SECONDS)
        yield found
    finally:
        hypervisor.remove(instance.pk)
        for volume in (*hypervisor.volumes(prefix=str(instance.pk)), image.base_volume):
            hypervisor.delete_volume(volume)


@pytest.fixture
def proxy(django_db_setup, tmp_path):
    """The VNC proxy."""
    running = Proxy(tmp_path / "proxy.log")
    yield running
    assert running.stop() == 0
    assert "Traceback" not in running.text()


@pytest.fixture
def web(django_db_setup, tmp_path):
    """The web process."""
    running = Web(tmp_path / "web.log")
    yield running
    running.stop()
    assert "Traceback" not in running.text()


class Rfb:
    """As much of an RFB client as it takes to see the screen once."""

    def __init__(self, websocket: ClientConnection) -> None:
        self._websocket = websocket
        self._buffer = b""

    def read(self, size: int) -> bytes:
        """Exactly so many bytes, however the frames are cut."""
        while len(self._buffer) < size:
            self._buffer += self._websocket.recv(timeout=20)
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def shake_hands(self) -> tuple[int, int, str]:
        """Version 3.8, no authentication; returns width, height and the desktop's name."""
        assert self.read(12) == b"RFB 003.008\n"
        self._websocket.send(b"RFB 003.008\n")
        assert 1 in self.read(self.read(1)[0])
        self._websocket.send(b"\x01")
        assert self.read(4) == b"\0\0\0\0"
        self._websocket.send(b"\x01")
        width, height = struct.unpack(">HH", self.read(4))
        bits_per_pixel = self.read(16)[0]
        assert bits_per_pixel == 32
        return width, height, self.read(struct.unpack(">I", self.read(4))[0]).decode()

    def picture(self, width: int, height: int) -> bytes:
        """All pixels of the next update, raw."""
        self._websocket.send(struct.pack(">BxHi", 2, 1, 0))
        self._websocket.send(struct.pack(">BBHHHH", 3, 0, 0, 0, width, height))
        kind, rectangles = struct.unpack(">BxH", self.read(4))
        assert (kind, rectangles > 0) == (0, True)
        pixels = b""
        for _ in range(rectangles):
            _, _, wide, high, encoding = struct.unpack(">HHHHi", self.read(12))
            assert encoding == 0
            pixels += self.read(wide * high * 4)
        return pixels


def test_the_screen_is_drawn_and_closes_with_the_guest(proxy, guest, alice):
    token = new_token(guest, alice)
    with proxy.open(token) as websocket:
        client = Rfb(websocket)
        width, height, name = client.shake_hands()
        assert (width, height) >= (640, 400)
        assert str(guest.pk) in name or "QEMU" in name
        pixels = client.picture(width, height)
        assert len(pixels) >= width * height * 4
        assert len({pixels[at : at + 3] for at in range(0, len(pixels), 4)}) > 1, "the screen is blank"
        hypervisor_of(guest.host).destroy(guest.pk)
        assert "stopped or restarted" in closing(websocket).rcvd.reason
    assert "not running" in proxy.refusal(token)
    assert token not in proxy.text()


def type_line(websocket: ClientConnection, line: str, until: str, seconds: float = 30.0) -> str:
    """Type a line and return what came up to and with ``until``."""
    websocket.send(line + "\r")
    text, deadline = "", time.monotonic() + seconds
    while until not in text:
        text += websocket.recv(timeout=max(0.1, deadline - time.monotonic())).decode(errors="replace")
    return text


def test_log_in_on_the_serial_port_then_lose_it_to_another_and_to_a_delete(web, guest, alice, root, drain):
    with web.open(new_token(guest, alice, "serial")) as websocket:
        type_line(websocket, "", "login:")
        type_line(websocket, "root", "Password:")
        type_line(websocket, "nacelle", "# ")
        took = []
        for _ in range(20):
            started = time.monotonic()
            assert "Linux" in type_line(websocket, "uname -a", "x86_64")
            took.append(time.monotonic() - started)
        assert statistics.median(took) < 4, "it slept until libvirt's next keepalive"
        with web.open(new_token(guest, root, "serial")) as later:
            closed = closing(websocket)
            assert (closed.rcvd.code, closed.rcvd.reason) == (ENDED, "Another console took over this serial port.")
            assert "Linux" in type_line(later, "uname -a", "x86_64")
            ask(OPERATIONS["delete"], guest, alice.actor)
            drain()
            closed = closing(later)
            assert closed.rcvd.code == ENDED
            assert closed.rcvd.reason in ("The instance is not running.", "The instance was deleted.")


def test_the_console_log_has_the_banner(guest):
    assert "login:" in console_log(guest)
    (line,) = [console_log(guest, 1)]
    assert "login:" in line and "\n" not in line
