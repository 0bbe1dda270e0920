"""A real host's libvirtd stands still, and more is asked of it than there are workers: all else goes on."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from portal.setup.lab.host import LabHost
from portal.setup.lab.laboratory import Laboratory
from tests.e2e.cloud import SERVERS, Cloud
from tests.e2e.lab import nacelle_with, stands_still
from tests.e2e.moved import act, host_of
from tests.e2e.nacelle import Nacelle, wait_until
from tests.e2e.visitor import Visitor

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can make namespaces"),
    pytest.mark.lab(hosts=3),
]
WORKERS = 2
PAGES = (
    "/",
    "/instances/",
    "/images/",
    "/flavors/",
    "/networks/",
    "/cloud/instances/",
    "/cloud/capacity/",
    "/cloud/hosts/",
    "/cloud/scheduler/",
    "/cloud/aggregates/",
)
READS = (
    f"{SERVERS}/detail",
    "/compute/v2.1/os-hypervisors/detail",
    "/compute/v2.1/os-services",
    "/image/v2/images",
    "/network/v2.0/ports",
    "/nacelle/v1/hosts",
    "/nacelle/v1/capacity",
)


@pytest.fixture(scope="module")
def busy_nacelle(lab: Laboratory) -> Iterator[Nacelle]:
    """A Nacelle with few workers."""
    with nacelle_with(lab, NACELLE_WORKERS_COMPUTE=str(WORKERS), NACELLE_SHUTDOWN_GRACE="3") as own:
        yield own


@pytest.fixture
def cloud(busy_nacelle: Nacelle) -> Iterator[Cloud]:
    """Its administrator."""
    cloud = Cloud(busy_nacelle)
    yield cloud
    cloud.close()


def launch_on(cloud: Cloud, name: str, host: LabHost) -> str:
    """A server that runs there."""
    server = cloud.launch(name, availability_zone=f"nova:{host.name}")
    cloud.wait_for_status(server, "ACTIVE")
    return server


def test_a_host_that_hangs_delays_nothing_else(lab: Laboratory, cloud: Cloud, busy_nacelle: Nacelle) -> None:
    near, _, silent = lab.hosts
    stuck = [launch_on(cloud, f"stuck-{number}", silent) for number in range(WORKERS + 1)]
    visitor = Visitor(busy_nacelle)
    silent.signal_libvirtd(signal.SIGSTOP)
    try:
        for server in stuck:
            act(cloud, server, **{"os-stop": None})
        free = launch_on(cloud, "free", near)
        cloud.act_until(free, "SHUTOFF", **{"os-stop": None})
        cloud.act_until(free, "ACTIVE", **{"os-start": None})
        cloud.wait_for_login(free)
        act(cloud, free, **{"os-migrateLive": {"host": "lab-2", "block_migration": "auto"}})
        wait_until("it has crossed", lambda: is_on(cloud, free, "lab-2"))
        for path in (*PAGES, f"/instances/{stuck[0]}/", f"/instances/{free}/"):
            assert visitor.page(path)
        for path in READS:
            assert cloud.wire.get(path).status == 200, path
        cloud.delete(free)
        assert stands_still(silent)
        assert {cloud.server(server)["status"] for server in stuck} == {"ACTIVE"}  # nobody says that they are off
        assert all(cloud.server(server)["OS-EXT-STS:task_state"] for server in stuck)  # they wait
    finally:
        silent.signal_libvirtd(signal.SIGCONT)
    for server in stuck:
        wait_until("it is off", lambda: cloud.server(server)["status"] == "SHUTOFF")
        assert host_of(lab, cloud.server(server)) is silent
        cloud.delete(server)


def is_on(cloud: Cloud, server_id: str, name: str) -> bool:
    """Whether it runs there, and nothing is under way."""
    server = cloud.server(server_id)
    at_rest = server["status"] == "ACTIVE" and server["OS-EXT-STS:task_state"] is None
    return at_rest and bool(server["OS-EXT-SRV-ATTR:host"] == name)
