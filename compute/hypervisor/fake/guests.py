"""A fake host's guests: their states, events and consoles."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from compute.hypervisor.fake.faults import question, verb
from compute.hypervisor.fake.host import ON, FakeHost
from compute.hypervisor.interface import (
    Busy,
    Failed,
    Gone,
    Guest,
    GuestEventKind,
    GuestUsage,
    NoSpace,
    Observed,
    PowerState,
    Unsupported,
    VncEndpoint,
)

POLL_SECONDS = 0.02
FIRST_PORT = 5900
NEW: dict[str, Any] = {
    "power": PowerState.SHUTDOWN, "since": 0.0, "log": "", "saved": False, "passwords": {}, "crossing": "",
    "just_arrived": False,
}  # fmt: skip


class FakeSerial:
    """A serial port with a guest behind it that says back what it hears."""

    def __init__(self) -> None:
        self._lines: queue.Queue[bytes] = queue.Queue()
        self._rest = b""
        self.closed = False

    def receive(self, size: int) -> bytes:
        """See SerialStream."""
        if not self._rest and not self.closed:
            self._rest = self._lines.get()
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def send(self, data: bytes) -> None:
        """See SerialStream."""
        if self.closed:
            raise Failed("The stream has ended.")
        self._lines.put(data)

    def close(self) -> None:
        """See SerialStream."""
        self.closed = True
        self._lines.put(b"")


class FakeGuests(FakeHost):
    """Guests: states and events."""

    _serials: dict[UUID, FakeSerial]

    @question
    def guests(self) -> dict[UUID, Observed]:
        """See the interface."""
        with self._state.look() as state:
            return {UUID(uuid): _observed(UUID(uuid), guest) for uuid, guest in state["guests"].seen()}

    @question
    def guest(self, uuid: UUID) -> Observed | None:
        """See the interface."""
        with self._state.look() as state:
            guest = state["guests"].get(str(uuid))
            return _observed(uuid, guest) if guest else None

    @question
    def guest_usage(self) -> dict[UUID, GuestUsage]:
        """See the interface."""
        with self._state.look() as state:
            guests = {UUID(uuid): guest for uuid, guest in state["guests"].seen()}
        return {
            uuid: usage_of(guest, time.time() - guest["since"])
            for uuid, guest in guests.items()
            if guest["power"] == PowerState.RUNNING
        }

    @verb
    def define(self, guest: Guest) -> None:
        """See the interface."""
        with self._state.change() as state:
            self._check_disks(state, guest)
            old = NEW | state["guests"].get(str(guest.uuid), {})
            state["guests"][str(guest.uuid)] = old | defined(guest)
            self._tell(guest.uuid, GuestEventKind.DEFINED)

    @verb
    def start(self, uuid: UUID) -> None:
        """See the interface. The memory of running guests is bounded by the host's."""
        with self._changing(uuid) as (guest, guests):
            if guest["power"] in ON:
                return
            self._take_memory(guest, guests)
            log = f"[    0.000000] {guest['name']} booted on {self._state.name}\r\n"
            guest.update(power=PowerState.RUNNING, since=time.time(), log=log, saved=False, crossing="")
            sizes = {what: guest[what] for what in ("vcpus", "memory_mb")}
            guest["live"] = sizes | {f"max_{what}": guest[f"max_{what}"] or now for what, now in sizes.items()}
            self._tell(uuid, GuestEventKind.STARTED)

    @verb
    def stop(self, uuid: UUID, grace: float, should_go_on: Callable[[], bool] = lambda: True) -> None:
        """See the interface."""
        self._stop(uuid, grace, should_go_on)

    @verb
    def reboot(self, uuid: UUID, grace: float, should_go_on: Callable[[], bool] = lambda: True) -> None:
        """See the interface."""
        if self._stop(uuid, grace, should_go_on):
            self.start(uuid)

    @verb
    def destroy(self, uuid: UUID) -> None:
        """See the interface."""
        self._switch_off(uuid)

    @verb
    def remove(self, uuid: UUID) -> None:
        """See the interface."""
        with self._state.change() as state:
            guest = state["guests"].pop(str(uuid), None)
        self._hang_up(uuid)
        if guest is not None:
            if guest["power"] != PowerState.SHUTDOWN:
                self._tell(uuid, GuestEventKind.STOPPED)
            self._tell(uuid, GuestEventKind.UNDEFINED)

    @verb
    def pause(self, uuid: UUID) -> None:
        """See the interface."""
        self._turn(uuid, PowerState.PAUSED, GuestEventKind.PAUSED)

    @verb
    def unpause(self, uuid: UUID) -> None:
        """See the interface."""
        self._turn(uuid, PowerState.RUNNING, GuestEventKind.RESUMED)

    @verb
    def suspend(self, uuid: UUID) -> None:
        """See the interface."""
        with self._changing(uuid) as (guest, _):
            if guest["saved"]:
                return
            check_on(guest)
            guest.update(power=PowerState.SHUTDOWN, saved=True)
        self._hang_up(uuid)
        self._tell(uuid, GuestEventKind.STOPPED)

    @verb
    def resume(self, uuid: UUID) -> None:
        """See the interface. Its log and the time since its start go on."""
        with self._changing(uuid) as (guest, guests):
            was, saved = guest["power"], guest["saved"]
            if saved:
                self._take_memory(guest, guests)
                guest.update(power=PowerState.RUNNING, saved=False)
        if saved:
            self._tell(uuid, GuestEventKind.STARTED)
        elif was == PowerState.PAUSED:
            self._turn(uuid, PowerState.RUNNING, GuestEventKind.RESUMED)
        else:
            self.start(uuid)

    @verb
    def inject_nmi(self, uuid: UUID) -> None:
        """See the interface. The guest says so in its log."""
        with self._changing(uuid) as (guest, _):
            check_on(guest)
            guest["log"] += "Kernel panic - not syncing: NMI\r\n"

    @verb
    def set_password(self, uuid: UUID, user: str, password: str) -> None:
        """See the interface. With ``agent=0`` in the URI, guests have no agent."""
        with self._changing(uuid) as (guest, _):
            if guest["power"] != PowerState.RUNNING:
                raise Busy("The guest is not running.")
            if not self._size("agent", 1):
                raise Unsupported("The guest's agent does not answer.")
            guest["passwords"][user] = password

    def passwords(self, uuid: UUID) -> dict[str, str]:
        """For tests: the passwords that were set in the guest, by user."""
        with self._changing(uuid) as (guest, _):
            return dict(guest["passwords"])

    def _check_disks(self, state: Mapping[str, Any], guest: Guest) -> None:
        for disk in guest.disks:
            if disk.volume not in state["volumes"]:
                raise Gone(f"The host has no volume {disk.volume!r}.")

    def _turn(self, uuid: UUID, power: PowerState, kind: GuestEventKind) -> None:
        """A guest that is on runs or stands still."""
        with self._changing(uuid) as (guest, _):
            check_on(guest)
            if guest["power"] == power:
                return
            guest.update(power=power, just_arrived=False)
        self._tell(uuid, kind)

    def _take_memory(self, guest: dict[str, Any], guests: Iterable[dict[str, Any]]) -> None:
        used = sum(one["memory_mb"] for one in guests if one["power"] in ON)
        if used + guest["memory_mb"] > self._size("memory", 16_384):
            raise NoSpace("cannot set up guest memory")

    def _stop(self, uuid: UUID, grace: float, should_go_on: Callable[[], bool]) -> bool:
        with self._changing(uuid) as (guest, _):
            off = guest["power"] == PowerState.SHUTDOWN
            hears = guest["power"] == PowerState.RUNNING
        deadline = time.monotonic() + (grace if hears and self._size("deaf", 0) else 0.0)
        while not off:
            if not should_go_on():
                return False
            if time.monotonic() >= deadline:
                self._switch_off(uuid)
                break
            time.sleep(POLL_SECONDS)
        return True

    def _switch_off(self, uuid: UUID) -> None:
        with self._changing(uuid) as (guest, _):
            guest["saved"] = False
            if guest["power"] == PowerState.SHUTDOWN:
                return
            guest["power"] = PowerState.SHUTDOWN
        self._hang_up(uuid)
        self._tell(uuid, GuestEventKind.STOPPED)

    @contextmanager
    def _changing(self, uuid: UUID) -> Iterator[tuple[dict[str, Any], Iterable[dict[str, Any]]]]:
        """The guest, to be changed, and all guests. Raises Gone."""
        with self._state.change() as state:
            if str(uuid) not in state["guests"]:
                raise Gone(f"There is no guest {uuid}.")
            yield state["guests"][str(uuid)], (one for _, one in state["guests"].seen())

    def _tell(self, uuid: UUID, kind: GuestEventKind) -> None:
        self._state.note("event", f"{uuid} {kind}")

    def _hang_up(self, uuid: UUID) -> None:
        if port := self._serials.pop(uuid, None):
            port.close()


def defined(guest: Guest) -> dict[str, Any]:
    """What a host remembers of a guest's definition."""
    return {
        "name": guest.name,
        "vcpus": guest.vcpus,
        "memory_mb": guest.memory_mb,
        "max_vcpus": guest.max_vcpus,
        "max_memory_mb": guest.max_memory_mb,
        "managed": True,
        "disks": [disk.volume for disk in guest.disks],
        "writable": [disk.volume for disk in guest.disks if not disk.read_only],
        "nics": {nic.mac: str(nic.network) for nic in guest.nics},
        "listen": guest.console_listen,
    }


class FakeConsoles(FakeGuests):
    """The screens and serial ports of guests. Nothing listens on a screen's port, unless the URI's ``vnc``
    (the port of the first guest) names one where something does."""

    @question
    def vnc(self, uuid: UUID) -> VncEndpoint:
        """See the interface."""
        return VncEndpoint("127.0.0.1", self._size("vnc", FIRST_PORT) + self._running(uuid))

    @question
    def serial(self, uuid: UUID) -> FakeSerial:
        """See the interface."""
        self._running(uuid)
        self._hang_up(uuid)
        self._serials[uuid] = FakeSerial()
        return self._serials[uuid]

    @question
    def console_log(self, uuid: UUID, max_bytes: int = 102_400) -> bytes:
        """See the interface."""
        with self._state.look() as state:
            log: str = state["guests"].get(str(uuid), {}).get("log", "")
        return log.encode()[-max_bytes:] if max_bytes > 0 else b""

    @question
    def console_logs(self) -> set[UUID]:
        """See the interface. None outlives its guest."""
        with self._state.look() as state:
            return set(map(UUID, state["guests"]))

    def _running(self, uuid: UUID) -> int:
        """The guest's place among all. Raises Gone, and Busy if it is off."""
        with self._changing(uuid) as (guest, guests):
            check_on(guest)
            return list(guests).index(guest)


def check_on(guest: dict[str, Any]) -> None:
    """Raises Busy for a guest that is off."""
    if guest["power"] not in ON:
        raise Busy("The guest is not running.")


def usage_of(guest: dict[str, Any], seconds: float) -> GuestUsage:
    """A guest that uses a tenth of a processor, and reads, writes and talks at an even pace."""
    second = int(seconds)
    return GuestUsage(
        cpu_seconds=seconds / 10,
        memory_used_mb=guest["memory_mb"] // 2,
        disk_read_bytes=8192 * second,
        disk_write_bytes=16_384 * second,
        disk_read_requests=second,
        disk_write_requests=2 * second,
        network_receive_bytes=1000 * second,
        network_transmit_bytes=2000 * second,
    )


def _observed(uuid: UUID, guest: dict[str, Any]) -> Observed:
    return Observed(uuid, guest["name"], PowerState(guest["power"]), guest["managed"])
