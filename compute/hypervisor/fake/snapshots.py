"""A fake guest's in-place snapshots: they lie in its volumes, as real ones do, and go with them."""

from __future__ import annotations

import json
from uuid import UUID

from compute.hypervisor.fake.faults import verb
from compute.hypervisor.fake.guests import FakeGuests
from compute.hypervisor.fake.host import ON
from compute.hypervisor.fake.storage import FakeStorage, kept_content
from compute.hypervisor.interface import Busy, Gone, GuestEventKind, PowerState

# What a snapshot with memory keeps of a guest, besides its disks.
MEMORY = ("power", "since", "log", "passwords")


class FakeSnapshots(FakeGuests, FakeStorage):
    """In-place snapshots."""

    @verb
    def create_snapshot(self, uuid: UUID, name: str, memory: bool) -> str:
        """See the interface."""
        with self._changing(uuid) as (guest, _):
            if memory and guest["power"] not in ON:
                raise Busy("The guest is not running.")
        for volume in guest["writable"]:
            self._state.write(kept_content(volume, name), self._state.read(volume))
        with self._state.change() as state:
            for volume in guest["writable"]:
                names = set(state["volumes"][volume].get("snapshots", ())) | {name}
                state["volumes"][volume]["snapshots"] = sorted(names)
        return json.dumps({key: guest[key] for key in MEMORY}) if memory else ""

    @verb
    def revert_snapshot(self, uuid: UUID, name: str, memory: str = "") -> None:
        """See the interface."""
        with self._changing(uuid) as (guest, guests):
            if not memory and guest["power"] in ON:
                raise Busy("The guest is not off.")
            if memory and guest["power"] not in ON:
                self._take_memory(guest, guests)
            guest["saved"] = False
        if name not in self.snapshots(uuid):
            raise Gone(f"The disks hold no snapshot {name!r}.")
        for volume in guest["writable"]:
            self._state.write(volume, self._state.read(kept_content(volume, name)))
        if memory:
            self._wake(uuid, memory)

    @verb
    def delete_snapshot(self, uuid: UUID, name: str) -> None:
        """See the interface."""
        with self._state.change() as state:
            volumes = state["guests"].get(str(uuid), {}).get("writable", [])
            for volume in volumes:
                one = state["volumes"][volume]
                one["snapshots"] = [kept for kept in one.get("snapshots", ()) if kept != name]
        for volume in volumes:
            self._state.write(kept_content(volume, name), None)

    def snapshots(self, uuid: UUID) -> set[str]:
        """For tests: the names of all that the guest's disks hold."""
        with self._changing(uuid) as (guest, _):
            volumes = guest["writable"]
        with self._state.change() as state:
            return {name for volume in volumes for name in state["volumes"][volume].get("snapshots", ())}

    def _wake(self, uuid: UUID, memory: str) -> None:
        with self._changing(uuid) as (guest, _):
            guest.update({key: json.loads(memory)[key] for key in MEMORY})
            runs = guest["power"] == PowerState.RUNNING
        self._tell(uuid, GuestEventKind.RESUMED if runs else GuestEventKind.PAUSED)
