"""A fake host's guests: their states, events and consoles."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from compute.hypervisor.fake.faults import question, verb
from compute.hypervisor.fake.host import FakeHost
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
    VncEndpoint,
)

POLL_SECONDS = 0.02
FIRST_PORT = 5900


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
        with self._state.change() as state:
            return {UUID(uuid): _observed(UUID(uuid), guest) for uuid, guest in state["guests"].items()}

    @question
    def guest(self, uuid: UUID) -> Observed | None:
        """See the interface."""
        with self._state.change() as state:
            guest = state["guests"].get(str(uuid))
            return _observed(uuid, guest) if guest else None

    @question
    def guest_usage(self) -> dict[UUID, GuestUsage]:
        """See the interface."""
        with self._state.change() as state:
            guests = {UUID(uuid): guest for uuid, guest in state["guests"].items()}
        return {
            uuid: GuestUsage((time.time() - guest["since"]) / 10, guest["memory_mb"] // 2, 0, 0, 0, 0)
            for uuid, guest in guests.items()
            if guest["power"] == PowerState.RUNNING
        }

    @verb
    def define(self, guest: Guest) -> None:
        """See the interface."""
        with self._state.change() as state:
            for disk in guest.disks:
                if disk.volume not in state["volumes"]:
                    raise Gone(f"The host has no volume {disk.volume!r}.")
            old = state["guests"].get(str(guest.uuid), {"power": PowerState.SHUTDOWN, "since": 0.0, "log": ""})
            new = {"name": guest.name, "vcpus": guest.vcpus, "memory_mb": guest.memory_mb, "managed": True}
            state["guests"][str(guest.uuid)] = old | new
        self._tell(guest.uuid, GuestEventKind.DEFINED)

    @verb
    def start(self, uuid: UUID) -> None:
        """See the interface. The memory of running guests is bounded by the host's."""
        with self._changing(uuid) as (guest, guests):
            if guest["power"] == PowerState.RUNNING:
                return
            used = sum(one["memory_mb"] for one in guests if one["power"] == PowerState.RUNNING)
            if used + guest["memory_mb"] > self._size("memory", 16_384):
                raise NoSpace("cannot set up guest memory")
            log = f"[    0.000000] {guest['name']} booted on {self._state.name}\r\n"
            guest.update(power=PowerState.RUNNING, since=time.time(), log=log)
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

    def _stop(self, uuid: UUID, grace: float, should_go_on: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + (grace if self._size("deaf", 0) else 0.0)
        with self._changing(uuid) as (guest, _):
            off = guest["power"] == PowerState.SHUTDOWN
        while not off:
            if not should_go_on():
                return False
            if time.monotonic() >= deadline:
                break
            time.sleep(POLL_SECONDS)
        self._switch_off(uuid)
        return True

    def _switch_off(self, uuid: UUID) -> None:
        with self._changing(uuid) as (guest, _):
            if guest["power"] == PowerState.SHUTDOWN:
                return
            guest["power"] = PowerState.SHUTDOWN
        self._hang_up(uuid)
        self._tell(uuid, GuestEventKind.STOPPED)

    @contextmanager
    def _changing(self, uuid: UUID) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
        """The guest, to be changed, and all guests. Raises Gone."""
        with self._state.change() as state:
            if str(uuid) not in state["guests"]:
                raise Gone(f"There is no guest {uuid}.")
            yield state["guests"][str(uuid)], list(state["guests"].values())

    def _tell(self, uuid: UUID, kind: GuestEventKind) -> None:
        self._state.note("event", f"{uuid} {kind}")

    def _hang_up(self, uuid: UUID) -> None:
        if port := self._serials.pop(uuid, None):
            port.close()


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
        with self._state.change() as state:
            log: str = state["guests"].get(str(uuid), {}).get("log", "")
        return log.encode()[-max_bytes:] if max_bytes > 0 else b""

    def _running(self, uuid: UUID) -> int:
        """The guest's place among all. Raises Gone, and Busy if it is off."""
        with self._changing(uuid) as (guest, guests):
            if guest["power"] != PowerState.RUNNING:
                raise Busy("The guest is not running.")
            return guests.index(guest)


def _observed(uuid: UUID, guest: dict[str, Any]) -> Observed:
    return Observed(uuid, guest["name"], PowerState(guest["power"]), guest["managed"])
