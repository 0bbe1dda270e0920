"""What every driver promises of a guest between its start and its end: held, saved, changed and copied."""

from __future__ import annotations

import io
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from compute.hypervisor.interface import (
    Busy,
    Disk,
    Gone,
    Guest,
    GuestEvent,
    GuestEventKind,
    Nic,
    PowerState,
    Unsupported,
    mac_for,
)
from tests.hypervisor.conftest import Bench, at
from tests.hypervisor.test_contract import CONTENT, MIB, in_pieces
from tests.hypervisor.test_libvirt import wait_until


def started(bench: Bench, **facts: Any) -> Guest:
    guest = bench.guest(**facts)
    bench.driver.define(guest)
    bench.driver.start(guest.uuid)
    return guest


def power(bench: Bench, guest: Guest) -> PowerState:
    seen = bench.driver.guest(guest.uuid)
    assert seen is not None
    assert bench.driver.guests()[guest.uuid] == seen
    return seen.power_state


# pause --------------------------------------------------------------------------------------------
def test_pause_and_unpause(bench: Bench) -> None:
    events: list[GuestEvent] = []
    bench.driver.watch(events.append, lambda reason: None)
    guest = started(bench)
    for _ in range(2):
        bench.driver.pause(guest.uuid)
        assert power(bench, guest) == PowerState.PAUSED
    bench.driver.start(guest.uuid)
    assert power(bench, guest) == PowerState.PAUSED, "a guest that is on stays as it is"
    for _ in range(2):
        bench.driver.unpause(guest.uuid)
        assert power(bench, guest) == PowerState.RUNNING
    kinds = {GuestEventKind.PAUSED, GuestEventKind.RESUMED}
    assert wait_until(lambda: kinds <= {one.kind for one in events if one.uuid == guest.uuid}, 5)


def test_a_paused_guest_is_cut_off_at_once(bench: Bench) -> None:
    guest = started(bench)
    bench.driver.pause(guest.uuid)
    bench.driver.stop(guest.uuid, grace=60)
    assert power(bench, guest) == PowerState.SHUTDOWN


def test_a_paused_guest_has_its_consoles(bench: Bench) -> None:
    guest = started(bench)
    bench.driver.pause(guest.uuid)
    assert bench.driver.vnc(guest.uuid).port >= 5900
    bench.driver.serial(guest.uuid).close()


# suspend ------------------------------------------------------------------------------------------
def test_suspend_and_resume(bench: Bench) -> None:
    events: list[GuestEvent] = []
    bench.driver.watch(events.append, lambda reason: None)
    guest = started(bench)
    for _ in range(2):
        bench.driver.suspend(guest.uuid)
        assert power(bench, guest) == PowerState.SHUTDOWN, "as Nova sees it"
    assert wait_until(lambda: GuestEventKind.STOPPED in {one.kind for one in events}, 5)
    bench.driver.define(guest)
    log = bench.driver.console_log(guest.uuid)
    for _ in range(2):
        bench.driver.resume(guest.uuid)
        assert power(bench, guest) == PowerState.RUNNING
    assert bench.driver.console_log(guest.uuid).startswith(log)


def test_a_paused_guest_runs_after_suspend_and_resume(bench: Bench) -> None:
    guest = started(bench)
    bench.driver.pause(guest.uuid)
    bench.driver.suspend(guest.uuid)
    bench.driver.resume(guest.uuid)
    assert power(bench, guest) == PowerState.RUNNING
    bench.driver.pause(guest.uuid)
    bench.driver.resume(guest.uuid)
    assert power(bench, guest) == PowerState.RUNNING


def test_resume_starts_a_guest_that_was_never_suspended(bench: Bench) -> None:
    guest = bench.guest()
    bench.driver.define(guest)
    bench.driver.resume(guest.uuid)
    assert power(bench, guest) == PowerState.RUNNING


@pytest.mark.parametrize("drop", ["start", "destroy", "reboot"])
def test_saved_memory_is_dropped_by_a_cold_start(bench: Bench, drop: str) -> None:
    guest = started(bench)
    bench.driver.suspend(guest.uuid)
    getattr(bench.driver, drop)(*([guest.uuid, 1.0] if drop == "reboot" else [guest.uuid]))
    assert not is_saved(bench, guest)
    assert power(bench, guest) == (PowerState.SHUTDOWN if drop == "destroy" else PowerState.RUNNING)
    bench.driver.resume(guest.uuid)
    assert power(bench, guest) == PowerState.RUNNING


def is_saved(bench: Bench, guest: Guest) -> bool:
    """The one question that the interface does not answer: the driver's own means."""
    driver: Any = bench.driver
    if bench.kind == "libvirt":
        return bool(driver._session.domain(guest.uuid).hasManagedSaveImage())
    with driver._state.change() as state:
        return bool(state["guests"][str(guest.uuid)]["saved"])


def test_a_suspended_guest_is_removed_whole(bench: Bench) -> None:
    guest = started(bench)
    bench.driver.suspend(guest.uuid)
    assert is_saved(bench, guest)
    bench.driver.remove(guest.uuid)
    assert bench.driver.guest(guest.uuid) is None
    bench.driver.define(guest)
    assert not is_saved(bench, guest)


# the guest's insides ------------------------------------------------------------------------------
def test_an_interrupt_reaches_a_running_guest(bench: Bench) -> None:
    guest = started(bench)
    bench.driver.inject_nmi(guest.uuid)
    bench.driver.inject_nmi(guest.uuid)
    assert power(bench, guest) == PowerState.RUNNING


def test_a_guest_without_an_agent_takes_no_password(bench: Bench) -> None:
    if bench.kind == "fake":
        bench.driver._state.options["agent"] = "0"  # type: ignore[attr-defined]  # the fake's own
    guest = started(bench)
    with pytest.raises(Unsupported, match="agent"):
        bench.driver.set_password(guest.uuid, "root", "secret")
    bench.driver.pause(guest.uuid)
    with pytest.raises(Busy):
        bench.driver.set_password(guest.uuid, "root", "secret")


CALLS: dict[str, tuple[Any, ...]] = {
    "pause": (),
    "unpause": (),
    "suspend": (),
    "inject_nmi": (),
    "set_password": ("root", "secret"),
}


@pytest.mark.parametrize("verb", CALLS)
def test_a_guest_that_is_off_is_busy(bench: Bench, verb: str) -> None:
    guest = bench.guest()
    bench.driver.define(guest)
    with pytest.raises(Busy):
        getattr(bench.driver, verb)(guest.uuid, *CALLS[verb])
    assert power(bench, guest) == PowerState.SHUTDOWN


def test_a_guest_that_is_not_there(bench: Bench) -> None:
    nobody = uuid.uuid4()
    nic = Nic("52:54:00:11:22:33", uuid.uuid4())
    copied = ("disk", "copy", lambda percent: True)
    others = {"resume": (), "attach_nic": (nic,), "detach_nic": (nic.mac,), "copy_disk": copied}
    for verb, rest in (CALLS | others).items():
        with pytest.raises(Gone):
            getattr(bench.driver, verb)(nobody, *rest)


# network cards ------------------------------------------------------------------------------------
def card(bench: Bench, number: int = 9) -> Nic:
    spec = bench.network()
    bench.driver.ensure_network(spec)
    address = at(spec, number)
    return Nic(mac_for(spec.uuid, spec.cidr, address), spec.uuid, address)


def macs(bench: Bench, guest: Guest) -> set[str]:
    """The cards that the guest has now, by the driver's own means."""
    driver: Any = bench.driver
    if bench.kind == "fake":
        return set(driver.nics(guest.uuid))
    description = etree.fromstring(driver._session.domain(guest.uuid).XMLDesc())
    return {one.get("address", "") for one in description.iterfind("devices/interface/mac")}


def test_cards_of_a_guest_that_is_off(bench: Bench) -> None:
    nic, guest = card(bench), bench.guest()
    bench.driver.define(guest)
    for _ in range(2):
        bench.driver.attach_nic(guest.uuid, nic)
        assert macs(bench, guest) == {nic.mac}
    bench.driver.start(guest.uuid)
    assert macs(bench, guest) == {nic.mac}
    bench.driver.destroy(guest.uuid)
    for _ in range(2):
        bench.driver.detach_nic(guest.uuid, nic.mac.upper() if bench.kind == "libvirt" else nic.mac)
        assert macs(bench, guest) == set()


def test_a_card_for_a_running_guest_is_there_now_and_later(bench: Bench) -> None:
    nic, guest = card(bench), started(bench)
    for _ in range(2):
        bench.driver.attach_nic(guest.uuid, nic)
        assert macs(bench, guest) == {nic.mac}
    bench.driver.destroy(guest.uuid)
    assert macs(bench, guest) == {nic.mac}
    bench.driver.start(guest.uuid)
    assert macs(bench, guest) == {nic.mac}


def test_a_running_guest_needs_the_network_of_its_card(bench: Bench) -> None:
    guest = started(bench)
    with pytest.raises(Gone):
        bench.driver.attach_nic(guest.uuid, Nic("52:54:00:11:22:33", uuid.uuid4()))
    assert macs(bench, guest) == set()
    bench.driver.destroy(guest.uuid)
    assert macs(bench, guest) == set()


def test_the_cards_of_a_suspended_guest_stay(bench: Bench) -> None:
    nic, guest = card(bench), started(bench)
    bench.driver.suspend(guest.uuid)
    with pytest.raises(Busy):
        bench.driver.attach_nic(guest.uuid, nic)
    with pytest.raises(Busy):
        bench.driver.detach_nic(guest.uuid, nic.mac)


# volumes ------------------------------------------------------------------------------------------
def test_a_volume_grows_and_never_shrinks(bench: Bench) -> None:
    bench.driver.ensure_base("base", len(CONTENT), in_pieces)
    bench.driver.create_overlay("disk", "base", 4 * MIB)
    for size in (6 * MIB, 6 * MIB, MIB):
        bench.driver.resize_volume("disk", size)
        assert bench.driver.volumes("disk") == {"disk": 6 * MIB}
    with pytest.raises(Gone):
        bench.driver.resize_volume("nothing", MIB)


def test_a_disk_in_use_does_not_grow(bench: Bench) -> None:
    guest = started(bench)
    with pytest.raises(Busy):
        bench.driver.resize_volume(guest.disks[0].volume, 6 * MIB)
    bench.driver.destroy(guest.uuid)
    bench.driver.resize_volume(guest.disks[0].volume, 6 * MIB)


def on_an_overlay(bench: Bench) -> Guest:
    """A guest whose disk stands on a base with content, and was never started."""
    bench.driver.ensure_base("base", len(CONTENT), in_pieces)
    bench.driver.create_overlay("disk", "base", 4 * MIB)
    guest = bench.guest(disks=(Disk("disk", "vda"),))
    bench.driver.define(guest)
    return guest


STATES: dict[str, tuple[str, ...]] = {
    "off": (),
    "running": ("start",),
    "paused": ("start", "pause"),
    "suspended": ("start", "suspend"),
}


@pytest.mark.parametrize("state", STATES)
def test_a_copy_is_flat_and_whole(bench: Bench, state: str, tmp_path: Path) -> None:
    guest = on_an_overlay(bench)
    for verb in STATES[state]:
        getattr(bench.driver, verb)(guest.uuid)
    before, told = power(bench, guest), list[int]()

    def tell(percent: int) -> bool:
        told.append(percent)
        return True

    bench.driver.upload("copy", io.BytesIO(b"left by an earlier try"), 22)
    bench.driver.copy_disk(guest.uuid, "disk", "copy", tell)
    assert power(bench, guest) == before
    assert is_saved(bench, guest) == (state == "suspended")
    assert told == sorted(told)
    assert told[-1] == 100
    assert bench.driver.volumes("copy") == {"copy": 4 * MIB}
    assert content_of(bench, "copy", tmp_path) == CONTENT.ljust(4 * MIB, b"\0")


def content_of(bench: Bench, volume: str, folder: Path) -> bytes:
    """What a flat qcow2 volume holds, as qemu-img reads it with no other file at hand."""
    copy, raw = folder / "copy.qcow2", folder / "copy.raw"
    copy.write_bytes(b"".join(bench.driver.download(volume)))
    information = subprocess.run(["qemu-img", "info", "-f", "qcow2", copy], check=True, capture_output=True, text=True)
    assert "backing" not in information.stdout
    subprocess.run(["qemu-img", "check", "-f", "qcow2", copy], check=True, capture_output=True)
    subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", copy, raw], check=True)
    return raw.read_bytes()


@pytest.mark.parametrize("state", STATES)
def test_a_copy_that_is_given_up_leaves_nothing(bench: Bench, state: str) -> None:
    guest = on_an_overlay(bench)
    for verb in STATES[state]:
        getattr(bench.driver, verb)(guest.uuid)
    before = power(bench, guest)
    for enough in (lambda percent: False, lambda percent: percent < 100):
        with pytest.raises(Busy, match="given up"):
            bench.driver.copy_disk(guest.uuid, "disk", "copy", enough)
        assert bench.driver.volumes("copy") == {}
        assert power(bench, guest) == before
    bench.driver.copy_disk(guest.uuid, "disk", "copy", lambda percent: True)


def test_a_copy_of_a_copy(bench: Bench, tmp_path: Path) -> None:
    """What an unshelved guest runs on."""
    guest = on_an_overlay(bench)
    bench.driver.copy_disk(guest.uuid, "disk", "copy", lambda percent: True)
    other = bench.guest(disks=(Disk("copy", "vda"),))
    bench.driver.define(other)
    bench.driver.copy_disk(other.uuid, "copy", "again", lambda percent: True)
    assert content_of(bench, "again", tmp_path) == CONTENT.ljust(4 * MIB, b"\0")


def test_only_a_guests_own_disk_is_copied(bench: Bench) -> None:
    guest = on_an_overlay(bench)
    bench.driver.create_volume("another", MIB)
    for state in (lambda: None, lambda: bench.driver.start(guest.uuid)):
        _check_foreign(bench, guest, state)


def _check_foreign(bench: Bench, guest: Guest, state: Callable[[], None]) -> None:
    state()
    with pytest.raises(Gone):
        bench.driver.copy_disk(guest.uuid, "another", "copy", lambda percent: True)
    assert bench.driver.volumes("copy") == {}
