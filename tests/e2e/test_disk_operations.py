"""Disks on real QEMU, as the guest sees them: flavors' disks, rebuild, rescue, resize and both its ends."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.cloud import Cloud
from tests.e2e.serial_port import SHOW_ADDRESS, asked

pytestmark = pytest.mark.real
FLAVORS = "/compute/v2.1/flavors"
GIB = 1 << 30
MIB = 1 << 20


def flavor(cloud: Cloud, name: str, **amounts: int) -> str:
    """A flavor, made if it is not there."""
    body = {"name": name, "id": name, "vcpus": 1, "ram": 128, "disk": 1, **amounts}
    assert cloud.wire.post(FLAVORS, {"flavor": body}).status in (200, 409)
    return name


@pytest.fixture
def server(cloud: Cloud) -> Iterator[str]:
    """An instance that has written a file to its disk."""
    with cloud.launched("disks") as server_id:
        said = asked(cloud, server_id, "echo first > /mnt/disk/file", "sync", "cat /mnt/disk/file")
        assert "\nfirst" in said
        yield server_id


def sizes(said: str) -> dict[str, int]:
    """Bytes of each disk, from lines of ``disk NAME SECTORS``."""
    rows = [line.split() for line in said.splitlines() if line.startswith("disk ")]
    return {name: int(sectors) * 512 for _, name, sectors in rows}


SIZES = "for one in /sys/block/vd*; do echo disk ${one##*/} $(cat $one/size); done"


def test_resize_and_both_its_ends(cloud: Cloud, server: str) -> None:
    more = flavor(cloud, "more", ram=192, disk=2, **{"OS-FLV-EXT-DATA:ephemeral": 1, "swap": 16})
    before = cloud.volumes(server)
    cloud.act_until(server, "VERIFY_RESIZE", resize={"flavorRef": more})
    said = asked(cloud, server, SIZES, "cat /mnt/disk/file", "swapon /dev/vdc && cat /proc/swaps", "free -m")
    assert sizes(said)["vda"] == 2 * GIB
    assert sizes(said)["vdb"] == GIB
    assert sizes(said)["vdc"] == 16 * MIB
    assert "\nfirst" in said and "/dev/vdc" in said.split("Filename", 1)[1]
    asked(cloud, server, "echo second > /mnt/disk/file", "sync")
    cloud.act_until(server, "ACTIVE", revertResize=None)
    said = asked(cloud, server, SIZES, "cat /mnt/disk/file")
    assert sizes(said)["vda"] == GIB and "vdc" not in sizes(said)
    assert "\nfirst" in said and "second" not in said
    assert cloud.volumes(server) == before
    cloud.act_until(server, "VERIFY_RESIZE", resize={"flavorRef": more})
    asked(cloud, server, "echo third > /mnt/disk/file", "sync")
    cloud.act_until(server, "ACTIVE", confirmResize=None)
    assert "\nthird" in asked(cloud, server, "cat /mnt/disk/file")
    assert len(cloud.volumes(server)) == len(before) + 2


def test_rescue_sees_the_old_disk_as_the_second(cloud: Cloud, server: str) -> None:
    before = cloud.volumes(server)
    cloud.act_until(server, "RESCUE", rescue=None)
    mount = ("mkdir -p /tmp/old", "mount -t ext4 /dev/vdb2 /tmp/old", "cat /tmp/old/file")
    said = asked(cloud, server, "ls /mnt/disk", *mount, "echo mended > /tmp/old/file", "umount /tmp/old")
    assert "\nfirst" in said
    cloud.act_until(server, "ACTIVE", unrescue=None)
    assert "\nmended" in asked(cloud, server, "cat /mnt/disk/file")
    assert cloud.volumes(server) == before


def test_rebuild_is_a_new_disk_at_the_old_address(cloud: Cloud, server: str) -> None:
    before = cloud.server(server)
    cloud.act_until(server, "ACTIVE", rebuild={"imageRef": before["image"]["id"], "metadata": {"tier": "new"}})
    said = asked(cloud, server, "ls /mnt/disk/file", "hostname", SHOW_ADDRESS)
    assert "No such file" in said
    address = next(iter(before["addresses"].values()))[0]["addr"]
    assert f" {address}/" in said
    after = cloud.server(server)
    assert (after["addresses"], after["metadata"]) == (before["addresses"], {"tier": "new"})
    assert len(cloud.volumes(server)) == 3
