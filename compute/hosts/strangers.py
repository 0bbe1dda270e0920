"""Guests on a host that are not Nacelle's: what they are, and what stands in the way of adopting them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from compute.hypervisor.adoption import ForeignGuest
from compute.hypervisor.interface import PowerState
from compute.hypervisor.ways import is_local
from compute.models import Host

# What an adopted guest can be; the others are neither on nor off.
STATES = {
    PowerState.RUNNING: "running",
    PowerState.PAUSED: "paused",
    PowerState.SHUTDOWN: "off",
    PowerState.CRASHED: "crashed",
    PowerState.SUSPENDED: "asleep",
    PowerState.NOSTATE: "unknown",
}
ADOPTABLE = (PowerState.RUNNING, PowerState.PAUSED, PowerState.SHUTDOWN, PowerState.CRASHED)


def as_json(host: Host, guest: ForeignGuest) -> dict[str, Any]:
    """A guest as it is kept and answered."""
    return {
        "id": str(guest.uuid),
        "name": guest.name,
        "title": guest.title,
        "state": "suspended" if guest.saved else STATES[guest.power_state],
        "vcpus": guest.vcpus,
        "memory_mb": guest.memory_mb,
        "disks": [dataclasses.asdict(disk) for disk in guest.disks],
        "cards": [dataclasses.asdict(card) for card in guest.cards],
        "objections": list(objections(guest)),
        "notes": list(notes(host, guest)),
    }


def objections(guest: ForeignGuest) -> Iterator[str]:
    """Why it cannot be adopted, each with what to do."""
    if not guest.persistent:
        yield "It has no definition that outlives it. Write one: virsh dumpxml NAME > x.xml, virsh define x.xml."
    if guest.power_state not in ADOPTABLE:
        yield f"It is {STATES[guest.power_state]}. Wake it, or switch it off, first."


def notes(host: Host, guest: ForeignGuest) -> Iterator[str]:
    """What will not work, or not as with other instances."""
    yield (
        "It keeps the definition, the disks and the name that it has on its host. It can be started, stopped, "
        "rebooted, paused, suspended and deleted, and get further network cards; it cannot be resized, rebuilt, "
        "rescued, shelved, moved to another host, or made an image of."
    )
    places = sorted({card.source or card.kind for card in guest.cards})
    if places:
        yield f"Its network cards stay plugged into {', '.join(places)}, and have no ports here."
    if not guest.screen:
        yield "It has no VNC screen, so there is no console in the browser."
    elif guest.screen in ("127.0.0.1", "::1", "localhost") and not is_local(host.uri):
        yield f"Its screen listens on {guest.screen} of its host alone, where the console proxy does not reach it."
    yield "Its log begins with its next start." if guest.serial else "It has no serial port, so there is no log of it."


def deletable(guest: ForeignGuest) -> tuple[str, ...]:
    """Where those of its disks lie that may go with it: its own alone, and known to the host's storage."""
    return tuple(disk.source for disk in guest.disks if disk.deletable)
