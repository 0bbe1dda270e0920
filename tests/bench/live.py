"""Live migration: from the request until the instance runs on the other host, against libvirt alone in the same run.

Both bring an idle guest of 256 MB with a disk of 512 MB to and fro between the same two hosts of a laboratory.

Nacelle's time is from before the request is sent until the moment that the instance's actions give for its end, on the
same clock. Both begin on a machine that has come to rest: what the one leaves to be cleared up is not the other's.
"""

from __future__ import annotations

import statistics
import subprocess
import time
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import libvirt
from lxml import etree

from portal.setup.lab.laboratory import Laboratory
from tests.bench.boot import delete, wait_for_status
from tests.bench.figures import Figure
from tests.bench.floor import MIB, Floor, element_of, timed, volume
from tests.e2e.cloud import LATEST, SERVERS, Cloud
from tests.e2e.counting import Listener, start_counting
from tests.e2e.lab import laboratory, nacelle_with
from tests.e2e.moved import host_of
from tests.e2e.nacelle import Nacelle, tiny_image, wait_until

RATIO_GOAL = 1.3
SILENCE_GOAL_MS = 2000.0  # the second that it counts, and a gap of one more at most
LOOK_SECONDS = 0.5
SETTLE_SECONDS = 2.0  # the kernel clears up after a QEMU that has ended, which takes most of a second of a processor
MEMORY_MB, DISK_MB = 256, 512
FLAVOR = "bench-live"
OWN_MAC = "52:54:00:be:9c:01"
FLAGS = (
    libvirt.VIR_MIGRATE_LIVE
    | libvirt.VIR_MIGRATE_NON_SHARED_INC
    | libvirt.VIR_MIGRATE_PERSIST_DEST
    | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE
)


@dataclass
class Samples:
    """What was measured, in seconds."""

    nacelle: list[float] = field(default_factory=list)
    floor: list[float] = field(default_factory=list)
    parts: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    silence: float = 0.0  # the longest between two numbers of a guest that counts seconds


class MovingFloor(Floor):
    """A guest like Nacelle's that libvirt alone brings from one host to another and back.

    ``other_base``: the file that its disk stands on over there, where Nacelle has brought it. ``addresses`` are
    those of the two hosts; its screen listens there.
    """

    def __init__(self, connection: Any, model: str, other: Any, other_base: str, addresses: tuple[str, str]) -> None:
        super().__init__(connection, model)
        self.other, self.other_base = other, other_base
        self.address, self.other_address = addresses
        self._pool_at(other).createXML(volume(f"{self.uuid}-config", MIB))

    def move(self) -> None:
        """Its disk is made there, QEMU brings memory and disk over, and the one that was left goes."""
        there, domain = self._pool_at(self.other), self._domain()
        there.createXML(volume(self._name(self.path), self.capacity, "qcow2", self.other_base))
        way = f"tcp://{self.other_address}"
        parameters = {
            libvirt.VIR_MIGRATE_PARAM_URI: way,
            libvirt.VIR_MIGRATE_PARAM_DISKS_URI: way,
            libvirt.VIR_MIGRATE_PARAM_DEST_XML: self._over_there(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_MIGRATABLE)),
            libvirt.VIR_MIGRATE_PARAM_PERSIST_XML: self._over_there(self.definition),
        }
        domain.migrate3(self.other, parameters, FLAGS)
        self._volume(self.path).delete()
        self.definition = self._over_there(self.definition)
        self.connection, self.other, self.pool = self.other, self.connection, there
        self.base, self.other_base = self.other_base, self.base
        self.address, self.other_address = self.other_address, self.address

    def _over_there(self, definition: str) -> str:
        return definition.replace(self.base, self.other_base).replace(self.address, self.other_address)

    def remove(self) -> None:
        """Nothing of it stays on either host."""
        super().remove()
        self._pool_at(self.other).storageVolLookupByName(f"{self.uuid}-config").delete()

    def _pool_at(self, connection: Any) -> Any:
        return connection.storagePoolLookupByTargetPath(self.path.rpartition("/")[0])


def measure(runs: int) -> tuple[list[Figure], Samples]:
    """Alternate: one by Nacelle, one by libvirt alone, each there and the next time back."""
    samples = Samples()
    with laboratory(2) as lab, nacelle_with(lab) as nacelle:
        alternate(lab, nacelle, runs, samples)
    return figures(samples), samples


def alternate(lab: Laboratory, nacelle: Nacelle, runs: int, samples: Samples) -> None:
    """The same on these hosts. Its handles end with it: libvirt waits for ever for a host that has gone before them."""
    cloud = Cloud(nacelle)
    server = idle_guest(cloud, nacelle)
    connections = {host.name: libvirt.open(host.uri) for host in lab.hosts}
    first = definition_of(cloud, server, connections)
    by_nacelle(cloud, lab, server, Samples())  # the first one also brings the image
    floor = idle_floor(cloud, lab, server, connections, base_of(first))
    try:
        for _ in range(runs):
            time.sleep(SETTLE_SECONDS)
            by_nacelle(cloud, lab, server, samples)
            time.sleep(SETTLE_SECONDS)
            samples.floor.append(timed(floor.move))
    finally:
        floor.remove()
        for connection in connections.values():
            connection.close()
    samples.silence = longest_silence(cloud, lab, server)
    delete(cloud.wire, server)
    cloud.close()


def figures(samples: Samples) -> list[Figure]:
    """The ratio and what is behind it."""
    runs = len(samples.nacelle)
    nacelle, floor = statistics.median(samples.nacelle), statistics.median(samples.floor)
    return [
        Figure(f"live migration, {MEMORY_MB} MB and {DISK_MB} MB disk, median of {runs}", nacelle * 1000, "ms"),
        Figure(f"live migration by libvirt alone, median of {runs}", floor * 1000, "ms"),
        Figure("live migration, ratio of the medians", nacelle / floor, "x", RATIO_GOAL),
        Figure("live migration, longest wait for a guest's next second", samples.silence * 1000, "ms", SILENCE_GOAL_MS),
        *(Figure(f"    {name}", statistics.median(times) * 1000, "ms") for name, times in samples.parts.items()),
    ]


def idle_guest(cloud: Cloud, nacelle: Nacelle) -> str:
    """A server that shows its login prompt, of an image that is as large as its disk is to be."""
    flavor = {"name": FLAVOR, "id": FLAVOR, "vcpus": 1, "ram": MEMORY_MB, "disk": 0}
    assert cloud.wire.post("/compute/v2.1/flavors", {"flavor": flavor}).status == 200
    path = nacelle.data / "bench.qcow2"
    path.write_bytes(tiny_image().read_bytes())
    subprocess.run(["qemu-img", "resize", "-q", str(path), f"{DISK_MB}M"], check=True)
    server = cloud.launch("bench", flavorRef=FLAVOR, imageRef=upload(cloud, path))
    wait_for_status(cloud.wire, server, "ACTIVE")
    cloud.wait_for_login(server)
    return server


def upload(cloud: Cloud, path: Path) -> str:
    """A qcow2 file as an image; its id."""
    made = cloud.wire.post("/image/v2/images", {"name": "bench", "disk_format": "qcow2", "container_format": "bare"})
    image = str(made.json["id"])
    sent = cloud.wire.request("PUT", f"/image/v2/images/{image}/file", path.read_bytes())
    assert sent.status == 204, (sent.status, sent.content[:500])
    return image


def definition_of(cloud: Cloud, server: str, connections: dict[str, Any]) -> str:
    """libvirt's definition of Nacelle's guest on the host where it is."""
    here = connections[cloud.server(server)["OS-EXT-SRV-ATTR:host"]]
    return str(here.lookupByUUIDString(server).XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))


def base_of(definition: str) -> str:
    """The file that a guest's disk stands on."""
    return str(element_of(definition, "devices/disk[@device='disk']/backingStore/source").get("file"))


def idle_floor(cloud: Cloud, lab: Laboratory, server: str, connections: dict[str, Any], other_base: str) -> MovingFloor:
    """The same guest at the floor, on the host where Nacelle's is, at its login prompt as well."""
    here = host_of(lab, cloud.server(server))
    (there,) = [host for host in lab.hosts if host is not here]
    model = etree.fromstring(definition_of(cloud, server, connections))
    for card in model.iterfind("devices/interface/mac"):
        card.set("address", OWN_MAC)  # both are on the same network
    own, both = etree.tostring(model, encoding="unicode"), (here.address, there.address)
    floor = MovingFloor(connections[here.name], own, connections[there.name], other_base, both)
    floor.boot()
    log = here.seen_from_here(element_of(floor.definition, "devices/serial/log").get("file"))
    wait_until("a login prompt", lambda: log.exists() and b"login:" in log.read_bytes())
    return floor


def by_nacelle(cloud: Cloud, lab: Laboratory, server: str, samples: Samples) -> None:
    """One live migration that a client asks for."""
    before = cloud.server(server)["OS-EXT-SRV-ATTR:host"]
    asked, clock = datetime.now(UTC), time.perf_counter()
    body = {"os-migrateLive": {"host": None, "block_migration": "auto"}}
    answer = cloud.wire.post(f"{SERVERS}/{server}/action", body, **LATEST)
    assert answer.status == 202, (answer.status, answer.content[:500])
    posted = time.perf_counter() - clock
    wait_until("it has crossed", lambda: is_over(cloud, server, before), pause=LOOK_SECONDS)
    ended = moment(cloud.last_action(server)["updated_at"])
    samples.nacelle.append((ended - asked).total_seconds())
    samples.parts["POST …/action"].append(posted)
    for step in cloud.steps(server):
        begun, done = (moment(step[name]) for name in ("start_time", "finish_time"))
        samples.parts[f"step {step['event']}"].append((done - begun).total_seconds())


def moment(text: str) -> datetime:
    """A time of the compute API: UTC, as it does not say."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def longest_silence(cloud: Cloud, lab: Laboratory, server: str) -> float:
    """The longest time between two of the seconds that the guest counts while it is migrated."""
    here = host_of(lab, cloud.server(server))
    (there,) = [host for host in lab.hosts if host is not here]
    start_counting(here, server)
    listener = Listener(server, here, there)
    with listener.listening():
        by_nacelle(cloud, lab, server, Samples())
        seen = len(listener.numbers)
        wait_until("it goes on counting", lambda: len(listener.numbers) > seen + 1)
    return listener.longest_silence


def is_over(cloud: Cloud, server: str, before: str) -> bool:
    """Whether it runs elsewhere and nothing is under way."""
    found = cloud.server(server)
    assert found["status"] in ("ACTIVE", "MIGRATING"), found
    over = found["status"] == "ACTIVE" and found["OS-EXT-STS:task_state"] is None
    assert not over or found["OS-EXT-SRV-ATTR:host"] != before, found
    return over
