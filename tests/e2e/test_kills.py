"""Processes of a running Nacelle die by SIGKILL: everything goes on, nothing is lost or done twice."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Iterator

import psutil
import pytest

from tests.e2e.cloud import Cloud
from tests.e2e.conftest import LEASE_SECONDS
from tests.e2e.nacelle import PROGRAMS, Nacelle, title, wait_until
from tests.e2e.relay import LocalRelay, Relay

pytestmark = pytest.mark.real

LANE = "worker-compute"


@pytest.fixture(scope="module")
def relay() -> Iterator[Relay]:
    """Between a Nacelle and this machine's libvirtd."""
    relay = LocalRelay()
    yield relay
    relay.close()


@pytest.fixture(scope="module")
def relayed_cloud(relay: Relay) -> Iterator[Cloud]:
    """A Nacelle whose calls to its host can be held, with ``hello`` running."""
    own = Nacelle(relay.uri, NACELLE_LEASE_SECONDS=LEASE_SECONDS)
    try:
        own.build_image()
        own.start_on_hosts("relayed")
        cloud = Cloud(own)
        wait_until("hello", lambda: cloud.named("hello"))
        cloud.wait_for_status(str(cloud.named("hello")["id"]), "ACTIVE")  # type: ignore[index]  # it is there
        yield cloud
        cloud.close()
    finally:
        own.remove()


# Each step, and a call to the host that it makes.
CALLS = {"create_disks": "storageVolCreateXML", "spawn": "domainCreateWithFlags"}


@pytest.mark.parametrize("answered", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", CALLS)
def test_a_boot_outlives_its_worker(relayed_cloud: Cloud, relay: Relay, step: str, answered: bool) -> None:
    """The worker is killed inside a call: before the host got it, or after the host did it."""
    cloud = relayed_cloud
    held = relay.hold(CALLS[step], answered=answered)
    server_id = cloud.launch("survivor")
    worker = held.wait()
    last = cloud.steps(server_id)[-1]
    assert (last["event"], last["finish_time"]) == (step, None)
    os.kill(worker, signal.SIGKILL)
    held.let_go()
    server = cloud.wait_for_status(server_id, "ACTIVE")
    assert server["OS-EXT-STS:power_state"] == 1
    assert cloud.guests().count(server_id) == 1
    assert len(cloud.volumes(server_id)) == 3
    cloud.nacelle.wait_for_output(f"create of {server_id} begins (attempt 2)")
    cloud.wait_for_login(server_id)
    cloud.delete(server_id)
    assert server_id not in cloud.guests()
    assert cloud.volumes(server_id) == []


def answers(address: str) -> bool:
    """Whether something listens there."""
    host, port = address.rsplit(":", 1)
    with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=1):
        return True
    return False


def last_seen(cloud: Cloud) -> str:
    """When the watcher last saw the host."""
    services = cloud.wire.get("/compute/v2.1/os-services?binary=nova-compute").json["services"]
    return str(services[0]["updated_at"])


def assert_it_works(cloud: Cloud, program: str) -> None:
    """The program does again what it is for."""
    if program == "web":
        wait_until("an answer", lambda: answers(cloud.nacelle.address))
        assert cloud.wire.get("/healthz").status == 200
    elif program == "console-proxy":
        wait_until("an answer", lambda: answers(cloud.nacelle.console_address))
    elif program == "watcher":
        before = last_seen(cloud)
        wait_until("a later sight of the host", lambda: last_seen(cloud) != before, pause=0.5)
    elif program == LANE:
        with cloud.launched("after-the-kill") as server_id:
            assert cloud.is_running(server_id)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_killed_program_comes_back(cloud: Cloud, program: str) -> None:
    victim = wait_until(program, lambda: cloud.nacelle.program(program))
    below = victim.children(recursive=True)
    victim.send_signal(signal.SIGKILL)
    wait_until("the old processes are gone", lambda: not any(alive(process) for process in (victim, *below)))
    wait_until(f"another {program}", lambda: cloud.nacelle.program(program))
    assert_it_works(cloud, program)


def alive(process: psutil.Process) -> bool:
    """Whether it still does anything."""
    with contextlib.suppress(psutil.Error):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False


@pytest.mark.parametrize("kind", ["idle", "pusher", "monitor"])
def test_a_lane_starts_afresh_when_one_of_its_processes_is_killed(cloud: Cloud, kind: str) -> None:
    """A process that dies may have held the lock of the lane's queue."""
    lane = wait_until(LANE, lambda: cloud.nacelle.program(LANE))
    victim = wait_until(kind, lambda: next((one for one in lane.children() if title(one).endswith(kind)), None))
    victim.send_signal(signal.SIGKILL)
    wait_until("the lane ends", lambda: not alive(lane))
    wait_until(f"another {LANE}", lambda: cloud.nacelle.program(LANE))
    assert_it_works(cloud, LANE)
