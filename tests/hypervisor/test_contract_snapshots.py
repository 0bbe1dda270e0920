"""In-place snapshots: what both drivers promise."""

from __future__ import annotations

import io
import uuid
from typing import Any

import pytest

from compute.hypervisor.interface import Busy, Disk, Failed, Gone, Guest, HypervisorError, PowerState
from tests.hypervisor.conftest import Bench

MIB = 1 << 20


@pytest.fixture
def guest(bench: Bench) -> Guest:
    """A guest with two disks of its own and a config drive; off."""
    identity = uuid.uuid4()
    for name in ("root", "more"):
        bench.driver.create_volume(f"{identity}-{name}", MIB)
    bench.driver.upload(f"{identity}-config", io.BytesIO(bytes(MIB)), MIB)
    one = bench.guest(
        disks=(
            Disk(f"{identity}-root", "vda", boot_order=1),
            Disk(f"{identity}-more", "vdb"),
            Disk(f"{identity}-config", "vdz", format="raw", read_only=True),
        )
    )
    bench.driver.define(one)
    return one


def power(bench: Bench, guest: Guest) -> PowerState:
    """How it is now."""
    seen = bench.driver.guest(guest.uuid)
    assert seen is not None
    return seen.power_state


def kept(bench: Bench, guest: Guest, name: str) -> bool:
    """Whether its disks hold this snapshot: going back to it works. It is off."""
    try:
        bench.driver.revert_snapshot(guest.uuid, name)
    except (Failed, Gone):
        return False
    return True


@pytest.mark.parametrize("state", ["off", "on", "paused"])
@pytest.mark.parametrize("memory", [False, True])
def test_a_guest_goes_on_after_it_as_before(bench: Bench, guest: Guest, state: str, memory: bool) -> None:
    if state != "off":
        bench.driver.start(guest.uuid)
    if state == "paused":
        bench.driver.pause(guest.uuid)
    before = power(bench, guest)
    if memory and state == "off":
        with pytest.raises(Busy):
            bench.driver.create_snapshot(guest.uuid, "one", memory)
        return
    described = bench.driver.create_snapshot(guest.uuid, "one", memory)
    assert bool(described) == memory
    assert power(bench, guest) == before
    again = bench.driver.create_snapshot(guest.uuid, "one", memory)  # a worker that took over
    assert power(bench, guest) == before
    bench.driver.destroy(guest.uuid)
    if memory:
        bench.driver.revert_snapshot(guest.uuid, "one", again)
        assert power(bench, guest) == before
        bench.driver.revert_snapshot(guest.uuid, "one", again)
        assert power(bench, guest) == before
        bench.driver.destroy(guest.uuid)
    bench.driver.revert_snapshot(guest.uuid, "one")
    assert power(bench, guest) == PowerState.SHUTDOWN


def test_a_guest_that_is_on_keeps_its_disks(bench: Bench, guest: Guest) -> None:
    bench.driver.create_snapshot(guest.uuid, "one", memory=False)
    bench.driver.start(guest.uuid)
    with pytest.raises(Busy):
        bench.driver.revert_snapshot(guest.uuid, "one")
    assert power(bench, guest) == PowerState.RUNNING


@pytest.mark.parametrize("on", [False, True])
def test_deleting_one_leaves_the_others(bench: Bench, guest: Guest, on: bool) -> None:
    for name in ("one", "two", "three"):
        bench.driver.create_snapshot(guest.uuid, name, memory=False)
    if on:
        bench.driver.start(guest.uuid)
    for _ in range(2):
        bench.driver.delete_snapshot(guest.uuid, "two")
    bench.driver.destroy(guest.uuid)
    assert [kept(bench, guest, name) for name in ("one", "two", "three")] == [True, False, True]


def test_nothing_depends_on_what_the_host_remembers(bench: Bench, guest: Guest) -> None:
    bench.driver.start(guest.uuid)
    described = bench.driver.create_snapshot(guest.uuid, "one", memory=True)
    bench.driver.create_snapshot(guest.uuid, "two", memory=False)
    bench.driver.remove(guest.uuid)
    bench.driver.define(guest)
    bench.driver.revert_snapshot(guest.uuid, "two")
    bench.driver.revert_snapshot(guest.uuid, "one", described)
    assert power(bench, guest) == PowerState.RUNNING
    bench.driver.delete_snapshot(guest.uuid, "one")
    bench.driver.destroy(guest.uuid)
    assert [kept(bench, guest, name) for name in ("one", "two")] == [False, True]


@pytest.mark.parametrize(("on", "memory"), [(False, False), (True, False), (True, True)])
def test_what_an_earlier_try_left_is_replaced(bench: Bench, guest: Guest, on: bool, memory: bool) -> None:
    for _ in range(2):
        if on:
            bench.driver.start(guest.uuid)
        bench.driver.create_snapshot(guest.uuid, "one", memory)
        bench.driver.remove(guest.uuid)  # all that the host knew besides the disks is lost
        bench.driver.define(guest)
    assert kept(bench, guest, "one")
    bench.driver.delete_snapshot(guest.uuid, "one")
    assert not kept(bench, guest, "one")


def test_a_suspended_guest_has_no_memory_in_it_and_loses_it_when_it_goes_back(bench: Bench, guest: Guest) -> None:
    bench.driver.start(guest.uuid)
    bench.driver.suspend(guest.uuid)
    assert bench.driver.create_snapshot(guest.uuid, "one", memory=False) == ""
    bench.driver.resume(guest.uuid)
    assert power(bench, guest) == PowerState.RUNNING
    bench.driver.suspend(guest.uuid)
    bench.driver.revert_snapshot(guest.uuid, "one")
    assert power(bench, guest) == PowerState.SHUTDOWN
    bench.driver.start(guest.uuid)
    assert power(bench, guest) == PowerState.RUNNING


def test_what_is_not_there(bench: Bench, guest: Guest) -> None:
    stranger = uuid.uuid4()
    with pytest.raises(Gone):
        bench.driver.create_snapshot(stranger, "one", memory=False)
    with pytest.raises(Gone):
        bench.driver.revert_snapshot(stranger, "one")
    bench.driver.delete_snapshot(stranger, "one")
    bench.driver.delete_snapshot(guest.uuid, "one")
    assert not kept(bench, guest, "one")


@pytest.mark.parametrize("bench", [pytest.param("libvirt", marks=pytest.mark.real)], indirect=True)
def test_what_a_disk_cannot_keep_is_an_error(bench: Bench) -> None:
    """A raw disk that the guest writes to: no instance of ours has one."""
    identity = uuid.uuid4()
    bench.driver.create_volume(f"{identity}-root", MIB, "raw")
    one: Any = bench.guest(disks=(Disk(f"{identity}-root", "vda", format="raw"),))
    bench.driver.define(one)
    for on in (False, True):
        if on:
            bench.driver.start(one.uuid)
        for memory in (False, True) if on else (False,):
            with pytest.raises(HypervisorError):
                bench.driver.create_snapshot(one.uuid, "one", memory)
            assert power(bench, one) == (PowerState.RUNNING if on else PowerState.SHUTDOWN)
