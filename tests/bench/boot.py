"""Boot: from POST /servers to ACTIVE, against what libvirt alone needs for the same guest in the same minutes."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import libvirt

from tests.bench.figures import LIBVIRT_URI, Figure
from tests.bench.floor import Floor, timed
from tests.e2e.nacelle import wait_until
from tests.e2e.wire import Wire

RATIO_GOAL = 1.5
OPENSTACK_MS, OPENSTACK_FLOOR_MS = 4500.0, 435.0
POLL_SECONDS = 0.05  # each look costs the web process 10 ms of a processor that the guest would use, too
NANO = "42"


@dataclass
class Samples:
    """What was measured, in seconds."""

    nacelle: list[float] = field(default_factory=list)
    floor: list[float] = field(default_factory=list)
    parts: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def part(self, name: str) -> float:
        """The median of one part of a boot."""
        return statistics.median(self.parts[name])


def measure(wire: Wire, runs: int) -> tuple[list[Figure], Samples]:
    """Alternate: a boot by Nacelle, the same by libvirt alone; each guest is gone before the next begins."""
    samples = Samples()
    image = image_id(wire)
    connection = libvirt.open(LIBVIRT_URI)
    try:
        floor = Floor(connection, model_guest(wire, connection, image))
        try:
            for _ in range(runs):
                nacelle_boot(wire, image, samples)
                samples.floor.append(timed(floor.boot))
                floor.delete()
        finally:
            floor.remove()
    finally:
        connection.close()
    return figures(samples), samples


def figures(samples: Samples) -> list[Figure]:
    """The ratio and what is behind it."""
    runs = len(samples.nacelle)
    boot, floor = statistics.median(samples.nacelle), statistics.median(samples.floor)
    return [
        Figure(f"boot, POST to ACTIVE, median of {runs}", boot * 1000, "ms", openstack=OPENSTACK_MS),
        Figure(f"boot by libvirt alone, median of {runs}", floor * 1000, "ms", openstack=OPENSTACK_FLOOR_MS),
        Figure("boot, ratio of the medians", boot / floor, "x", RATIO_GOAL, OPENSTACK_MS / OPENSTACK_FLOOR_MS),
        *(Figure(f"    {name}", statistics.median(times) * 1000, "ms") for name, times in samples.parts.items()),
    ]


def image_id(wire: Wire) -> str:
    """The id of the image ``tiny``."""
    return str(wire.get("/image/v2/images?name=tiny").json["images"][0]["id"])


def launch(wire: Wire, image: str) -> str:
    """Ask for a server and return its id."""
    server = {"name": "bench", "flavorRef": NANO, "imageRef": image, "networks": "auto"}
    answer = wire.post("/compute/v2.1/servers", {"server": server}, **{"OpenStack-API-Version": "compute 2.37"})
    assert answer.status == 202, (answer.status, answer.content[:500])
    return str(answer.json["server"]["id"])


def wait_for_status(wire: Wire, server: str, status: str) -> None:
    """Ask every few milliseconds until the server is in this state."""

    def reached() -> bool:
        found = wire.get(f"/compute/v2.1/servers/{server}").json["server"]
        assert found["status"] in (status, "BUILD"), found
        return bool(found["status"] == status)

    wait_until(f"server {server} is {status}", reached, pause=POLL_SECONDS)


def delete(wire: Wire, server: str) -> None:
    """Delete a server and wait until it is gone."""
    assert wire.delete(f"/compute/v2.1/servers/{server}").status == 204
    wait_until("the server is gone", lambda: wire.get(f"/compute/v2.1/servers/{server}").status == 404)


def nacelle_boot(wire: Wire, image: str, samples: Samples) -> None:
    """One boot and its deletion."""
    began, clock = time.time(), time.perf_counter()
    server = launch(wire, image)
    posted = time.perf_counter() - clock
    wait_for_status(wire, server, "ACTIVE")
    samples.nacelle.append(time.perf_counter() - clock)
    take_apart(server, began, posted, samples)
    delete(wire, server)


def take_apart(server: str, began: float, posted: float, samples: Samples) -> None:
    """Where the time went: the request, the way through the queue, each step, and until a client saw it."""
    from compute.models import Action

    action = Action.objects.get(instance_id=server)
    assert action.finished_at is not None
    seen, parts = began + samples.nacelle[-1], samples.parts
    parts["POST /servers"].append(posted)
    events = list(action.events.order_by("id"))
    parts["from the answer to the first step"].append(events[0].started_at.timestamp() - began - posted)
    for event in events:
        assert event.finished_at is not None
        parts[f"step {event.name}"].append((event.finished_at - event.started_at).total_seconds())
    steps = sum((event.finished_at - event.started_at).total_seconds() for event in events if event.finished_at)
    parts["between the steps"].append((action.finished_at - events[0].started_at).total_seconds() - steps)
    parts["from the end until the client sees it"].append(seen - action.finished_at.timestamp())


def model_guest(wire: Wire, connection: Any, image: str) -> Any:
    """libvirt's definition of a guest as Nacelle makes it."""
    server = launch(wire, image)
    wait_for_status(wire, server, "ACTIVE")
    definition = connection.lookupByUUIDString(server).XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    delete(wire, server)
    return definition
