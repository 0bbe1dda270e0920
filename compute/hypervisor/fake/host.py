"""What a fake host is, how busy it is, what happens on it, and its networks."""

from __future__ import annotations

import threading
import time
import uuid as uuids
from collections.abc import Callable, Iterable
from uuid import UUID

from compute.hypervisor.fake.faults import Faulty, question, verb
from compute.hypervisor.interface import (
    Gone,
    GuestEvent,
    GuestEventKind,
    HostFacts,
    HostUsage,
    NetworkSpec,
    NumaCell,
    PowerState,
    Reservation,
)

WATCH_SECONDS = 0.2
ON = (PowerState.RUNNING, PowerState.PAUSED)


class FakeHost(Faulty):
    """What the host is and how busy it is."""

    uri: str
    _closed: threading.Event

    @question
    def ping(self) -> None:
        """See the interface."""

    @verb
    def prepare(self) -> tuple[str, ...]:
        """See the interface. What is missing on a fake host is remembered as made."""
        with self._state.change() as state:
            made = () if state.get("prepared") else ("the storage pool fake",)
            state["prepared"] = True
        return made

    @question
    def facts(self) -> HostFacts:
        """See the interface."""
        vcpus = self._size("vcpus", 8)
        return HostFacts(
            hostname=self._state.name,
            uuid=str(uuids.uuid5(uuids.NAMESPACE_URL, self.uri)),
            hypervisor_type="fake",
            hypervisor_version=self._size("version", 1_000_000),
            libvirt_version=0,
            architecture="x86_64",
            domain_type="qemu",
            cpu_model="fake",
            cpu_vendor="Nacelle",
            cpu_sockets=1,
            cpu_cores=vcpus,
            cpu_threads=1,
            vcpus=vcpus,
            memory_mb=self._size("memory", 16_384),
            disk_gb=self._size("disk", 1_000),
            numa_cells=(NumaCell(0, vcpus, self._size("memory", 16_384)),),
            capabilities=frozenset({"backup"}),
        )

    @question
    def usage(self) -> HostUsage:
        """See the interface. Running guests use what they were given, a tenth of their CPU time."""
        with self._state.look() as state:
            running = [guest for _, guest in state["guests"].seen() if guest["power"] in ON]
            stored = sum(volume["size"] for _, volume in state["volumes"].seen())
        total = time.monotonic() * self._size("vcpus", 8)
        return HostUsage(
            cpu_busy_seconds=min(total, time.monotonic() * sum(guest["vcpus"] for guest in running) / 10),
            cpu_total_seconds=total,
            memory_used_mb=sum(guest["memory_mb"] for guest in running),
            disk_used_gb=stored / 1024**3,
            disk_capacity_gb=float(self._size("disk", 1_000)),
            guests_running=len(running),
        )

    def watch(self, on_event: Callable[[GuestEvent], None], on_lost: Callable[[str], None]) -> None:
        """See the interface."""
        seen = max((number for number, _ in self._state.notes("event")), default=0)
        threading.Thread(target=self._watch, args=(seen, on_event, on_lost), daemon=True).start()

    def close(self) -> None:
        """Watchers end without a word."""
        self._closed.set()

    def _watch(self, seen: int, on_event: Callable[[GuestEvent], None], on_lost: Callable[[str], None]) -> None:
        version: tuple[int, int] | None = (-1, 0)
        while not self._closed.wait(WATCH_SECONDS):
            if (now := self._state.version()) == version and now is not None:
                continue
            version = now
            for number, text in self._state.notes("event", seen):
                uuid, kind = text.split()
                on_event(GuestEvent(UUID(uuid), GuestEventKind(kind), "fake"))
                seen = number
            _, reason = self._state.trouble()
            if reason:
                on_lost(reason)
                return

    def _size(self, name: str, default: int) -> int:
        return int(self._state.options.get(name, default))


class FakeNetworks(Faulty):
    """Networks and reservations, as a table."""

    @verb
    def ensure_network(self, network: NetworkSpec, reservations: Iterable[Reservation] = ()) -> bool:
        """See the interface."""
        with self._state.change() as state:
            made = str(network.uuid) not in state["networks"]
            state["networks"].setdefault(str(network.uuid), {})
        for one in reservations:
            self._reserve(network.uuid, one)
        return made

    @verb
    def reserve(self, network: UUID, reservation: Reservation) -> None:
        """See the interface."""
        self._reserve(network, reservation)

    @verb
    def release(self, network: UUID, mac: str) -> None:
        """See the interface."""
        with self._state.change() as state:
            state["networks"].get(str(network), {}).pop(mac, None)

    @question
    def reservations(self) -> set[tuple[UUID, str]]:
        """See the interface."""
        with self._state.look() as state:
            return {(UUID(network), mac) for network, macs in state["networks"].seen() for mac in macs}

    @verb
    def remove_network(self, network: UUID) -> None:
        """See the interface."""
        with self._state.change() as state:
            state["networks"].pop(str(network), None)

    def _reserve(self, network: UUID, reservation: Reservation) -> None:
        with self._state.change() as state:
            if str(network) not in state["networks"]:
                raise Gone(f"There is no network {network}.")
            known = state["networks"][str(network)]
            kept = {mac: address for mac, address in known.items() if address != reservation.address}
            state["networks"][str(network)] = kept | {reservation.mac: reservation.address}
