"""Processes of a running Nacelle die by SIGKILL: everything goes on, nothing is lost or done twice."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Iterator
from functools import partial

import psutil
import pytest

from tests.e2e.cloud import Cloud
from tests.e2e.nacelle import PROGRAMS, Nacelle, title, wait_until

pytestmark = pytest.mark.real

LANE = "worker-compute"
TRIES = 8


def worker_of(nacelle: Nacelle, server_id: str) -> int:
    """The process that took up the server's boot, by its log line."""
    line = nacelle.wait_for_output(f"create of {server_id} begins (attempt 1)")
    return int(line.split()[2])


@contextlib.contextmanager
def stopped(process_id: int) -> Iterator[psutil.Process]:
    """The process stands still; after the block it goes on, if it still lives."""
    process = psutil.Process(process_id)
    process.suspend()
    try:
        yield process
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()


def has_begun(cloud: Cloud, server_id: str, step: str) -> bool:
    """Whether the server's last operation came to this step."""
    return any(event["event"] == step for event in cloud.steps(server_id))


def killed_in(cloud: Cloud, step: str) -> str:
    """Launch servers until a worker was caught in this step, and killed there. Returns the server's id."""
    for _ in range(TRIES):
        server_id = cloud.launch("survivor")
        worker = worker_of(cloud.nacelle, server_id)
        wait_until(step, partial(has_begun, cloud, server_id, step), pause=0.002)
        with stopped(worker) as process:
            last = cloud.steps(server_id)[-1]
            if last["event"] == step and last["finish_time"] is None:
                process.send_signal(signal.SIGKILL)
                return server_id
        cloud.wait_for_status(server_id, "ACTIVE")
        cloud.delete(server_id)
    raise AssertionError(f"no worker was caught in the step {step}")


@pytest.mark.parametrize("step", ["create_disks", "spawn"])
def test_a_boot_outlives_its_worker(cloud: Cloud, step: str) -> None:
    server_id = killed_in(cloud, step)
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
