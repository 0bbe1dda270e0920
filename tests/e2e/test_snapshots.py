"""Snapshots and shelving on real QEMU, as the guest sees them: what was on the disk is on the next one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.cloud import LATEST, NANO, SERVERS, Cloud
from tests.e2e.nacelle import wait_until
from tests.e2e.serial_port import SerialPort

pytestmark = pytest.mark.real
IMAGES = "/image/v2/images"


def act(cloud: Cloud, server_id: str, status: str, **action: Any) -> Any:
    """Ask for an action, and wait for the status that it ends in. The action's answer."""
    answer = cloud.wire.post(f"{SERVERS}/{server_id}/action", action, **LATEST)
    assert answer.status == 202, (answer.status, answer.content[:500])

    def reached() -> bool:
        server = cloud.server(server_id)
        return server["status"] == status and server["OS-EXT-STS:task_state"] is None

    wait_until(f"{server_id} is {status}", reached, pause=0.1)
    return answer.json if answer.content else None


def asked(cloud: Cloud, server_id: str, *commands: str) -> str:
    """What the guest answers to commands typed at its serial port."""
    cloud.wait_for_login(server_id)
    with SerialPort(cloud.libvirt, server_id) as port:
        port.log_in()
        port.output = ""
        port.type("; ".join(commands) + "; echo e''nd; exit\n")
        port.wait_for("end")
        return port.output.replace("\r", "")


def uptime(cloud: Cloud, server_id: str) -> float:
    """Seconds since the guest's kernel started, as the guest says."""
    said = asked(cloud, server_id, "echo up $(cat /proc/uptime)")
    return float(next(line.split()[1] for line in said.splitlines() if line.startswith("up ")))


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
    made = act(cloud, server, "ACTIVE", createImage={"name": "snap"})["image_id"]
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
    act(cloud, server, status, **{verb: None})
    made = act(cloud, server, status, createImage={"name": f"snap-{status}"})["image_id"]
    assert image(cloud, made)["status"] == "active"
    assert not [name for name in cloud.volumes(server) if name.endswith("-copy")]
    assert cloud.wire.delete(f"{IMAGES}/{made}").status == 204


def test_backups_rotate(cloud: Cloud, server: str) -> None:
    made = []
    for name in ("one", "two"):
        body = {"name": name, "backup_type": "daily", "rotation": 1}
        made.append(act(cloud, server, "ACTIVE", createBackup=body)["image_id"])
    assert cloud.wire.get(f"{IMAGES}/{made[0]}").status == 404
    assert image(cloud, made[1])["status"] == "active"
    assert cloud.wire.delete(f"{IMAGES}/{made[1]}").status == 204


def test_a_shelved_instance_leaves_its_host_and_comes_back_with_its_disk(cloud: Cloud, server: str) -> None:
    addresses = cloud.server(server)["addresses"]
    for _ in range(2):
        act(cloud, server, "SHELVED_OFFLOADED", shelve=None)
        assert cloud.volumes(server) == []
        assert server not in cloud.guests()
        names = [one["name"] for one in cloud.wire.get(f"{IMAGES}?name=original-shelved").json["images"]]
        assert names == ["original-shelved"]
        act(cloud, server, "ACTIVE", unshelve=None)
        assert cloud.server(server)["addresses"] == addresses
        said = asked(cloud, server, "cat /mnt/disk/file", "ip -4 addr show eth0")
        assert "\nprecious" in said
        assert addresses["private"][0]["addr"] in said
        assert cloud.wire.get(f"{IMAGES}?name=original-shelved").json["images"] == []
