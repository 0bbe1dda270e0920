"""Live migration between real hosts: a guest that counts goes on, and whatever dies, it is on exactly one of them."""

from __future__ import annotations

import json
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
from tests.e2e.lab import POOL, connected, heal, nacelle_with
from tests.e2e.moved import host_of, settled
from tests.e2e.nacelle import wait_until
from tests.e2e.serial_port import SerialPort

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can make namespaces"),
    pytest.mark.lab(hosts=3, shared=(1, 2)),
]
# Slow enough that a guest of 128 MiB is under way for some seconds.
SLOW_MB = "8"
CUT_SECONDS = 25  # libvirt gives up who is silent for 20
NUMBER = re.compile(rb"(?m)^(\d+)\r?$")


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
    """The server's last migration, as an administrator sees it in the database of this cloud."""
    command = (
        "import json; from compute.models import Migration\n"
        f"m = Migration.objects.filter(instance={server!r}).first()\n"
        "there = m.dest_host.name if m.dest_host else None\n"
        "print(json.dumps(dict(id=m.pk, status=m.status, stats=m.stats, source=m.source_host.name, dest=there)))"
    )
    ended = cloud.nacelle.command("shell", "--no-imports", "-c", command)
    assert ended.returncode == 0, ended.stderr
    return dict(json.loads(ended.stdout.splitlines()[-1]))


def under_way(cloud: Cloud, server: str) -> dict[str, Any]:
    """Wait until something of it was sent."""

    def sent() -> dict[str, Any] | None:
        found = migration(cloud, server)
        assert found["status"] in ("queued", "preparing", "running"), found
        return found if found["stats"].get("memory_processed_bytes") else None

    return dict(wait_until("the guest is on its way", sent))


def numbers(host: LabHost, server: str) -> list[int]:
    """What a guest that counts has written to its console log on a host."""
    log = host.folder / "lib" / "images" / f"{POOL}-console" / f"{server}.log"
    return [int(found) for found in NUMBER.findall(log.read_bytes())] if log.exists() else []


def start_counting(cloud: Cloud, host: LabHost, server: str) -> None:
    """The guest counts seconds on its serial port from now on."""
    with connected(host) as connection, SerialPort(connection, server) as port:
        port.log_in()
        port.type("count\n")
        port.wait_for("\n1\r")


@pytest.mark.parametrize(("target", "shares"), [("lab-3", False), ("lab-2", True)], ids=["apart", "shared"])
def test_a_guest_that_counts_goes_on(lab: Laboratory, cloud: Cloud, server: str, target: str, shares: bool) -> None:
    source = lab.host(1)
    start_counting(cloud, source, server)
    before = numbers(source, server)
    ask(cloud, server, target)
    under_way(cloud, server)
    found = settled(cloud, lab, server)
    last = migration(cloud, server)
    assert (found["status"], found["OS-EXT-SRV-ATTR:host"]) == ("ACTIVE", target), found
    assert (last["status"], last["source"], last["dest"]) == ("completed", "lab-1", target)
    there = host_of(lab, found)
    wait_until("it goes on counting", lambda: len(numbers(there, server)) > 3)
    after = numbers(there, server)
    assert after == list(range(after[0], after[0] + len(after))), after  # none twice, none left out
    assert before and before[-1] < after[0], "it began anew"
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
    start_counting(cloud, lab.host(1), server)
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
