"""On real QEMU a worker, libvirtd or the guest's own process dies in the middle of what somebody asked for.

The moment is certain: a call to libvirtd is held there. Nobody helps afterwards; it ends in a state that
its user can act on, rows and host agree, and a deletion leaves nothing behind. The host is a libvirtd of
the test's own, so nothing else on this machine is touched.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import libvirt
import pytest

from portal.setup.lab.host import LabHost
from tests.e2e.cloud import LATEST, SERVERS, Cloud
from tests.e2e.conftest import FAULT_SETTINGS
from tests.e2e.lab import LAB_SETTINGS
from tests.e2e.nacelle import Nacelle, wait_until
from tests.e2e.relay import LabRelay, Relay

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can make namespaces"),
    pytest.mark.lab(hosts=1),
]


@pytest.fixture(scope="module")
def relay(far: LabHost) -> Iterator[Relay]:
    """Where the calls to it can be held."""
    relay = LabRelay(far)
    yield relay
    relay.close()


@pytest.fixture(scope="module")
def far_nacelle(far: LabHost, relay: Relay) -> Iterator[Nacelle]:
    """A Nacelle with that host alone, and ``hello`` running on it."""
    own = Nacelle(relay.uri, **FAULT_SETTINGS, **LAB_SETTINGS)
    try:
        own.build_image()
        own.start_on_hosts("far")
        cloud = Cloud(own)
        hello = wait_until("hello", lambda: cloud.named("hello"))
        cloud.wait_for_status(hello["id"], "ACTIVE")
        larger = {"name": "larger", "id": "larger", "vcpus": 1, "ram": 192, "disk": 1}
        assert cloud.wire.post("/compute/v2.1/flavors", {"flavor": larger}).status == 200
        cloud.close()
        yield own
    finally:
        own.remove(leave_hosts=True)


@pytest.fixture
def far_cloud(far_nacelle: Nacelle, far: LabHost) -> Iterator[Cloud]:
    """Its administrator, with a look at the host past the relay."""
    cloud = Cloud(far_nacelle)
    yield cloud
    cloud.close()


def act(cloud: Cloud, server_id: str, **action: Any) -> None:
    """Ask for an action, whatever it answers with when it is accepted."""
    answer = cloud.wire.post(f"{SERVERS}/{server_id}/action", action, **LATEST)
    assert answer.status == 202, (answer.status, answer.content[:500])


# What is asked for, and the call in which it is held: before libvirtd gets it, or when it has done it.
ACTIONS: dict[str, tuple[dict[str, Any], str, bool]] = {
    "boot": ({}, "domainCreateWithFlags", True),
    "resize": ({"resize": {"flavorRef": "larger"}}, "domainCreateWithFlags", True),
    "snapshot": ({"createImage": {"name": "copy"}}, "storageVolCreateXML", True),
    "shelve": ({"shelve": None}, "domainShutdownFlags", False),
}


def kill_worker(far: LabHost, server_id: str, caller: int) -> None:
    """The process that makes the call."""
    os.kill(caller, signal.SIGKILL)


def kill_libvirtd(far: LabHost, server_id: str, caller: int) -> None:
    """The host's daemon. It comes back once the call has found that it is gone."""
    far.kill_libvirtd()


def kill_guest(far: LabHost, server_id: str, caller: int) -> None:
    """The guest's QEMU."""
    far.kill_guest(server_id)


VICTIMS: dict[str, Callable[[LabHost, str, int], None]] = {
    "worker": kill_worker,
    "libvirtd": kill_libvirtd,
    "guest": kill_guest,
}


@pytest.mark.parametrize("victim", VICTIMS)
@pytest.mark.parametrize("what", ACTIONS)
def test_a_death_in_the_middle_is_outlived(
    far: LabHost, relay: Relay, far_cloud: Cloud, what: str, victim: str
) -> None:
    action, call, answered = ACTIONS[what]
    server_id = "" if what == "boot" else far_cloud.launch(what)
    if server_id:
        far_cloud.wait_for_status(server_id, "ACTIVE")
    held = relay.hold(call, answered=answered)
    if server_id:
        act(far_cloud, server_id, **action)
    else:
        server_id = far_cloud.launch(what)
    caller = held.wait()
    VICTIMS[victim](far, server_id, caller)
    held.let_go()
    if victim == "libvirtd":
        far.start_libvirtd()
    status = settled(far_cloud, far, server_id)
    assert status in ENDS[what], status
    the_user_goes_on(far_cloud, server_id, status)
    far_cloud.delete(server_id)
    wait_until("nothing is left", lambda: nothing_is_left(far, far_cloud, server_id), pause=0.5)


# Where each may end. A boot that has no other host to go to, and a guest that died, end in the second.
ENDS = {
    "boot": ("ACTIVE", "ERROR", "SHUTOFF"),
    "resize": ("VERIFY_RESIZE", "ACTIVE"),
    "snapshot": ("ACTIVE", "SHUTOFF"),
    "shelve": ("SHELVED_OFFLOADED",),
}
# What the user does then, and where that leads.
NEXT: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "ACTIVE": ({"reboot": {"type": "HARD"}}, ("ACTIVE",)),
    "SHUTOFF": ({"os-start": None}, ("ACTIVE",)),
    "VERIFY_RESIZE": ({"revertResize": None}, ("ACTIVE", "SHUTOFF")),
    "SHELVED_OFFLOADED": ({"unshelve": None}, ("ACTIVE",)),
}


def settled(cloud: Cloud, far: LabHost, server_id: str) -> str:
    """Wait until nothing is under way and rows and host agree. The status then."""

    def seen() -> str:
        server = cloud.server(server_id)
        at_rest = server["OS-EXT-STS:task_state"] is None and server["status"] != "BUILD"
        return str(server["status"]) if at_rest and agrees(far, server) and images_are_whole(cloud) else ""

    return str(wait_until(f"{server_id} is settled", seen, pause=0.3))


def agrees(far: LabHost, server: dict[str, Any]) -> bool:
    """Whether the guest runs exactly when the row says so, and the status fits."""
    runs = guest_runs(far, server["id"])
    shown = server["OS-EXT-STS:power_state"] == 1
    return runs == shown and (server["status"] != "ACTIVE" or runs) and (server["status"] != "SHUTOFF" or not runs)


def guest_runs(far: LabHost, server_id: str) -> bool:
    """Whether the host runs its guest."""
    connection = libvirt.open(far.uri)
    try:
        return bool(connection.lookupByUUIDString(server_id).isActive())
    except libvirt.libvirtError:
        return False
    finally:
        connection.close()


def images_are_whole(cloud: Cloud) -> bool:
    """Whether no image waits for data that nobody brings."""
    images = cloud.wire.get("/image/v2/images").json["images"]
    return {image["status"] for image in images} == {"active"}


def the_user_goes_on(cloud: Cloud, server_id: str, status: str) -> None:
    """It can be used, from the state that it is in."""
    if status not in NEXT:
        return
    action, ends = NEXT[status]
    act(cloud, server_id, **action)

    def reached() -> str:
        server = cloud.server(server_id)
        return str(server["status"]) if server["OS-EXT-STS:task_state"] is None else ""

    assert wait_until("the next thing is done", reached, pause=0.3) in ends


def nothing_is_left(far: LabHost, cloud: Cloud, server_id: str) -> bool:
    """No guest and no volume of it on the host."""
    connection = libvirt.open(far.uri)
    try:
        pools = [connection.storagePoolLookupByName(cloud.nacelle.pool + end) for end in ("", "-console")]
        for pool in pools:
            pool.refresh()
        names = [name for pool in pools for name in pool.listVolumes()]
        return not [name for name in names if server_id in name] and not guest_runs(far, server_id)
    finally:
        connection.close()
