"""What both drivers promise of guests that go to another host while they run; libvirt's on hosts of a laboratory."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from compute.hypervisor.drivers import open_hypervisor
from compute.hypervisor.interface import (
    Busy,
    Crossing,
    Disk,
    Gone,
    Guest,
    Order,
    PowerState,
    Transfer,
    Whereabouts,
)
from compute.hypervisor.libvirt import LibvirtHypervisor
from tests.e2e.lab import POOL, POOL_PATH, laboratory

MIB = 1024**2
ON_HOSTS = pytest.param(
    "libvirt", marks=[pytest.mark.real, pytest.mark.skipif(os.geteuid() != 0, reason="only root can make namespaces")]
)
ABSENT, RUNNING = Whereabouts.ABSENT, Whereabouts.RUNNING


class Two:
    """Two hosts, and guests that go from the first to the second."""

    def __init__(self, kind: str, first: Any, second: Any, addresses: tuple[str, str], shared: bool) -> None:
        self.kind, self.first, self.second, self.addresses, self.shared = kind, first, second, addresses, shared
        self.identity = uuid.uuid4()
        for driver in (first, second):
            driver.prepare()

    @property
    def volumes(self) -> tuple[str, str, str]:
        """An overlay, an empty disk, and a drive that nobody writes to."""
        return f"{self.identity}-root", f"{self.identity}-ephemeral0", f"{self.identity}-config"

    def guest(self, address: str) -> Guest:
        """As a host of this address defines it."""
        root, empty, config = self.volumes
        disks = (
            Disk(root, "vda", boot_order=1),
            Disk(empty, "vdb"),
            Disk(config, "vdz", format="raw", read_only=True),
        )
        name = f"nacelle-test-{self.identity.hex[:8]}"
        return Guest(self.identity, name, "t", 1, 64, disks=disks, console_listen=address, domain_type="qemu")

    def make_volumes(self, driver: Any) -> None:
        """As a host has them before the guest comes."""
        root, empty, config = self.volumes
        driver.ensure_base(f"base-{self.identity}", MIB, lambda: iter([os.urandom(MIB)]))
        driver.create_overlay(root, f"base-{self.identity}", 8 * MIB)
        driver.create_volume(empty, 4 * MIB)
        driver.upload(config, io.BytesIO(b"C" * 65536), 65536)

    def start(self) -> None:
        """The guest runs on the first host; there is room for it on the second."""
        self.make_volumes(self.first)
        self.first.define(self.guest(self.addresses[0]))
        self.first.start(self.identity)
        if not self.shared:
            self.make_volumes(self.second)
        self.second.storage_id()  # what the first has made is seen

    def cross(
        self, wants: Callable[[Transfer], Order] = lambda _: Order.GO_ON, back: bool = False, **more: Any
    ) -> list[Transfer]:
        """Bring it over; what was told meanwhile."""
        told: list[Transfer] = []
        here, there = (self.second, self.first) if back else (self.first, self.second)
        address = self.addresses[0 if back else 1]

        def tell(transfer: Transfer) -> Order:
            told.append(transfer)
            return wants(transfer)

        copied = () if self.shared else self.volumes[:2]
        crossing = Crossing(self.guest(address), address, copied=copied)
        here.migrate(self.identity, there, replace(crossing, **more), tell)
        return told

    def where(self) -> tuple[Whereabouts, Whereabouts]:
        """What both say."""
        return self.first.whereabouts(self.identity), self.second.whereabouts(self.identity)

    def clear(self) -> None:
        """Nothing of it remains."""
        for driver in (self.first, self.second):
            driver.remove(self.identity)
        for driver in (self.first,) if self.shared else (self.first, self.second):
            for volume in (*self.volumes, f"base-{self.identity}"):
                driver.delete_volume(volume)
        for driver in (self.first, self.second):
            driver.close()


@pytest.fixture(scope="module")
def hosts() -> Iterator[list[Any]]:
    """Three real hosts, the first two with the same storage."""
    with laboratory(3, shared=(1, 2)) as lab:
        yield lab.hosts


def of_lab(hosts: list[Any], numbers: tuple[int, int], shared: bool) -> Two:
    chosen = [hosts[number - 1] for number in numbers]
    drivers = [LibvirtHypervisor(host.uri, POOL, str(POOL_PATH)) for host in chosen]
    return Two("libvirt", *drivers, (chosen[0].address, chosen[1].address), shared)


@pytest.fixture(params=["fake", ON_HOSTS])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[bool], Two]]:
    """Makes two hosts of each driver in turn, with one storage or with two."""
    made: list[Two] = []

    def two(shared: bool) -> Two:
        if request.param == "libvirt":
            numbers = (1, 2) if shared else (1, 3)
            made.append(of_lab(request.getfixturevalue("hosts"), numbers, shared))
        else:
            storage = "&storage=one" if shared else ""
            uris = [f"fake://{tmp_path}/hosts.sqlite3?host={name}{storage}" for name in ("one", "two")]
            made.append(Two("fake", *map(open_hypervisor, uris), ("10.0.0.1", "10.0.0.2"), shared))
        made[-1].start()
        return made[-1]

    yield two
    for one in made:
        one.clear()


@pytest.fixture
def apart(make: Callable[[bool], Two]) -> Two:
    return make(False)


@pytest.fixture
def together(make: Callable[[bool], Two]) -> Two:
    return make(True)


def test_a_guest_crosses(apart: Two) -> None:
    assert apart.where() == (RUNNING, ABSENT)
    told = apart.cross()
    assert apart.where() == (ABSENT, RUNNING)
    assert told and all(isinstance(one.percent, int) and 0 <= one.percent <= 100 for one in told)
    assert set(told[-1].as_stats()) == {
        "memory_total_bytes", "memory_processed_bytes", "memory_remaining_bytes",
        "disk_total_bytes", "disk_processed_bytes", "disk_remaining_bytes",
    }  # fmt: skip
    assert apart.identity not in apart.first.guests()
    seen = apart.second.guests()[apart.identity]
    assert seen.managed and seen.power_state == PowerState.RUNNING
    assert apart.second.vnc(apart.identity).host in (apart.addresses[1], "127.0.0.1")


def test_it_can_go_back(apart: Two) -> None:
    apart.cross()
    for volume in apart.volumes[:2]:
        apart.first.delete_volume(volume)
    root, empty, _ = apart.volumes
    apart.first.create_overlay(root, f"base-{apart.identity}", 8 * MIB)
    apart.first.create_volume(empty, 4 * MIB)
    apart.cross(back=True)
    assert apart.where() == (RUNNING, ABSENT)


def test_with_one_storage_nothing_is_copied(together: Two) -> None:
    told = together.cross()
    assert together.where() == (ABSENT, RUNNING)
    assert all(one.disk_total_bytes == 0 for one in told)


def test_a_paused_guest_arrives_paused(apart: Two) -> None:
    apart.first.pause(apart.identity)
    assert apart.where() == (Whereabouts.PAUSED, ABSENT)
    apart.cross()
    assert apart.where() == (ABSENT, Whereabouts.PAUSED)
    apart.second.unpause(apart.identity)
    assert apart.where() == (ABSENT, RUNNING)


def test_a_paused_guest_goes_on_from_host_to_host(together: Two) -> None:
    together.first.pause(together.identity)
    for back in (False, True, False):
        together.cross(back=back)
        there = together.first if back else together.second
        for _ in range(2):  # whoever did it may have died over it
            there.settle_paused(together.identity)
            assert there.whereabouts(together.identity) == Whereabouts.PAUSED
    together.second.unpause(together.identity)
    assert together.where() == (ABSENT, RUNNING)


def test_it_is_aborted_and_runs_on(apart: Two) -> None:
    with pytest.raises(Busy, match="aborted"):
        apart.cross(lambda _: Order.ABORT, bandwidth_mb=1)
    assert apart.where()[0] == RUNNING
    apart.second.remove(apart.identity)
    assert apart.where() == (RUNNING, ABSENT)
    apart.cross()
    assert apart.where() == (ABSENT, RUNNING)


@pytest.mark.parametrize("post_copy", [False, True])
def test_it_is_forced_and_runs_over_there(apart: Two, post_copy: bool) -> None:
    """Whether or not the hosts can do post-copy. It is slow enough to be still under way when it is forced."""
    apart.cross(lambda one: Order.FORCE if one.memory_remaining_bytes else Order.GO_ON, bandwidth_mb=2,
                post_copy=post_copy)  # fmt: skip
    assert apart.where() == (ABSENT, RUNNING)


def test_what_it_needs_and_what_speaks_against_it(apart: Two) -> None:
    passenger = apart.first.passenger(apart.identity)
    assert (passenger.domain_type, passenger.architecture) == ("qemu", "x86_64")
    assert apart.second.objections(passenger) == ()
    newer = replace(passenger, hypervisor_version=passenger.hypervisor_version + 1_000_000)
    (sentence,) = apart.second.objections(newer)
    assert "older than the guest's" in sentence


def test_a_guest_that_is_off_or_unknown_does_not_cross(apart: Two) -> None:
    apart.first.destroy(apart.identity)
    assert apart.where() == (Whereabouts.OFF, ABSENT)
    for ask in (lambda: apart.first.passenger(apart.identity), apart.cross):
        with pytest.raises(Busy):
            ask()
    apart.first.remove(apart.identity)
    for ask in (lambda: apart.first.passenger(apart.identity), apart.cross):
        with pytest.raises(Gone):
            ask()


def test_asking_for_its_end_when_nothing_is_under_way(apart: Two) -> None:
    apart.first.end_migration(apart.identity)
    apart.first.stay(apart.identity)
    assert apart.where() == (RUNNING, ABSENT)
    apart.second.end_migration(apart.identity)  # it is not known there
    with pytest.raises(Gone):
        apart.second.stay(apart.identity)
    apart.first.pause(apart.identity)
    apart.first.stay(apart.identity, paused=True)
    assert apart.where() == (Whereabouts.PAUSED, ABSENT)
    apart.first.stay(apart.identity)
    assert apart.where() == (RUNNING, ABSENT)


def test_a_volume_that_is_missing_over_there_stops_it_before_it_leaves(apart: Two) -> None:
    apart.second.delete_volume(apart.volumes[1])
    with pytest.raises(Gone):
        apart.cross()
    assert apart.where()[0] == RUNNING


# what a fake host cannot show ------------------------------------------------------------------------
@pytest.fixture
def real(hosts: list[Any]) -> Iterator[Two]:
    two = of_lab(hosts, (1, 3), False)
    two.start()
    yield two
    two.clear()


@pytest.mark.real
def test_the_definition_there_has_that_hosts_places_alone(real: Two) -> None:
    before = etree.fromstring(real.first._session.domain(real.identity).XMLDesc())
    real.cross()
    domain = real.second._session.domain(real.identity)
    assert domain.isPersistent()
    for flags in (0, 2):  # as it runs, and VIR_DOMAIN_XML_INACTIVE
        description = etree.fromstring(domain.XMLDesc(flags))
        (graphics,) = description.iterfind("devices/graphics")
        assert graphics.get("listen") == real.addresses[1]
        assert real.addresses[0] not in etree.tostring(description, encoding="unicode")
        for disk in description.iterfind("devices/disk"):
            volume = disk.find("source").get("file").rpartition("/")[2]
            wanted = real.second.disk_source(Disk(volume, "vda", format=disk.find("driver").get("type")))
            backing = disk.find("backingStore/source")
            assert disk.find("source").get("file") == wanted.path
            assert (None if backing is None else backing.get("file")) == wanted.backing
    old = {one.get("file") for one in before.iterfind("devices/disk/backingStore/source")}
    assert old and not old & {one.get("file") for one in description.iterfind("devices/disk/backingStore/source")}


@pytest.mark.real
@pytest.mark.parametrize("seconds", [0.2, 0.6, 1.0, 1.4])
def test_it_dies_with_its_client(real: Two, seconds: float) -> None:
    """SIGKILL for whoever holds a crossing together: the guest is on one host, or both say what to do."""
    arguments = [str(real.identity), real.first.uri, real.second.uri, *real.addresses]
    client = subprocess.Popen([sys.executable, "-c", BRING, *arguments], stdout=subprocess.PIPE, text=True)
    with client.stdout as said:  # type: ignore[union-attr]  # it is a pipe
        assert said.readline() == "it begins\n"
        time.sleep(seconds)
        client.kill()
        client.wait()
    real.first.end_migration(real.identity)
    deadline = time.monotonic() + 20
    while real.where()[1] == Whereabouts.ARRIVING and time.monotonic() < deadline:
        time.sleep(0.1)
    here, there = real.where()
    if there == RUNNING:
        assert here in (ABSENT, Whereabouts.SENT)
    else:
        assert there == ABSENT and here in (RUNNING, Whereabouts.SENT)
        real.first.stay(real.identity)
        assert real.where() == (RUNNING, ABSENT)


BRING = f"""
import sys, uuid
from compute.hypervisor.interface import Order
from compute.hypervisor.libvirt import LibvirtHypervisor
from tests.hypervisor.test_contract_migration import Two
identity, first, second, *addresses = sys.argv[1:]
drivers = [LibvirtHypervisor(uri, {POOL!r}, {str(POOL_PATH)!r}) for uri in (first, second)]
two = Two("libvirt", *drivers, tuple(addresses), False)
two.identity = uuid.UUID(identity)
print("it begins", flush=True)
two.cross(bandwidth_mb=16)
"""
