"""Every operation from the call to its final state, next to what libvirt alone needs for it in the same minutes."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import libvirt

from tests.bench.boot import POLL_SECONDS, delete, image_id, launch, model_guest, wait_for_status
from tests.bench.figures import LIBVIRT_URI, Figure
from tests.bench.floor import Floor, timed, wait_for_login
from tests.e2e.nacelle import wait_until
from tests.e2e.wire import Wire

SERVERS = "/compute/v2.1/servers"
LARGER = "bench-larger"
SHUTDOWN_MARGIN_MS = 300.0
# A real Nova's milliseconds on such a machine (issue "Every operation in the life of an instance").
NOVA_MS = {
    "stop": 2000.0,
    "start": 1700.0,
    "hard reboot": 3200.0,
    "pause": 300.0,
    "unpause": 300.0,
    "suspend": 1900.0,
    "resume": 1500.0,
    "snapshot": 1300.0,
    "resize": 6000.0,
    "confirm resize": 1300.0,
    "revert resize": None,
    "rebuild": 3600.0,
    "rescue": 3400.0,
    "unrescue": 2700.0,
    "shelve": 3300.0,
    "unshelve": 6600.0,
    "delete": 2300.0,
}


@dataclass(frozen=True)
class Verb:
    """One operation: what Nacelle is asked, the status that ends it, and the same at the floor."""

    name: str
    action: dict[str, Any]
    status: str
    floor: Callable[[Floor], None]
    restarts: bool = False  # the guest starts afresh: the next one waits for its login prompt


STORY = (
    Verb("pause", {"pause": None}, "PAUSED", Floor.pause),
    Verb("unpause", {"unpause": None}, "ACTIVE", Floor.unpause),
    Verb("suspend", {"suspend": None}, "SUSPENDED", Floor.suspend),
    Verb("resume", {"resume": None}, "ACTIVE", Floor.resume),
    Verb("snapshot", {"createImage": {"name": "bench"}}, "ACTIVE", Floor.snapshot),
    Verb("stop", {"os-stop": None}, "SHUTOFF", Floor.stop),
    Verb("start", {"os-start": None}, "ACTIVE", Floor.start, restarts=True),
    Verb("hard reboot", {"reboot": {"type": "HARD"}}, "ACTIVE", Floor.reboot_hard, restarts=True),
    Verb("rescue", {"rescue": None}, "RESCUE", Floor.rescue, restarts=True),
    Verb("unrescue", {"unrescue": None}, "ACTIVE", Floor.unrescue, restarts=True),
    Verb("rebuild", {"rebuild": {"imageRef": "IMAGE"}}, "ACTIVE", Floor.rebuild, restarts=True),
    Verb("resize", {"resize": {"flavorRef": LARGER}}, "VERIFY_RESIZE", Floor.resize, restarts=True),
    Verb("revert resize", {"revertResize": None}, "ACTIVE", Floor.revert, restarts=True),
    Verb("resize", {"resize": {"flavorRef": LARGER}}, "VERIFY_RESIZE", Floor.resize, restarts=True),
    Verb("confirm resize", {"confirmResize": None}, "ACTIVE", Floor.confirm),
    Verb("shelve", {"shelve": None}, "SHELVED_OFFLOADED", Floor.shelve),
    Verb("unshelve", {"unshelve": None}, "ACTIVE", Floor.unshelve, restarts=True),
)


@dataclass
class Samples:
    """What was measured, in seconds, by the operation's name."""

    nacelle: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    floor: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))


def measure(wire: Wire, runs: int) -> tuple[list[Figure], Samples]:
    """The whole story by Nacelle and by libvirt alone, in turn, ``runs`` times each."""
    samples, image = Samples(), image_id(wire)
    make_flavor(wire)
    connection = libvirt.open(LIBVIRT_URI)
    try:
        model = model_guest(wire, connection, image)
        for _ in range(runs):
            by_nacelle(wire, connection, image, samples.nacelle)
            by_libvirt(connection, model, samples.floor)
    finally:
        connection.close()
    return figures(samples), samples


def figures(samples: Samples) -> list[Figure]:
    """For each operation the median, and the floor's below it."""
    found = []
    for name, seconds in samples.nacelle.items():
        nacelle, floor = statistics.median(seconds) * 1000, statistics.median(samples.floor[name]) * 1000
        found.append(Figure(f"{name}, median of {len(seconds)}", nacelle, "ms", goal(name, floor), NOVA_MS[name]))
        found.append(Figure("    by libvirt alone", floor, "ms"))
    return found


def goal(name: str, floor_ms: float) -> float | None:
    """Half of what Nova needs. A stop is the guest's own: what it takes, and a little."""
    if name == "stop":
        return floor_ms + SHUTDOWN_MARGIN_MS
    nova = NOVA_MS[name]
    return None if nova is None else nova / 2


def make_flavor(wire: Wire) -> None:
    """A flavor to grow to."""
    wanted = {"name": LARGER, "id": LARGER, "vcpus": 1, "ram": 192, "disk": 2}
    assert wire.post("/compute/v2.1/flavors", {"flavor": wanted}).status in (200, 409)


def by_libvirt(connection: Any, model: str, samples: dict[str, list[float]]) -> None:
    """The story at the floor."""
    floor = Floor(connection, model)
    try:
        floor.boot()
        floor.wait_for_login()
        for verb in STORY:
            samples[verb.name].append(timed(lambda verb=verb: verb.floor(floor)))
            if verb.restarts:
                floor.wait_for_login()
        samples["delete"].append(timed(floor.delete))
    finally:
        floor.remove()


def by_nacelle(wire: Wire, connection: Any, image: str, samples: dict[str, list[float]]) -> None:
    """The story by the API."""
    server = launch(wire, image)
    wait_for_status(wire, server, "ACTIVE")
    up(connection, server)
    for verb in STORY:
        samples[verb.name].append(timed(lambda verb=verb: act(wire, server, verb, image)))
        if verb.name == "snapshot":
            forget_images(wire)
        if verb.restarts:
            up(connection, server)
    samples["delete"].append(timed(lambda: delete(wire, server)))


def up(connection: Any, server: str) -> None:
    """Wait until the server's guest shows its login prompt."""
    wait_for_login(connection.lookupByUUIDString(server).XMLDesc())


def act(wire: Wire, server: str, verb: Verb, image: str) -> None:
    """Ask for it and wait until it is over, as a client does."""
    body = {"rebuild": {"imageRef": image}} if verb.name == "rebuild" else verb.action
    answer = wire.post(f"{SERVERS}/{server}/action", body)
    assert answer.status in (200, 202, 204), (verb.name, answer.status, answer.content[:500])

    def over() -> bool:
        found = wire.get(f"{SERVERS}/{server}").json["server"]
        assert found["status"] != "ERROR", found
        return found["status"] == verb.status and found["OS-EXT-STS:task_state"] is None

    wait_until(f"{verb.name} is over", over, pause=POLL_SECONDS)


def forget_images(wire: Wire) -> None:
    """The snapshot was for this alone."""
    for image in wire.get("/image/v2/images?name=bench").json["images"]:
        assert image["status"] == "active", image
        assert wire.delete(f"/image/v2/images/{image['id']}").status == 204
    time.sleep(POLL_SECONDS)
