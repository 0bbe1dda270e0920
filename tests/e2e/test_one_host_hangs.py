"""Two real hosts, one of whose libvirtd stands still: nothing on the other waits for it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from portal.setup.lab.laboratory import Laboratory
from tests.e2e.cloud import LATEST, NANO, SERVERS, Cloud
from tests.e2e.lab import nacelle_with

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can make namespaces"),
    pytest.mark.lab(hosts=2),
]

WORKERS = 2


@pytest.fixture(scope="module")
def cloud(lab: Laboratory) -> Iterator[Cloud]:
    """A Nacelle with both, and no more workers than a single host could hold."""
    settings = {"NACELLE_WORKERS_COMPUTE": str(WORKERS), "NACELLE_HOST_SAMPLE_SECONDS": "1"}
    with nacelle_with(lab, **settings) as own:
        cloud = Cloud(own)
        yield cloud
        cloud.close()


def launch_on(cloud: Cloud, name: str, host: str) -> str:
    """A server that is active there."""
    image = cloud.wire.get("/image/v2/images?name=tiny").json["images"][0]["id"]
    wanted = {"name": name, "flavorRef": NANO, "imageRef": image, "networks": "auto", "host": host}
    answer = cloud.wire.post(SERVERS, {"server": wanted}, **LATEST)
    assert answer.status == 202, answer.content[:500]
    server = str(answer.json["server"]["id"])
    cloud.wait_for_status(server, "ACTIVE")
    return server


def test_operations_on_the_other_host_go_on(lab: Laboratory, cloud: Cloud) -> None:
    still, other = lab.host(1), lab.host(2)
    stuck = [launch_on(cloud, f"stuck-{number}", still.name) for number in range(WORKERS + 1)]
    free = launch_on(cloud, "free", other.name)
    still.signal_libvirtd(signal.SIGSTOP)
    try:
        for server in stuck:
            cloud.act(server, reboot={"type": "HARD"})
        cloud.act_until(free, "SHUTOFF", **{"os-stop": None})
        cloud.act_until(free, "ACTIVE", **{"os-start": None})
        fresh = launch_on(cloud, "fresh", other.name)
        assert all(cloud.server(server)["OS-EXT-STS:task_state"] for server in stuck)  # they wait
        (service,) = cloud.wire.get(f"/compute/v2.1/os-services?host={other.name}").json["services"]
        assert service["state"] == "up"
    finally:
        still.signal_libvirtd(signal.SIGCONT)
    for server in stuck:
        cloud.wait_for_status(server, "ACTIVE")
    for server in (*stuck, free, fresh):
        cloud.delete(server)
