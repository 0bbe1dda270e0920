"""How much room there is: how many instances of each flavor still fit, by zone, and how full the hosts are."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from compute.models import Flavor
from portal.identity.actor import Actor
from portal.identity.policy import enforce
from scheduler.hoststate import HostView
from scheduler.pick import Evaluation, Look, Request, evaluate

RULE = "nacelle:capacity"


@dataclass(frozen=True)
class Room:
    """How many instances of a flavor still fit, were nothing else launched: by zone, and in all."""

    flavor: Flavor
    by_zone: dict[str, int]

    @property
    def total(self) -> int:
        """In all zones together."""
        return sum(self.by_zone.values())


@dataclass(frozen=True)
class Capacity:
    """All of it, as of one look at the hosts."""

    zones: list[str]
    rooms: list[Room]
    hosts: list[HostView]


def capacity(actor: Actor) -> Capacity:
    """Evaluate every flavor that is not disabled against one look at all hosts. Raises Forbidden."""
    enforce(actor, RULE)
    look = Look.now(fresh=True)
    zones = sorted({host.zone for host in look.hosts})
    rooms = []
    for flavor in Flavor.objects.filter(disabled=False):
        found = evaluate(Request.of_flavor(flavor), look)
        rooms.append(Room(flavor, dict.fromkeys(zones, 0) | rooms_by_zone(found)))
    return Capacity(zones, rooms, look.hosts)


def rooms_by_zone(found: Evaluation) -> dict[str, int]:
    """How many fit into each zone; of those that must be together, on one host of it."""
    rooms: Counter[str] = Counter()
    for host in sorted(found.hosts, key=lambda host: host.zone):
        room = found.rooms[host.id]
        rooms[host.zone] = max(rooms[host.zone], room) if found.together else rooms[host.zone] + room
    return dict(rooms)
