"""What every driver tells of one guest in detail."""

from __future__ import annotations

from uuid import uuid4

import pytest

from compute.hypervisor.interface import Busy, Gone
from tests.hypervisor.conftest import Bench


def test_a_guest_that_is_on_is_told_of_in_detail(bench: Bench) -> None:
    guest = bench.guest(vcpus=2, memory_mb=128)
    bench.driver.define(guest)
    bench.driver.start(guest.uuid)
    found = bench.driver.diagnostics(guest.uuid)
    assert (len(found.cpu_seconds), found.memory_mb) == (2, 128)
    assert all(seconds >= 0 for seconds in found.cpu_seconds)
    assert {disk.target for disk in found.disks} == {disk.target for disk in guest.disks}
    assert [nic.mac for nic in found.nics] == [nic.mac for nic in guest.nics]


def test_of_no_guest_or_one_that_is_off(bench: Bench) -> None:
    with pytest.raises(Gone):
        bench.driver.diagnostics(uuid4())
    guest = bench.guest(vcpus=1, memory_mb=128)
    bench.driver.define(guest)
    with pytest.raises(Busy):
        bench.driver.diagnostics(guest.uuid)


def test_a_host_that_answers_says_so(bench: Bench) -> None:
    assert bench.driver.ping() is None
