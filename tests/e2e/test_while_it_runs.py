"""What happens to a real guest while it runs: it grows, its password is set, what is under way is cancelled."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.e2e.cloud import LATEST, SERVERS, Cloud
from tests.e2e.nacelle import wait_until
from tests.e2e.serial_port import SerialPort, asked

pytestmark = pytest.mark.real
FLAVORS = "/compute/v2.1/flavors"
ROOM = {"nacelle:max_vcpus": "2", "nacelle:max_memory_mb": "512"}
SIZE = ("echo cpus $(cat /sys/devices/system/cpu/online)", "grep MemTotal /proc/meminfo", "echo up $(cat /proc/uptime)")
PASSWORD = "correct horse"


def flavor(cloud: Cloud, name: str, specs: dict[str, str], **amounts: int) -> str:
    body = {"name": name, "id": name, "vcpus": 1, "ram": 128, "disk": 1, **amounts}
    if cloud.wire.post(FLAVORS, {"flavor": body}).status == 200 and specs:
        assert cloud.wire.post(f"{FLAVORS}/{name}/os-extra_specs", {"extra_specs": specs}).status == 200
    return name


def launch(cloud: Cloud, name: str, **more: Any) -> str:
    """A server that is active."""
    image = cloud.wire.get("/image/v2/images?name=tiny").json["images"][0]["id"]
    body = {"name": name, "flavorRef": "42", "imageRef": image, "networks": "auto", **more}
    answer = cloud.wire.post(SERVERS, {"server": body}, **LATEST)
    assert answer.status == 202, answer.content
    server_id = str(answer.json["server"]["id"])
    cloud.wait_for_status(server_id, "ACTIVE")
    return server_id


def size(cloud: Cloud, server_id: str) -> tuple[str, int, float]:
    """The processors online, the memory in KiB and the seconds since its start, as the guest says."""
    said = asked(cloud, server_id, *SIZE)
    found = [re.search(pattern, said, re.MULTILINE) for pattern in (r"^cpus (\S+)", r"^MemTotal: +(\d+)", r"^up (\S+)")]
    cpus, memory, up = (one.group(1) for one in found if one is not None)
    return cpus, int(memory), float(up)


def test_it_grows_and_its_uptime_goes_on(cloud: Cloud) -> None:
    roomy, more = flavor(cloud, "roomy", ROOM), flavor(cloud, "roomier", {}, vcpus=2, ram=384)
    server_id = launch(cloud, "growing", flavorRef=roomy)
    try:
        cpus, memory, up = size(cloud, server_id)
        assert cpus == "0" and memory < 128 * 1024
        answer = cloud.wire.post(f"/nacelle/v1/servers/{server_id}/live-resize", {"flavor": more})
        assert answer.status == 202, answer.content

        def is_done() -> bool:
            server = cloud.server(server_id)
            return (server["flavor"]["ram"], server["status"]) == (384, "ACTIVE")

        wait_until("it has the flavor", is_done)

        def has_grown() -> tuple[str, int, float] | None:
            now = size(cloud, server_id)
            return now if now[0] == "0-1" and now[1] >= memory + 250 * 1024 else None

        assert wait_until("it sees both", has_grown, pause=1.0)[2] > up
        cloud.act_until(server_id, "ACTIVE", reboot={"type": "HARD"})
        cpus, memory, _ = size(cloud, server_id)
        assert cpus == "0-1" and memory > 256 * 1024
    finally:
        cloud.delete(server_id)


def test_the_password_of_its_creation_logs_in(cloud: Cloud) -> None:
    server_id = launch(cloud, "secret", adminPass=PASSWORD)
    try:
        cloud.wait_for_login(server_id)
        with SerialPort(cloud.libvirt, server_id) as port:
            for typed, answer in (("\n", "login:"), ("root\n", "Password:"), (f"{PASSWORD}\n", "# ")):
                port.output = ""
                port.type(typed)
                port.wait_for(answer)
    finally:
        cloud.delete(server_id)


def test_a_rescue_is_cancelled_while_the_guest_shuts_down(cloud: Cloud) -> None:
    server_id = launch(cloud, "rescued")
    try:
        asked(cloud, server_id, "echo kept > /mnt/disk/file", "sync", "killall acpid")  # it hears no power button now
        before = cloud.volumes(server_id)
        answer = cloud.wire.post(f"{SERVERS}/{server_id}/action", {"rescue": {}})
        assert answer.status == 200
        actions = f"/nacelle/v1/servers/{server_id}/actions"

        def is_off_going() -> bool:
            return any(step["event"] == "power_off" for step in cloud.steps(server_id))

        wait_until("it is told to shut down", is_off_going)
        (action,) = [one for one in cloud.wire.get(actions).json["actions"] if one["cancellable"]]
        assert cloud.wire.post(f"{actions}/{action['request_id']}/cancel", {}).status == 202

        def is_back() -> dict[str, Any] | None:
            shown = cloud.server(server_id)
            return shown if shown["OS-EXT-STS:task_state"] is None else None

        server = wait_until("it is what it was", is_back, pause=0.2)
        assert (server["status"], server["OS-EXT-STS:power_state"]) == ("ACTIVE", 1)
        assert cloud.volumes(server_id) == before
        last = cloud.wire.get(actions).json["actions"][0]
        assert (last["state"], last["message"]) == ("cancelled", "cancelled by admin")
        assert "\nkept" in asked(cloud, server_id, "cat /mnt/disk/file")
    finally:
        cloud.delete(server_id)
