"""Fake guests that go to another fake host while they run.

Each phase is a call of its own, open to trouble at the host that it happens on: ``cross_arrive`` (the target),
``cross_copy``, ``cross_send`` (the source), ``cross_run`` (the target), ``cross_leave`` (the source). What a
phase that fails leaves behind stays: nothing cleans up here but whoever asked for the crossing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from compute.hypervisor.fake.faults import question, verb
from compute.hypervisor.fake.guests import NEW, FakeGuests, check_on, defined
from compute.hypervisor.fake.host import ON
from compute.hypervisor.interface import (
    Busy,
    Crossing,
    Gone,
    Guest,
    GuestEventKind,
    Hypervisor,
    Order,
    Passenger,
    PowerState,
    Transfer,
    Unsupported,
    Whereabouts,
)

STEPS = 4  # in which memory and disks are sent
STEP_SECONDS = 0.01
CROSSING = ("leaving", "sent", "arriving")


class FakeMigration(FakeGuests):
    """Guests that cross to another host. With ``slow=1`` in the URI a guest changes its memory too fast to be sent."""

    @question
    def passenger(self, uuid: UUID) -> Passenger:
        """See the interface."""
        with self._changing(uuid) as (guest, _):
            check_on(guest)
        return Passenger(
            "qemu", "x86_64", "fake-1", "/usr/bin/fake", self._version(), self._state.options.get("cpu", "")
        )

    @question
    def objections(self, passenger: Passenger) -> tuple[str, ...]:
        """See the interface. ``version`` and ``cpu`` in the URI say what the host is like."""
        found = []
        if self._version() < passenger.hypervisor_version:
            found.append(f"Its QEMU ({self._version()}) is older than the guest's ({passenger.hypervisor_version}).")
        if passenger.cpu != self._state.options.get("cpu", ""):
            found.append(f"Its CPU lacks what the guest's has: {passenger.cpu}")
        return tuple(found)

    @verb
    def migrate(
        self, uuid: UUID, target: Hypervisor, crossing: Crossing, on_progress: Callable[[Transfer], Order]
    ) -> None:
        """See the interface."""
        if not isinstance(target, FakeMigration):
            raise Unsupported("The other host is of another kind.")
        with self._changing(uuid) as (guest, _):
            check_on(guest)
            if lost := guest["just_arrived"]:
                guest["power"] = PowerState.CRASHED
        if lost:
            raise Gone("The guest is lost: it arrived paused, and nobody settled it.")
        target.cross_arrive(crossing.guest)
        self.cross_copy(uuid, target, crossing, on_progress)
        memory = self.cross_send(uuid)
        target.cross_run(uuid, memory)
        self.cross_leave(uuid)

    @question
    def whereabouts(self, uuid: UUID) -> Whereabouts:
        """See the interface."""
        with self._state.look() as state:
            guest = state["guests"].get(str(uuid))
        if guest is None:
            return Whereabouts.ABSENT
        if guest["power"] not in ON:
            return Whereabouts.OFF
        still = Whereabouts.PAUSED if guest["power"] == PowerState.PAUSED else Whereabouts.RUNNING
        return Whereabouts(guest["crossing"] or still)

    @verb
    def end_migration(self, uuid: UUID) -> None:
        """See the interface."""
        self._cross(uuid, "leaving", "")

    @verb
    def stay(self, uuid: UUID, paused: bool = False) -> None:
        """See the interface."""
        with self._changing(uuid) as (guest, _):
            if guest["power"] not in ON:
                return
            guest["crossing"] = ""
            was, guest["power"] = guest["power"], PowerState.PAUSED if paused else PowerState.RUNNING
        if was != guest["power"]:
            self._tell(uuid, GuestEventKind.RESUMED)

    @verb
    def settle_paused(self, uuid: UUID) -> None:
        """See the interface."""
        with self._changing(uuid) as (guest, _):
            check_on(guest)
            guest.update(power=PowerState.PAUSED, just_arrived=False)

    # the phases -----------------------------------------------------------------------------------
    @verb
    def cross_arrive(self, guest: Guest) -> None:
        """The target: the guest's place is there."""
        with self._state.change() as state:
            self._check_disks(state, guest)
            if str(guest.uuid) in state["guests"]:
                raise Busy("The guest is known here.")
            for nic in guest.nics:
                if str(nic.network) not in state["networks"]:
                    raise Gone(f"There is no network {nic.network}.")
            new = NEW | defined(guest) | {"power": PowerState.PAUSED, "crossing": "arriving"}
            self._take_memory(new, (one for _, one in state["guests"].seen()))
            state["guests"][str(guest.uuid)] = new
        self._tell(guest.uuid, GuestEventKind.STARTED)

    @verb
    def cross_copy(
        self, uuid: UUID, target: FakeMigration, crossing: Crossing, on_progress: Callable[[Transfer], Order]
    ) -> None:
        """The source: all is sent while the guest goes on. That of a ``slow`` host never ends by itself."""
        self._cross(uuid, "", "leaving")
        with self._state.change() as state:
            memory = state["guests"][str(uuid)]["memory_mb"] << 20
            disk = sum(state["volumes"][volume]["size"] for volume in crossing.copied)
        try:
            self._send_all(memory, disk, on_progress)
        except BaseException:  # whoever holds both ends lets go
            self._cross(uuid, "leaving", "")
            raise
        for volume in crossing.copied:
            target._state.write(volume, self._state.read(volume))

    def _send_all(self, memory: int, disk: int, on_progress: Callable[[Transfer], Order]) -> None:
        step, order = 0, Order.GO_ON
        while step <= STEPS and order is not Order.FORCE:
            left = STEPS - step
            order = on_progress(
                Transfer(memory, memory * step // STEPS, memory * left // STEPS, disk, disk * step // STEPS,
                         disk * left // STEPS)
            )  # fmt: skip
            if order is Order.ABORT:
                raise Busy("The crossing was aborted.")
            step = min(step + 1, STEPS - 1) if self._size("slow", 0) else step + 1
            time.sleep(STEP_SECONDS)

    @verb
    def cross_send(self, uuid: UUID) -> dict[str, Any]:
        """The source: the guest stands still and is sent. What goes with it."""
        with self._crossing(uuid, "leaving") as guest:
            kept = {name: guest[name] for name in ("power", "since", "passwords", "live")}
            guest.update(power=PowerState.PAUSED, crossing="sent")
        self._tell(uuid, GuestEventKind.PAUSED)
        return kept

    @verb
    def cross_run(self, uuid: UUID, memory: dict[str, Any]) -> None:
        """The target: it goes on, as what it was."""
        with self._crossing(uuid, "arriving") as guest:
            guest.update(memory, crossing="", just_arrived=memory["power"] == PowerState.PAUSED)
        self._tell(uuid, GuestEventKind.RESUMED)

    @verb
    def cross_leave(self, uuid: UUID) -> None:
        """The source: it is not known any more."""
        with self._crossing(uuid, "sent"):
            pass
        self.remove(uuid)

    @contextmanager
    def _crossing(self, uuid: UUID, phase: str) -> Iterator[dict[str, Any]]:
        """The guest, to be changed, in a phase of a crossing that nobody has ended. Raises Gone and Busy."""
        with self._changing(uuid) as (guest, _):
            if guest["crossing"] != phase:
                raise Busy("The crossing was aborted.")
            yield guest

    def _cross(self, uuid: UUID, was: str, becomes: str) -> None:
        with self._state.change() as state:
            guest = state["guests"].get(str(uuid))
            if guest is not None and guest["crossing"] == was:
                guest["crossing"] = becomes

    def _version(self) -> int:
        return self._size("version", 1_000_000)
