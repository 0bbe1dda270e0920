"""Guests on a fake host that somebody else has defined. Tests put them there."""

from __future__ import annotations

import dataclasses
from contextlib import suppress
from typing import Any
from uuid import UUID

from compute.hypervisor.adoption import ForeignCard, ForeignDisk, ForeignGuest
from compute.hypervisor.fake.faults import question, verb
from compute.hypervisor.fake.guests import NEW, FakeGuests
from compute.hypervisor.interface import Failed, Gone, PowerState

DEVICES: dict[str, Any] = {"disks": [], "writable": [], "nics": {}, "max_vcpus": None, "max_memory_mb": None}


class FakeAdoption(FakeGuests):
    """A foreign guest is kept as it was put there, in the guest's state."""

    def put_foreign(self, guest: ForeignGuest) -> None:
        """For tests: the guest is on the host. Its deletable disks are volumes of their own."""
        sizes = {"name": guest.name, "vcpus": guest.vcpus, "memory_mb": guest.memory_mb}
        state_of = {"power": guest.power_state, "saved": guest.saved, "managed": False}
        live = {"live": sizes | {"max_vcpus": guest.vcpus, "max_memory_mb": guest.memory_mb}}
        plain = dataclasses.asdict(guest) | {"uuid": str(guest.uuid)}
        with self._state.change() as state:
            state["guests"][str(guest.uuid)] = {**NEW, **sizes, **state_of, **DEVICES, **live, "foreign": plain}
            for disk in guest.disks:
                if disk.deletable:
                    state["volumes"][disk.source] = {"size": disk.capacity_bytes, "format": disk.format}

    @question
    def foreign(self) -> tuple[ForeignGuest, ...]:
        """See the interface."""
        with self._state.look() as state:
            found = [_described(one) for _, one in state["guests"].seen() if not one["managed"]]
        return tuple(sorted(found, key=lambda one: one.name))

    @question
    def describe(self, uuid: UUID) -> ForeignGuest:
        """See the interface."""
        with self._changing(uuid) as (guest, _):
            return _described(guest)

    @verb
    def adopt(self, uuid: UUID, metadata: tuple[tuple[str, str], ...]) -> None:
        """See the interface."""
        with self._changing(uuid) as (guest, _):
            if not guest["foreign"]["persistent"]:
                raise Failed("The guest has no definition that outlives it.")
            guest["managed"] = True

    @verb
    def disown(self, uuid: UUID, disks: tuple[str, ...]) -> None:
        """See the interface."""
        with suppress(Gone):
            self._switch_off(uuid)
        with self._state.change() as state:
            state["guests"].pop(str(uuid), None)
            for disk in disks:
                state["volumes"].pop(disk, None)


def _described(guest: dict[str, Any]) -> ForeignGuest:
    if "foreign" not in guest:
        raise Failed("Nacelle has defined this guest itself.")
    kept = guest["foreign"]
    return ForeignGuest(
        **kept
        | {
            "uuid": UUID(kept["uuid"]),
            "power_state": PowerState(guest["power"]),
            "saved": guest["saved"],
            "disks": tuple(ForeignDisk(**disk) for disk in kept["disks"]),
            "cards": tuple(ForeignCard(**card) for card in kept["cards"]),
        }
    )
