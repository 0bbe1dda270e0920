"""Snapshots and shelving on real QEMU, as the guest sees them: what was on the disk is on the next one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.cloud import LATEST, NANO, SERVERS, Cloud
from tests.e2e.serial_port import SHOW_ADDRESS, asked, uptime

pytestmark = pytest.mark.real
IMAGES = "/image/v2/images"


def image(cloud: Cloud, image_id: str) -> dict[str, Any]:
    """An image as the API shows it."""
    return dict(cloud.wire.get(f"{IMAGES}/{image_id}").json)


@pytest.fixture
def server(cloud: Cloud) -> Iterator[str]:
    """An instance that has written a file to its disk."""
    with cloud.launched("original") as server_id:
        said = asked(cloud, server_id, "echo precious > /mnt/disk/file", "sync", "cat /mnt/disk/file")
        assert "\nprecious" in said
        yield server_id


def test_a_new_instance_has_what_the_first_wrote(cloud: Cloud, server: str) -> None:
    before = uptime(cloud, server)
    volumes = cloud.volumes(server)
    made = cloud.act_until(server, "ACTIVE", createImage={"name": "snap"})["image_id"]
    assert uptime(cloud, server) > before
    assert cloud.volumes(server) == volumes
    assert (image(cloud, made)["status"], image(cloud, made)["disk_format"]) == ("active", "qcow2")
    wanted = {"name": "second", "flavorRef": NANO, "imageRef": made, "networks": "auto"}
    second = cloud.wire.post(SERVERS, {"server": wanted}, **LATEST).json["server"]["id"]
    try:
        cloud.wait_for_status(second, "ACTIVE")
        assert "\nprecious" in asked(cloud, second, "cat /mnt/disk/file")
    finally:
        cloud.delete(second)
        assert cloud.wire.delete(f"{IMAGES}/{made}").status == 204


@pytest.mark.parametrize(
    ("verb", "status"), [("os-stop", "SHUTOFF"), ("pause", "PAUSED"), ("suspend", "SUSPENDED")], ids=lambda one: one
)
def test_one_that_stands_still_is_copied_too(cloud: Cloud, server: str, verb: str, status: str) -> None:
    cloud.act_until(server, status, **{verb: None})
    made = cloud.act_until(server, status, createImage={"name": f"snap-{status}"})["image_id"]
    assert image(cloud, made)["status"] == "active"
    assert not [name for name in cloud.volumes(server) if name.endswith("-copy")]
    assert cloud.wire.delete(f"{IMAGES}/{made}").status == 204


def test_backups_rotate(cloud: Cloud, server: str) -> None:
    made = []
    for name in ("one", "two"):
        body = {"name": name, "backup_type": "daily", "rotation": 1}
        made.append(cloud.act_until(server, "ACTIVE", createBackup=body)["image_id"])
    assert cloud.wire.get(f"{IMAGES}/{made[0]}").status == 404
    assert image(cloud, made[1])["status"] == "active"
    assert cloud.wire.delete(f"{IMAGES}/{made[1]}").status == 204


def test_a_shelved_instance_leaves_its_host_and_comes_back_with_its_disk(cloud: Cloud, server: str) -> None:
    addresses = cloud.server(server)["addresses"]
    for _ in range(2):
        cloud.act_until(server, "SHELVED_OFFLOADED", shelve=None)
        assert cloud.volumes(server) == []
        assert server not in cloud.guests()
        names = [one["name"] for one in cloud.wire.get(f"{IMAGES}?name=original-shelved").json["images"]]
        assert names == ["original-shelved"]
        cloud.act_until(server, "ACTIVE", unshelve=None)
        assert cloud.server(server)["addresses"] == addresses
        said = asked(cloud, server, "cat /mnt/disk/file", SHOW_ADDRESS)
        assert "\nprecious" in said
        assert addresses["private"][0]["addr"] in said
        assert cloud.wire.get(f"{IMAGES}?name=original-shelved").json["images"] == []
