"""What changes about a fake guest while it lives: its network cards, and copies of its disks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from compute.hypervisor import qcow2
from compute.hypervisor.fake.faults import verb
from compute.hypervisor.fake.guests import FakeGuests
from compute.hypervisor.fake.host import ON
from compute.hypervisor.fake.storage import FakeStorage
from compute.hypervisor.interface import Busy, Gone, Nic

COPY_STEPS = (0, 50, 100)  # percent


class FakeDevices(FakeGuests, FakeStorage):
    """Network cards and copies of disks."""

    @verb
    def attach_nic(self, uuid: UUID, nic: Nic) -> None:
        """See the interface. A guest that runs needs the network to be there."""
        with self._state.change() as state:
            guest = _unsaved(state, uuid)
            if guest["power"] in ON and str(nic.network) not in state["networks"]:
                raise Gone(f"There is no network {nic.network}.")
            guest["nics"][nic.mac] = str(nic.network)

    @verb
    def detach_nic(self, uuid: UUID, mac: str) -> None:
        """See the interface. Fake guests let go at once."""
        with self._state.change() as state:
            _unsaved(state, uuid)["nics"].pop(mac, None)

    def nics(self, uuid: UUID) -> dict[str, UUID]:
        """For tests: the guest's network cards, by MAC, with the network of each."""
        with self._changing(uuid) as (guest, _):
            return {mac: UUID(network) for mac, network in guest["nics"].items()}

    def disks(self, uuid: UUID) -> list[str]:
        """For tests: the volumes of the guest's disks, in order."""
        with self._changing(uuid) as (guest, _):
            return list(guest["disks"])

    @verb
    def copy_disk(self, uuid: UUID, volume: str, target: str, on_progress: Callable[[int], bool]) -> None:
        """See the interface. The copy is a real qcow2 file, with what is kept of the disk's content."""
        with self._state.change() as state:
            if volume not in _guest(state, uuid)["disks"] or volume not in state["volumes"]:
                raise Gone(f"The guest has no disk {volume!r}.")
            size, base = state["volumes"][volume]["size"], state["volumes"][volume].get("base_of")
            is_copy = "file_bytes" in state["volumes"][volume]
        content = self._state.read(base or volume) or b""
        for percent in COPY_STEPS:
            if not on_progress(percent):
                self._forget_volume(target)
                raise Busy("The copy was given up.")
        self._state.write(target, data := content if is_copy else qcow2.flat(content, size))
        with self._state.change() as state:
            state["volumes"][target] = {"size": size, "format": "qcow2", "file_bytes": len(data)}


def _guest(state: Mapping[str, Any], uuid: UUID) -> dict[str, Any]:
    if str(uuid) not in state["guests"]:
        raise Gone(f"There is no guest {uuid}.")
    guest: dict[str, Any] = state["guests"][str(uuid)]
    return guest


def _unsaved(state: Mapping[str, Any], uuid: UUID) -> dict[str, Any]:
    """The guest, whose devices may change. Raises Gone, and Busy: saved memory knows its devices."""
    guest = _guest(state, uuid)
    if guest["saved"]:
        raise Busy("The guest is suspended.")
    return guest
