"""Fake guests that grow while they run."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from compute.hypervisor.fake.faults import question, verb
from compute.hypervisor.fake.guests import FakeGuests
from compute.hypervisor.fake.host import ON
from compute.hypervisor.interface import Busy, Unsupported


class FakeGrowth(FakeGuests):
    """Processors and memory of guests that are on. They let go of both at once."""

    @verb
    def set_live_vcpus(self, uuid: UUID, vcpus: int) -> None:
        """See the interface."""
        self._set_live(uuid, "vcpus", vcpus)

    @verb
    def set_live_memory(self, uuid: UUID, memory_mb: int) -> None:
        """See the interface."""
        self._set_live(uuid, "memory_mb", memory_mb)

    @question
    def live_size(self, uuid: UUID) -> tuple[int, int]:
        """See the interface."""
        with self._changing(uuid) as (guest, _):
            live = _live(guest)
            return live["vcpus"], live["memory_mb"]

    def _set_live(self, uuid: UUID, what: str, amount: int) -> None:
        with self._changing(uuid) as (guest, _):
            live = _live(guest)
            if amount > live[f"max_{what}"]:
                raise Unsupported(f"The guest was started with room for {live[f'max_{what}']}, not for {amount}.")
            live[what] = amount


def _live(guest: dict[str, Any]) -> dict[str, Any]:
    if guest["power"] not in ON:
        raise Busy("The guest is not running.")
    live: dict[str, Any] = guest["live"]
    return live
