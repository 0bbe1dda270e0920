"""On a laboratory of real hosts a worker, a libvirtd, a QEMU or a cable dies in the middle of a move.

The moment is certain: a call to a host's libvirtd is held there. Nobody helps afterwards but whoever starts a
libvirtd again and puts a cable back. Then the instance is there exactly once, rows and hosts agree, and it runs or can
be started; its deletion leaves nothing on any host.
"""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from portal.setup.lab.host import LabHost
from portal.setup.lab.laboratory import Laboratory
from tests.e2e.cloud import SERVERS, Cloud
from tests.e2e.conftest import FAULT_SETTINGS
from tests.e2e.lab import domains, heal, nacelle_with
from tests.e2e.moved import RUNNING, act, host_of, nothing_is_left, settled, wait_for_host
from tests.e2e.nacelle import Nacelle, wait_until
from tests.e2e.relay import Held, LabRelay

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can make namespaces"),
    pytest.mark.lab(hosts=2),
]
SOURCE, TARGET = "source", "target"
GUEST_HERE, GUEST_THERE = "guest on the source", "guest on the target"


@dataclass(frozen=True)
class Moment:
    """A call in the middle of a move: to which of the two hosts, and whether libvirtd has done it."""

    side: str
    procedure: str
    answered: bool


@dataclass
class Scene:
    """A move that is held in a call."""

    source: LabHost
    target: LabHost
    server_id: str
    caller: int

    def host(self, side: str) -> LabHost:
        """The host of that side."""
        return self.source if side == SOURCE else self.target


@pytest.fixture(scope="module")
def relays(lab: Laboratory) -> Iterator[dict[str, LabRelay]]:
    """Where the calls to each host can be held."""
    made = {host.name: LabRelay(host) for host in lab.hosts}
    yield made
    for one in made.values():
        one.close()


@pytest.fixture(scope="module")
def moving_nacelle(lab: Laboratory, relays: dict[str, LabRelay]) -> Iterator[Nacelle]:
    """A Nacelle that reaches its hosts by the relays."""
    with nacelle_with(lab, *(one.uri for one in relays.values()), **FAULT_SETTINGS) as own:
        yield own


@pytest.fixture
def moving_cloud(lab: Laboratory, moving_nacelle: Nacelle, relays: dict[str, LabRelay]) -> Iterator[Cloud]:
    """Its administrator. Afterwards every host is as it was, whatever befell it."""
    cloud = Cloud(moving_nacelle)
    try:
        yield cloud
    finally:
        for one in relays.values():
            one.let_all_go()
        cloud.close()
        heal(lab)


# what befalls ---------------------------------------------------------------------------------------
def kill_worker(cloud: Cloud, scene: Scene) -> Callable[[], None]:
    """The process that makes the call."""
    os.kill(scene.caller, signal.SIGKILL)
    return lambda: None


def kill_libvirtd(side: str) -> Callable[[Cloud, Scene], Callable[[], None]]:
    """A host's daemon. It comes back once the call has found that it is gone."""

    def kill(cloud: Cloud, scene: Scene) -> Callable[[], None]:
        scene.host(side).kill_libvirtd()
        return scene.host(side).start_libvirtd

    return kill


def kill_guest(side: str) -> Callable[[Cloud, Scene], Callable[[], None]]:
    """The guest's QEMU on one of the hosts, and its libvirtd has seen it: until then it says that the guest runs."""

    def kill(cloud: Cloud, scene: Scene) -> Callable[[], None]:
        host = scene.host(side)
        host.kill_guest(scene.server_id)
        wait_until("libvirtd sees that the guest has died", lambda: not domains(host).get(scene.server_id))
        return lambda: None

    return kill


def cut(side: str) -> Callable[[Cloud, Scene], Callable[[], None]]:
    """A host's cable. It is put back when the host has been seen to be down."""

    def pull(cloud: Cloud, scene: Scene) -> Callable[[], None]:
        scene.host(side).cut()

        def mend() -> None:
            wait_for_host(cloud, scene.host(side).name, "down")
            scene.host(side).mend()

        return mend

    return pull


VICTIMS: dict[str, Callable[[Cloud, Scene], Callable[[], None]]] = {
    "worker": kill_worker,
    "libvirtd of the source": kill_libvirtd(SOURCE),
    "libvirtd of the target": kill_libvirtd(TARGET),
    GUEST_HERE: kill_guest(SOURCE),
    GUEST_THERE: kill_guest(TARGET),
    "cable of the source": cut(SOURCE),
    "cable of the target": cut(TARGET),
}


def befall(victim: str, cloud: Cloud, scene: Scene, held: Held) -> None:
    """Let it happen while the call is held, let the call go, and put back what a person would put back."""
    put_back = VICTIMS[victim](cloud, scene)
    held.let_go()
    put_back()


def cases(
    moments: Iterable[str], there_is: dict[str, tuple[str, ...]], always: Collection[tuple[str, str]]
) -> list[Any]:
    """Every victim at every moment; a guest's QEMU at those at which there is one on that host.

    ``always``: those that are tested each time; the others take most of an hour, and are for who changes moves.
    """
    found = [(moment, victim) for moment in moments for victim in VICTIMS if moment in there_is.get(victim, moments)]
    assert set(always) <= set(found)
    return [pytest.param(*case, marks=() if case in always else pytest.mark.thorough) for case in found]


# a live migration -----------------------------------------------------------------------------------
LIVE = {
    "disks are made": Moment(TARGET, "storageVolCreateXML", True),
    "is prepared": Moment(TARGET, "domainMigratePrepare3Params", True),
    "begins": Moment(SOURCE, "domainMigratePerform3Params", False),
    "has crossed": Moment(SOURCE, "domainMigratePerform3Params", True),
    "runs there": Moment(TARGET, "domainMigrateFinish3Params", True),
    "is confirmed": Moment(SOURCE, "domainMigrateConfirm3Params", True),
}
LIVE_CASES = cases(
    LIVE,
    {
        GUEST_THERE: ("is prepared", "begins", "has crossed", "runs there", "is confirmed"),
        GUEST_HERE: ("disks are made", "is prepared", "begins", "has crossed", "runs there"),
    },
    always={("disks are made", "worker"), ("is prepared", "libvirtd of the target")},
)


@pytest.fixture
def server_id(moving_cloud: Cloud) -> Iterator[str]:
    """A server that runs, with a card that no host keeps an address for unless it is told to."""
    wire = moving_cloud.wire
    network = wire.get("/network/v2.0/networks?name=private").json["networks"][0]["id"]
    mac = "fa:16:3f:" + ":".join(f"{byte:02x}" for byte in secrets.token_bytes(3))
    port = wire.post("/network/v2.0/ports", {"port": {"network_id": network, "mac_address": mac}}).json["port"]["id"]
    server_id = moving_cloud.launch("mover", networks=[{"port": port}])
    moving_cloud.wait_for_status(server_id, "ACTIVE")
    yield server_id
    if wire.get(f"{SERVERS}/{server_id}").status == 200:
        moving_cloud.delete(server_id)
    assert wire.delete(f"/network/v2.0/ports/{port}").status == 204


def scene_of(cloud: Cloud, lab: Laboratory, server_id: str) -> Scene:
    """Where it is, and where it is to go."""
    source = host_of(lab, cloud.server(server_id))
    (target,) = [host for host in lab.hosts if host is not source]
    return Scene(source, target, server_id, 0)


class Stage:
    """A laboratory, its Nacelle, and what the tests have in common."""

    def __init__(self, lab: Laboratory, relays: dict[str, LabRelay], cloud: Cloud) -> None:
        self.lab, self.relays, self.cloud = lab, relays, cloud

    def play(self, scene: Scene, at: Moment, victim: str, **action: Any) -> dict[str, Any]:
        """Ask for something, let it happen at that moment, and wait until all is settled. The server then."""
        held = self.relays[scene.host(at.side).name].hold(at.procedure, answered=at.answered, about=scene.server_id)
        act(self.cloud, scene.server_id, **action)
        scene.caller = held.wait()
        befall(victim, self.cloud, scene, held)
        for host in self.lab.hosts:
            wait_for_host(self.cloud, host.name, "up")
        return settled(self.cloud, self.lab, scene.server_id)

    def do(self, server_id: str, status: str, **action: Any) -> dict[str, Any]:
        """Ask for something that nothing befalls, and wait until it has ended so."""
        act(self.cloud, server_id, **action)
        server = settled(self.cloud, self.lab, server_id)
        assert server["status"] == status, server
        return server

    def goes_on(self, server: dict[str, Any]) -> None:
        """It runs, or can be started; it can be moved again; and its deletion leaves nothing."""
        if server["status"] != "ACTIVE":
            start = {"os-start": None} if server["status"] == "SHUTOFF" else {"reboot": {"type": "HARD"}}
            server = self.do(server["id"], "ACTIVE", **start)
        moved = self.do(server["id"], "ACTIVE", **{"os-migrateLive": {"host": None, "block_migration": "auto"}})
        assert moved["OS-EXT-SRV-ATTR:host"] != server["OS-EXT-SRV-ATTR:host"]
        nothing_is_left(self.cloud, self.lab, moved)


@pytest.fixture
def stage(lab: Laboratory, relays: dict[str, LabRelay], moving_cloud: Cloud) -> Stage:
    """All that a test needs."""
    return Stage(lab, relays, moving_cloud)


@pytest.mark.parametrize(("moment", "victim"), LIVE_CASES)
def test_a_live_migration_is_outlived(stage: Stage, server_id: str, moment: str, victim: str) -> None:
    scene = scene_of(stage.cloud, stage.lab, server_id)
    way = {"os-migrateLive": {"host": scene.target.name, "block_migration": "auto"}}
    stage.goes_on(stage.play(scene, LIVE[moment], victim, **way))


# a cold migration, and its two ends -----------------------------------------------------------------
COLD = {
    "is switched off": Moment(SOURCE, "domainShutdownFlags", False),
    "disks are made": Moment(TARGET, "storageVolCreateXML", True),
    "disks are sent": Moment(TARGET, "storageVolUpload", True),
    "starts there": Moment(TARGET, "domainCreateWithFlags", True),
}
COLD_CASES = cases(
    COLD,
    {GUEST_HERE: ("is switched off",), GUEST_THERE: ("starts there",)},
    always=(),
)


@pytest.mark.parametrize(("moment", "victim"), COLD_CASES)
def test_a_cold_migration_is_outlived(stage: Stage, server_id: str, moment: str, victim: str) -> None:
    scene = scene_of(stage.cloud, stage.lab, server_id)
    server = stage.play(scene, COLD[moment], victim, migrate={"host": scene.target.name})
    if server["status"] == "VERIFY_RESIZE":
        assert server["OS-EXT-SRV-ATTR:host"] == scene.target.name
        server = stage.do(
            server_id, "ACTIVE" if server["OS-EXT-STS:power_state"] == RUNNING else "SHUTOFF", confirmResize=None
        )
    stage.goes_on(server)


# From the point of view of the end: the source is where it came from, the target where it is.
ENDS = {
    "confirmed": ({"confirmResize": None}, Moment(SOURCE, "storageVolDelete", True)),
    "taken back, off": ({"revertResize": None}, Moment(TARGET, "domainDestroy", True)),
    "taken back, on": ({"revertResize": None}, Moment(SOURCE, "domainCreateWithFlags", True)),
    "taken back, left": ({"revertResize": None}, Moment(TARGET, "storageVolDelete", True)),
}
END_CASES = cases(
    ENDS,
    {GUEST_HERE: ("taken back, on",), GUEST_THERE: ("confirmed",)},
    always=(),
)


@pytest.mark.parametrize(("end", "victim"), END_CASES)
def test_the_end_of_a_cold_migration_is_outlived(stage: Stage, server_id: str, end: str, victim: str) -> None:
    scene = scene_of(stage.cloud, stage.lab, server_id)
    stage.do(server_id, "VERIFY_RESIZE", migrate={"host": scene.target.name})
    action, moment = ENDS[end]
    server = stage.play(scene, moment, victim, **action)
    if server["status"] == "VERIFY_RESIZE":  # it was taken back that it should end: it can end now
        act(stage.cloud, server_id, **action)
        server = settled(stage.cloud, stage.lab, server_id)
    stage.goes_on(server)
