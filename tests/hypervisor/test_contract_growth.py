"""What both drivers promise of guests that grow while they run; on libvirt a guest with an empty disk will do."""

from __future__ import annotations

from uuid import uuid4

import pytest

from compute.hypervisor.interface import Busy, Gone, Unsupported
from tests.hypervisor.conftest import Bench


def test_a_running_guest_grows_within_its_room(bench: Bench) -> None:
    guest = bench.guest(vcpus=1, memory_mb=128, max_vcpus=3, max_memory_mb=512)
    bench.driver.define(guest)
    bench.driver.start(guest.uuid)
    assert bench.driver.live_size(guest.uuid) == (1, 128)
    for _ in range(2):
        bench.driver.set_live_vcpus(guest.uuid, 2)
        bench.driver.set_live_memory(guest.uuid, 256)
        assert bench.driver.live_size(guest.uuid) == (2, 256)
    with pytest.raises(Unsupported, match="room for 3"):
        bench.driver.set_live_vcpus(guest.uuid, 4)
    with pytest.raises(Unsupported, match="room for 512"):
        bench.driver.set_live_memory(guest.uuid, 640)
    bench.driver.set_live_memory(guest.uuid, 512)
    assert bench.driver.live_size(guest.uuid) == (2, 512)


def test_at_its_next_start_it_is_as_defined(bench: Bench) -> None:
    guest = bench.guest(vcpus=1, memory_mb=128, max_vcpus=2, max_memory_mb=256)
    bench.driver.define(guest)
    bench.driver.start(guest.uuid)
    bench.driver.set_live_memory(guest.uuid, 256)
    bench.driver.destroy(guest.uuid)
    bench.driver.start(guest.uuid)
    assert bench.driver.live_size(guest.uuid) == (1, 128)


def test_without_room_it_cannot(bench: Bench) -> None:
    guest = bench.guest(vcpus=1, memory_mb=128)
    bench.driver.define(guest)
    for call in (bench.driver.set_live_vcpus, bench.driver.set_live_memory):
        with pytest.raises(Busy):
            call(guest.uuid, 256)
    with pytest.raises(Busy):
        bench.driver.live_size(guest.uuid)
    bench.driver.start(guest.uuid)
    with pytest.raises(Unsupported):
        bench.driver.set_live_vcpus(guest.uuid, 2)
    with pytest.raises(Unsupported):
        bench.driver.set_live_memory(guest.uuid, 256)
    bench.driver.set_live_vcpus(guest.uuid, 1)
    bench.driver.set_live_memory(guest.uuid, 128)


def test_of_no_guest(bench: Bench) -> None:
    for call in (bench.driver.set_live_vcpus, bench.driver.set_live_memory):
        with pytest.raises(Gone):
            call(uuid4(), 1)
    with pytest.raises(Gone):
        bench.driver.live_size(uuid4())
