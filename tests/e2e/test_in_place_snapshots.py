"""In-place snapshots of a real guest: its disk and its memory go back, branches stay apart, nothing is left."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cloud import LATEST, SERVERS, Cloud
from tests.e2e.nacelle import wait_until
from tests.e2e.serial_port import asked
from tests.e2e.test_disk_operations import flavor

pytestmark = pytest.mark.real


class Snapshots:
    """A server's snapshots, in the words of the API."""

    def __init__(self, cloud: Cloud, server_id: str) -> None:
        self.cloud, self.server_id = cloud, server_id
        self.path = f"/nacelle/v1/servers/{server_id}/snapshots"

    def settled(self, status: str) -> None:
        """Wait until nothing is under way; the server then shows this status."""
        assert self.cloud.wait_for_status(self.server_id, status)

    def take(self, name: str, status: str = "ACTIVE", **wanted: Any) -> str:
        """Take one, and return its id."""
        answer = self.cloud.wire.post(self.path, {"name": name, **wanted})
        assert answer.status == 202, answer.content[:500]
        self.settled(status)
        made = answer.json["snapshot"]["id"]
        assert self.all()[made]["state"] == "available"
        return str(made)

    def revert(self, snapshot_id: str, status: str = "ACTIVE", **how: Any) -> None:
        """Go back to one."""
        answer = self.cloud.wire.post(f"{self.path}/{snapshot_id}/revert", how)
        assert answer.status == 202, answer.content[:500]
        self.settled(status)

    def delete(self, snapshot_id: str, status: str = "ACTIVE") -> None:
        """Let one go."""
        assert self.cloud.wire.delete(f"{self.path}/{snapshot_id}").status == 202
        self.settled(status)
        assert snapshot_id not in self.all()

    def all(self) -> dict[str, dict[str, Any]]:
        """Each by its id."""
        return {one["id"]: one for one in self.cloud.wire.get(self.path).json["snapshots"]}

    def tree(self) -> dict[str, str | None]:
        """Each one's name, and its parent's."""
        found = self.all()
        parents = {None: None, **{key: one["name"] for key, one in found.items()}}
        return {one["name"]: parents[one["parent_id"]] for one in found.values()}


def uptime(said: str) -> float:
    """Seconds, from a line ``up 12.34 56.78``."""
    return float(next(line.split()[1] for line in said.splitlines() if line.startswith("up ")))


LOOK = ("echo up $(cat /proc/uptime)", "echo disk $(cat /mnt/disk/file)", "echo memory $(cat /tmp/file)")


def test_a_guest_goes_back_to_its_disk_and_its_memory(cloud: Cloud) -> None:
    with cloud.launched("moments") as server_id:
        snapshots = Snapshots(cloud, server_id)
        asked(cloud, server_id, "echo first > /mnt/disk/file", "echo kept > /tmp/file", "sync")
        before = uptime(asked(cloud, server_id, *LOOK))
        first = snapshots.take("first", memory=True)
        assert snapshots.all()[first]["size_bytes"] > 1 << 20
        asked(cloud, server_id, "echo second > /mnt/disk/file", "rm /tmp/file", "sync")
        second = snapshots.take("second")
        asked(cloud, server_id, "echo third > /mnt/disk/file", "sync")

        snapshots.revert(first)
        said = asked(cloud, server_id, *LOOK)
        assert "\ndisk first" in said and "\nmemory kept" in said
        assert uptime(said) > before
        branch = snapshots.take("branch", memory=True)
        assert snapshots.tree() == {"first": None, "second": "first", "branch": "first"}

        cloud.act(server_id, reboot={"type": "HARD"})
        snapshots.settled("ACTIVE")
        snapshots.revert(branch)  # from a process of QEMU's that never knew it
        said = asked(cloud, server_id, *LOOK)
        assert "\ndisk first" in said and "\nmemory kept" in said
        assert uptime(said) > before

        snapshots.delete(first)
        assert snapshots.tree() == {"second": None, "branch": None}
        snapshots.revert(second, memory=False, start=True)
        said = asked(cloud, server_id, *LOOK)
        assert "\ndisk second" in said and "kept" not in said
        snapshots.revert(branch, "SHUTOFF", memory=False, start=False)
        snapshots.delete(second, "SHUTOFF")
        snapshots.revert(branch, "ACTIVE")  # off until now
        said = asked(cloud, server_id, *LOOK)
        assert "\ndisk first" in said and "\nmemory kept" in said
        domain = cloud.libvirt.lookupByUUIDString(server_id)
        assert domain.isActive()
    assert cloud.volumes(server_id) == []
    assert server_id not in cloud.guests()
    assert cloud.wire.get(snapshots.path).status == 404


def test_all_disks_are_in_it_and_an_image_holds_none(cloud: Cloud, tmp_path: Path) -> None:
    whole = flavor(cloud, "whole", **{"OS-FLV-EXT-DATA:ephemeral": 1, "swap": 16})
    image = cloud.wire.get("/image/v2/images?name=tiny").json["images"][0]["id"]
    wanted = {"name": "whole", "flavorRef": whole, "imageRef": image, "networks": "auto"}
    server_id = cloud.wire.post(SERVERS, {"server": wanted}, **LATEST).json["server"]["id"]
    cloud.wait_for_status(server_id, "ACTIVE")
    try:
        snapshots = Snapshots(cloud, server_id)
        said = asked(cloud, server_id, "swapon /dev/vdc && cat /proc/swaps", "echo one > /dev/vdb", "sync")
        assert "/dev/vdc" in said.split("Filename", 1)[1]
        first = snapshots.take("first", memory=True)
        asked(cloud, server_id, "echo two > /dev/vdb", "swapoff /dev/vdc", "sync")
        made = cloud.act_until(server_id, "ACTIVE", createImage={"name": "flat"})["image_id"]
        file = tmp_path / "flat.qcow2"
        file.write_bytes(cloud.wire.get(f"/image/v2/images/{made}/file").content)
        told = json.loads(subprocess.check_output(["qemu-img", "info", "--output=json", str(file)]))
        assert (told["format"], told.get("snapshots"), told.get("backing-filename")) == ("qcow2", None, None)
        assert cloud.wire.delete(f"/image/v2/images/{made}").status == 204
        snapshots.revert(first)
        said = asked(cloud, server_id, "head -c 3 /dev/vdb", "cat /proc/swaps")
        assert "\none" in said and "/dev/vdc" in said.split("Filename", 1)[1]
    finally:
        cloud.delete(server_id)
    assert cloud.volumes(server_id) == []


def test_a_schedule_runs_by_itself(cloud: Cloud) -> None:
    with cloud.launched("scheduled") as server_id:
        path = f"/nacelle/v1/servers/{server_id}/schedules"
        wanted = {"name": "hourly", "frequency": "hourly", "minute": 0, "keep": 2}
        made = cloud.wire.post(path, wanted).json["schedule"]
        # Its time is an hour away at the most; what the watcher reads is moved to now.
        assert cloud.nacelle.command("shell", "-c", DUE.format(made["id"])).returncode == 0

        def ran() -> bool:
            (one,) = cloud.wire.get(path).json["schedules"]
            return one["last_result"] == "done"

        wait_until("the scheduled snapshot", ran)
        (snapshot,) = cloud.wire.get(f"/nacelle/v1/servers/{server_id}/snapshots").json["snapshots"]
        assert (snapshot["schedule_id"], snapshot["state"]) == (made["id"], "available")


DUE = (
    "from compute.models import SnapshotSchedule; from django.utils import timezone; now = timezone.now(); "
    "assert SnapshotSchedule.objects.filter(pk='{}').update(next_run_at=now, try_at=now)"
)
