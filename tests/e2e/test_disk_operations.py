"""Disks on real QEMU, as the guest sees them: flavors' disks, rebuild, rescue, resize and both its ends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.cloud import SERVERS, Cloud
from tests.e2e.nacelle import wait_until
from tests.e2e.serial_port import SerialPort

pytestmark = pytest.mark.real
FLAVORS = "/compute/v2.1/flavors"
GIB = 1 << 30
MIB = 1 << 20


def flavor(cloud: Cloud, name: str, **amounts: int) -> str:
    """A flavor, made if it is not there."""
    body = {"name": name, "id": name, "vcpus": 1, "ram": 128, "disk": 1, **amounts}
    assert cloud.wire.post(FLAVORS, {"flavor": body}).status in (200, 409)
    return name


def act(cloud: Cloud, server_id: str, status: str, **action: Any) -> None:
    """Ask for an action, and wait for the status that it ends in."""
    answer = cloud.wire.post(f"{SERVERS}/{server_id}/action", action)
    assert answer.status in (200, 202, 204), (answer.status, answer.content[:500])

    def reached() -> bool:
        server = cloud.server(server_id)
        assert server["status"] != "ERROR", server
        return server["status"] == status and server["OS-EXT-STS:task_state"] is None

    wait_until(f"{server_id} is {status}", reached, pause=0.1)


def asked(cloud: Cloud, server_id: str, *commands: str) -> str:
    """What the guest answers to commands typed at its serial port."""
    cloud.wait_for_login(server_id)
    with SerialPort(cloud.libvirt, server_id) as port:
        port.log_in()
        port.output = ""
        port.type("; ".join(commands) + "; echo fi''nis\n")
        port.wait_for("finis")
        said = port.output
        port.type("exit\n")  # the next one logs in again
        port.wait_for("login:")
        return said


@pytest.fixture
def server(cloud: Cloud) -> Iterator[str]:
    """An instance that has written a file to its disk."""
    with cloud.launched("disks") as server_id:
        said = asked(cloud, server_id, "echo first > /mnt/disk/file", "sync", "cat /mnt/disk/file")
        assert "\nfirst" in said.replace("\r", "")
        yield server_id


def sizes(said: str) -> dict[str, int]:
    """Bytes of each disk, from lines of ``disk NAME SECTORS``."""
    rows = [line.split() for line in said.splitlines() if line.startswith("disk ")]
    return {name: int(sectors) * 512 for _, name, sectors in rows}


SIZES = "for one in /sys/block/vd*; do echo disk ${one##*/} $(cat $one/size); done"


def test_resize_and_both_its_ends(cloud: Cloud, server: str) -> None:
    more = flavor(cloud, "more", ram=192, disk=2, **{"OS-FLV-EXT-DATA:ephemeral": 1, "swap": 16})
    before = cloud.volumes(server)
    act(cloud, server, "VERIFY_RESIZE", resize={"flavorRef": more})
    said = asked(cloud, server, SIZES, "cat /mnt/disk/file", "swapon /dev/vdc && cat /proc/swaps", "free -m")
    assert sizes(said)["vda"] == 2 * GIB
    assert sizes(said)["vdb"] == GIB
    assert sizes(said)["vdc"] == 16 * MIB
    assert "\r\nfirst" in said and "/dev/vdc" in said.split("Filename", 1)[1]
    asked(cloud, server, "echo second > /mnt/disk/file", "sync")
    act(cloud, server, "ACTIVE", revertResize=None)
    said = asked(cloud, server, SIZES, "cat /mnt/disk/file")
    assert sizes(said)["vda"] == GIB and "vdc" not in sizes(said)
    assert "\r\nfirst" in said and "second" not in said
    assert cloud.volumes(server) == before
    act(cloud, server, "VERIFY_RESIZE", resize={"flavorRef": more})
    asked(cloud, server, "echo third > /mnt/disk/file", "sync")
    act(cloud, server, "ACTIVE", confirmResize=None)
    assert "\r\nthird" in asked(cloud, server, "cat /mnt/disk/file")
    assert len(cloud.volumes(server)) == len(before) + 2


def test_rescue_sees_the_old_disk_as_the_second(cloud: Cloud, server: str) -> None:
    before = cloud.volumes(server)
    act(cloud, server, "RESCUE", rescue=None)
    mount = ("mkdir -p /tmp/old", "mount -t ext4 /dev/vdb2 /tmp/old", "cat /tmp/old/file")
    said = asked(cloud, server, "ls /mnt/disk", *mount, "echo mended > /tmp/old/file", "umount /tmp/old")
    assert "\r\nfirst" in said
    act(cloud, server, "ACTIVE", unrescue=None)
    assert "\r\nmended" in asked(cloud, server, "cat /mnt/disk/file")
    assert cloud.volumes(server) == before


def test_rebuild_is_a_new_disk_at_the_old_address(cloud: Cloud, server: str) -> None:
    before = cloud.server(server)
    act(cloud, server, "ACTIVE", rebuild={"imageRef": before["image"]["id"], "metadata": {"tier": "new"}})
    said = asked(cloud, server, "ls /mnt/disk/file", "hostname", "ip -4 addr")
    assert "No such file" in said
    address = next(iter(before["addresses"].values()))[0]["addr"]
    assert f" {address}/" in said
    after = cloud.server(server)
    assert (after["addresses"], after["metadata"]) == (before["addresses"], {"tier": "new"})
    assert len(cloud.volumes(server)) == 3
