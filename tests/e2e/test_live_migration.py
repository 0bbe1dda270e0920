"""Live migration between real hosts: a guest that counts goes on, and whatever dies, it is on exactly one of them."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest

from portal.setup.lab.host import LabHost
from portal.setup.lab.laboratory import Laboratory
from tests.e2e.cloud import LATEST, SERVERS, Cloud
from tests.e2e.conftest import LEASE_SECONDS
from tests.e2e.counting import Listener, numbers, start_counting
from tests.e2e.lab import connected, heal, nacelle_with
from tests.e2e.moved import host_of, settled
from tests.e2e.nacelle import wait_until

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can make namespaces"),
    pytest.mark.lab(hosts=3, shared=(1, 2)),
]
# Slow enough that a guest of 128 MiB is under way for some seconds.
SLOW_MB = "8"
CUT_SECONDS = 25  # libvirt gives up who is silent for 20


@pytest.fixture(scope="module")
def slow_cloud(lab: Laboratory) -> Iterator[Cloud]:
    """A Nacelle with the hosts, which sends guests slowly and misses dead workers soon."""
    settings = {"NACELLE_LIVE_MIGRATION_BANDWIDTH_MB": SLOW_MB, "NACELLE_LEASE_SECONDS": LEASE_SECONDS}
    with nacelle_with(lab, NACELLE_STATE_SYNC_SECONDS="5", **settings) as own:
        cloud = Cloud(own)
        yield cloud
        cloud.close()


@pytest.fixture
def cloud(lab: Laboratory, slow_cloud: Cloud) -> Iterator[Cloud]:
    """The same; afterwards every host runs and is reached, whatever befell it."""
    try:
        yield slow_cloud
    finally:
        heal(lab)


@pytest.fixture
def server(cloud: Cloud) -> Iterator[str]:
    """A server on the first host, with its guest at the login prompt."""
    key = cloud.launch("wanderer", host="lab-1")
    cloud.wait_for_status(key, "ACTIVE")
    cloud.wait_for_login(key)
    yield key
    if cloud.wire.get(f"{SERVERS}/{key}").status == 200:
        cloud.delete(key)


def ask(cloud: Cloud, server: str, host: str | None = None, block: Any = "auto") -> str:
    """Ask for it; the number of the migration."""
    body = {"os-migrateLive": {"host": host, "block_migration": block}}
    answer = cloud.wire.post(f"{SERVERS}/{server}/action", body, **LATEST)
    assert answer.status == 202, answer.content[:500]
    return str(migration(cloud, server)["id"])


def migration(cloud: Cloud, server: str) -> dict[str, Any]:
    """The server's last migration."""
    found = cloud.wire.get(f"/compute/v2.1/os-migrations?instance_uuid={server}", **LATEST).json["migrations"]
    return dict(max(found, key=lambda one: int(one["id"])))


def under_way(cloud: Cloud, server: str) -> None:
    """Wait until something of it was sent."""

    def sent() -> bool:
        found = cloud.wire.get(f"{SERVERS}/{server}/migrations", **LATEST).json["migrations"]
        assert found, migration(cloud, server)
        return bool(found[0]["memory_processed_bytes"])

    wait_until("the guest is on its way", sent)


@pytest.mark.parametrize("target", ["lab-3", "lab-2"], ids=["apart", "shared"])
def test_a_guest_that_counts_goes_on(lab: Laboratory, cloud: Cloud, server: str, target: str) -> None:
    start_counting(lab.host(1), server)
    there = next(host for host in lab.hosts if host.name == target)
    listener = Listener(server, lab.host(1), there)
    with listener.listening():
        ask(cloud, server, target)
        under_way(cloud, server)
        found = settled(cloud, lab, server)
        seen = len(listener.numbers)
        wait_until("it goes on counting", lambda: len(listener.numbers) > seen + 1)
    counted = listener.numbers
    assert counted == list(range(len(counted)))  # none twice, none left out
    assert len(numbers(there, server)) > 1
    last = migration(cloud, server)
    assert (found["status"], found["OS-EXT-SRV-ATTR:host"]) == ("ACTIVE", target), found
    assert (last["status"], last["source_compute"], last["dest_compute"]) == ("completed", "lab-1", target)
    # Its definition is that of the new host: started from it, it has the same disks.
    with connected(there) as connection:
        running = disks_of(connection, server)
    cloud.act_until(server, "ACTIVE", reboot={"type": "HARD"})
    cloud.wait_for_login(server)
    with connected(there) as connection:
        assert disks_of(connection, server) == running
    settled(cloud, lab, server)


def disks_of(connection: Any, server: str) -> list[str]:
    """The files of its disks, with what they stand on."""
    return re.findall(r"<source file='([^']+)'", connection.lookupByUUIDString(server).XMLDesc())


def test_abort_and_force_complete(lab: Laboratory, cloud: Cloud, server: str) -> None:
    number = ask(cloud, server, "lab-3")
    under_way(cloud, server)
    assert cloud.wire.delete(f"{SERVERS}/{server}/migrations/{number}", **LATEST).status == 202
    found = settled(cloud, lab, server)
    assert (found["status"], found["OS-EXT-SRV-ATTR:host"]) == ("ACTIVE", "lab-1")
    assert migration(cloud, server)["status"] == "cancelled"
    number = ask(cloud, server, "lab-3")
    under_way(cloud, server)
    path = f"{SERVERS}/{server}/migrations/{number}/action"
    assert cloud.wire.post(path, {"force_complete": None}, **LATEST).status == 202
    found = settled(cloud, lab, server)
    assert (found["status"], found["OS-EXT-SRV-ATTR:host"]) == ("ACTIVE", "lab-3")
    assert migration(cloud, server)["status"] == "completed"


# what dies ------------------------------------------------------------------------------------------
def kill_worker(lab: Laboratory, cloud: Cloud, server: str) -> None:
    """The processes that work in the lane of the migration."""
    lane = cloud.nacelle.program("worker-transfer")
    assert lane is not None
    for process in reversed([lane, *lane.children(recursive=True)]):
        try:
            process.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue


FAULTS: dict[str, Callable[[Laboratory, Cloud, str], None]] = {
    "worker": kill_worker,
    "libvirtd of the source": lambda lab, cloud, server: restarted(lab.host(1)),
    "libvirtd of the target": lambda lab, cloud, server: restarted(lab.host(3)),
    "guest at the target": lambda lab, cloud, server: lab.host(3).kill_guest(server),
    "link of the target": lambda lab, cloud, server: cut(lab.host(3)),
    "link of the source": lambda lab, cloud, server: cut(lab.host(1)),
}


def restarted(host: LabHost) -> None:
    host.kill_libvirtd()
    host.start_libvirtd()


def cut(host: LabHost) -> None:
    """Long enough for everybody to notice."""
    host.cut()
    time.sleep(CUT_SECONDS)
    host.mend()


@pytest.mark.parametrize("what", FAULTS)
def test_whatever_dies_the_guest_runs_on_one_host(lab: Laboratory, cloud: Cloud, server: str, what: str) -> None:
    start_counting(lab.host(1), server)
    ask(cloud, server, "lab-3")
    under_way(cloud, server)
    FAULTS[what](lab, cloud, server)
    found = settled(cloud, lab, server)
    last = migration(cloud, server)
    assert found["status"] == "ACTIVE", found
    mine = host_of(lab, found)
    assert (mine.name == "lab-3") == (last["status"] == "completed"), (mine.name, last)
    assert last["status"] in ("completed", "failed", "error"), last
    seen = len(numbers(mine, server))
    wait_until("it goes on counting", lambda: len(numbers(mine, server)) > seen)
    if what == "worker":
        assert last["status"] == "completed", last


def test_a_guest_that_dies_at_the_source_is_stopped_there(lab: Laboratory, cloud: Cloud, server: str) -> None:
    ask(cloud, server, "lab-3")
    under_way(cloud, server)
    lab.host(1).kill_guest(server)
    assert settled(cloud, lab, server)["status"] == "SHUTOFF"
    cloud.act_until(server, "ACTIVE", **{"os-start": None})
