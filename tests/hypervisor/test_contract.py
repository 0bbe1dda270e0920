"""What every driver promises, held by the fake and by libvirt with real QEMU alike."""

from __future__ import annotations

import io
import os
import threading
import time
import uuid
from collections.abc import Iterator

import pytest

from compute.hypervisor.interface import (
    Busy,
    Disk,
    Failed,
    Gone,
    GuestEvent,
    GuestEventKind,
    HypervisorError,
    Nic,
    PowerState,
    Reservation,
    mac_for,
)
from tests.hypervisor.conftest import Bench, at

MIB = 1024**2
CONTENT = os.urandom(MIB) + bytes(MIB) + os.urandom(1000) + bytes(100_000)


def in_pieces(content: bytes = CONTENT, piece: int = 300_000) -> Iterator[bytes]:
    for start in range(0, len(content), piece):
        yield content[start : start + piece]


# the host -----------------------------------------------------------------------------------------
def test_a_host_says_what_it_is(bench: Bench) -> None:
    facts = bench.driver.facts()
    assert facts.hostname
    assert uuid.UUID(facts.uuid)
    assert facts.vcpus > 0
    assert facts.memory_mb > 0
    assert facts.disk_gb > 0
    assert facts.domain_type in ("kvm", "qemu")
    assert sum(cell.memory_mb for cell in facts.numa_cells) > 0
    assert sum(cell.cpus for cell in facts.numa_cells) >= facts.vcpus
    assert facts.cpu_sockets * facts.cpu_cores * facts.cpu_threads >= 1


def test_a_host_says_how_busy_it_is(bench: Bench) -> None:
    first = bench.driver.usage()
    time.sleep(0.2)
    second = bench.driver.usage()
    assert 0 <= first.cpu_busy_seconds <= first.cpu_total_seconds
    assert second.cpu_total_seconds > first.cpu_total_seconds
    assert 0 <= second.disk_used_gb <= second.disk_capacity_gb
    assert second.memory_used_mb >= 0


def test_preparing_a_prepared_host_changes_nothing(bench: Bench) -> None:
    bench.driver.create_volume("kept", MIB)
    bench.driver.prepare()
    assert "kept" in bench.driver.volumes()


def test_a_closed_driver_opens_again(bench: Bench) -> None:
    if bench.kind == "fake":
        pytest.skip("a fake host has no connection")
    bench.driver.close()
    assert bench.driver.volumes() == {}


# storage ------------------------------------------------------------------------------------------
def test_an_upload_can_be_downloaded(bench: Bench) -> None:
    bench.driver.upload("config", io.BytesIO(CONTENT), len(CONTENT))
    assert b"".join(bench.driver.download("config")) == CONTENT
    assert b"".join(bench.driver.download("config", 5, 70)) == CONTENT[5:75]
    assert bench.driver.volumes() == {"config": len(CONTENT)}


def test_an_upload_replaces_a_volume_of_its_name(bench: Bench) -> None:
    bench.driver.upload("config", io.BytesIO(CONTENT), len(CONTENT))
    bench.driver.upload("config", io.BytesIO(b"short"), 5)
    assert b"".join(bench.driver.download("config")) == b"short"


def test_an_upload_of_another_size_than_announced_leaves_nothing(bench: Bench) -> None:
    with pytest.raises(Failed, match="announced"):
        bench.driver.upload("config", io.BytesIO(b"short"), 6)
    assert not list(bench.driver.volumes()) or bench.kind == "fake"


def test_a_volume_that_is_not_there(bench: Bench) -> None:
    with pytest.raises(Gone):
        list(bench.driver.download("nothing"))
    bench.driver.delete_volume("nothing")


def test_volumes_are_found_by_prefix(bench: Bench) -> None:
    bench.driver.create_volume("a-1", MIB)
    bench.driver.create_volume("a-1", MIB)
    bench.driver.create_volume("b-1", 2 * MIB, "raw")
    assert bench.driver.volumes("a-") == {"a-1": MIB}
    assert bench.driver.volumes() == {"a-1": MIB, "b-1": 2 * MIB}
    bench.driver.delete_volume("a-1")
    assert bench.driver.volumes() == {"b-1": 2 * MIB}


def test_a_base_is_transferred_once(bench: Bench) -> None:
    assert not bench.driver.has_base("base")
    assert bench.driver.ensure_base("base", len(CONTENT), in_pieces)
    assert bench.driver.has_base("base")
    assert not bench.driver.ensure_base("base", len(CONTENT), in_pieces)
    assert b"".join(bench.driver.download("base")) == CONTENT
    assert list(bench.driver.volumes()) == ["base"]


def test_a_base_that_breaks_off_is_not_there(bench: Bench) -> None:
    def broken() -> Iterator[bytes]:
        yield CONTENT[:MIB]
        raise OSError("the store went away")

    with pytest.raises(OSError, match="went away"):
        bench.driver.ensure_base("base", len(CONTENT), broken)
    with pytest.raises(Failed, match="announced"):
        bench.driver.ensure_base("base", len(CONTENT) + 1, in_pieces)
    assert not bench.driver.has_base("base")
    assert bench.driver.volumes() == {}
    assert bench.driver.ensure_base("base", len(CONTENT), in_pieces)


def test_a_base_wanted_by_many_at_once_comes_whole(bench: Bench) -> None:
    def want(number: int) -> None:
        bench.driver.ensure_base("base", len(CONTENT), in_pieces)
        bench.driver.create_overlay(f"disk-{number}", "base", 4 * MIB)

    threads = [threading.Thread(target=want, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(bench.driver.volumes("disk-")) == 4
    assert b"".join(bench.driver.download("base")) == CONTENT


def test_an_overlay_needs_a_base(bench: Bench) -> None:
    with pytest.raises(Gone):
        bench.driver.create_overlay("disk", "nothing", MIB)
    bench.driver.ensure_base("base", len(CONTENT), in_pieces)
    bench.driver.create_overlay("disk", "base", 10 * MIB)
    bench.driver.create_overlay("disk", "base", 10 * MIB)
    assert bench.driver.volumes("disk") == {"disk": 10 * MIB}


# networks -----------------------------------------------------------------------------------------
def test_networks_come_and_go(bench: Bench) -> None:
    spec = bench.network()
    bench.driver.ensure_network(spec, [Reservation("52:54:00:00:00:01", at(spec, 9), "nine")])
    bench.driver.ensure_network(spec)
    address = at(spec, 10)
    bench.driver.reserve(spec.uuid, Reservation(mac_for(spec.uuid, spec.cidr, address), address, "ten"))
    bench.driver.reserve(spec.uuid, Reservation("52:54:00:00:00:02", at(spec, 9), "nine"))
    assert (spec.uuid, "52:54:00:00:00:02") in bench.driver.reservations()
    assert (spec.uuid, "52:54:00:00:00:01") not in bench.driver.reservations()  # its address is another's
    bench.driver.release(spec.uuid, "52:54:00:00:00:02")
    assert (spec.uuid, "52:54:00:00:00:02") not in bench.driver.reservations()
    bench.driver.release(spec.uuid, "52:54:00:00:00:02")
    bench.driver.remove_network(spec.uuid)
    bench.driver.remove_network(spec.uuid)
    bench.driver.release(spec.uuid, "52:54:00:00:00:02")
    with pytest.raises(Gone):
        bench.driver.reserve(spec.uuid, Reservation("52:54:00:00:00:01", at(spec, 9)))


# a guest's life -----------------------------------------------------------------------------------
def test_a_life(bench: Bench) -> None:
    guest = bench.guest()
    assert bench.driver.guest(guest.uuid) is None
    bench.driver.define(guest)
    bench.driver.define(guest)
    seen = bench.driver.guest(guest.uuid)
    assert seen is not None
    assert (seen.uuid, seen.name, seen.power_state, seen.managed) == (guest.uuid, guest.name, PowerState.SHUTDOWN, True)
    bench.driver.start(guest.uuid)
    bench.driver.start(guest.uuid)
    assert bench.driver.guests()[guest.uuid].power_state == PowerState.RUNNING
    assert guest.uuid in bench.driver.guest_usage()
    bench.driver.destroy(guest.uuid)
    bench.driver.destroy(guest.uuid)
    assert bench.driver.guests()[guest.uuid].power_state == PowerState.SHUTDOWN
    assert guest.uuid not in bench.driver.guest_usage()
    bench.driver.remove(guest.uuid)
    bench.driver.remove(guest.uuid)
    assert bench.driver.guest(guest.uuid) is None
    assert guest.uuid not in bench.driver.guests()


def test_a_running_guest_is_removed_too(bench: Bench) -> None:
    guest = bench.guest()
    bench.driver.define(guest)
    bench.driver.start(guest.uuid)
    bench.driver.remove(guest.uuid)
    assert bench.driver.guest(guest.uuid) is None
    assert list(bench.driver.volumes()) == [guest.disks[0].volume]


def test_stopping_cuts_the_power_when_the_grace_is_over(bench: Bench) -> None:
    guest = bench.guest()  # it has no system: nobody hears the button
    bench.driver.define(guest)
    bench.driver.start(guest.uuid)
    bench.driver.stop(guest.uuid, grace=0.3)
    bench.driver.stop(guest.uuid, grace=0.3)
    assert bench.driver.guests()[guest.uuid].power_state == PowerState.SHUTDOWN


def test_rebooting_a_guest_that_is_off_starts_it(bench: Bench) -> None:
    guest = bench.guest()
    bench.driver.define(guest)
    bench.driver.reboot(guest.uuid, grace=0.1)
    bench.driver.reboot(guest.uuid, grace=0.1)
    assert bench.driver.guests()[guest.uuid].power_state == PowerState.RUNNING


def test_a_guest_that_is_not_there(bench: Bench) -> None:
    nobody = uuid.uuid4()
    assert bench.driver.guest(nobody) is None
    for verb in ("start", "destroy", "vnc", "serial"):
        with pytest.raises(Gone):
            getattr(bench.driver, verb)(nobody)
    for verb in ("stop", "reboot"):
        with pytest.raises(Gone):
            getattr(bench.driver, verb)(nobody, 1.0)
    assert bench.driver.console_log(nobody) == b""
    bench.driver.remove(nobody)


def test_a_guest_without_its_disk_cannot_be_defined(bench: Bench) -> None:
    with pytest.raises(Gone):
        bench.driver.define(bench.guest(disks=(Disk("nothing", "vda"),)))


def test_a_network_card_needs_its_network_to_start(bench: Bench) -> None:
    if bench.kind == "fake":
        pytest.skip("a fake host has no wires")
    guest = bench.guest(nics=(Nic("52:54:00:11:22:33", uuid.uuid4()),))
    bench.driver.define(guest)
    with pytest.raises(HypervisorError):
        bench.driver.start(guest.uuid)


# consoles -----------------------------------------------------------------------------------------
def test_a_guest_that_is_off_has_no_consoles(bench: Bench) -> None:
    guest = bench.guest()
    bench.driver.define(guest)
    with pytest.raises(Busy):
        bench.driver.vnc(guest.uuid)
    with pytest.raises(Busy):
        bench.driver.serial(guest.uuid)
    assert bench.driver.console_log(guest.uuid) == b""


def test_consoles_of_a_running_guest(bench: Bench) -> None:
    guest = bench.guest()
    bench.driver.define(guest)
    bench.driver.start(guest.uuid)
    assert bench.driver.vnc(guest.uuid).port >= 5900
    stream = bench.driver.serial(guest.uuid)
    stream.send(b"hello")
    stream.close()
    assert stream.receive(100) == b""


def test_closing_a_serial_port_ends_a_waiting_reader(bench: Bench) -> None:
    guest = bench.guest()
    bench.driver.define(guest)
    bench.driver.start(guest.uuid)
    assert_ends(bench, guest.uuid, "close")


def test_another_reader_cuts_the_first_one_off(bench: Bench) -> None:
    guest = bench.guest()
    bench.driver.define(guest)
    bench.driver.start(guest.uuid)
    assert_ends(bench, guest.uuid, "steal")
    assert_ends(bench, guest.uuid, "destroy")


def assert_ends(bench: Bench, guest: uuid.UUID, how: str) -> None:
    """A reader of the serial port, waiting, gets b"" once this happens."""
    stream = bench.driver.serial(guest)
    ended = threading.Event()

    def read() -> None:
        while stream.receive(100):
            pass
        ended.set()

    threading.Thread(target=read, daemon=True).start()
    time.sleep(0.3)
    assert not ended.is_set()
    if how == "close":
        stream.close()
    elif how == "steal":
        bench.driver.serial(guest).close()
    else:
        bench.driver.destroy(guest)
    assert ended.wait(5)


# events -------------------------------------------------------------------------------------------
def test_events_are_told(bench: Bench) -> None:
    events: list[GuestEvent] = []
    bench.driver.watch(lambda event: None, lambda reason: None)
    bench.driver.watch(events.append, lambda reason: None)
    guest = bench.guest()
    bench.driver.define(guest)
    bench.driver.start(guest.uuid)
    bench.driver.destroy(guest.uuid)
    bench.driver.remove(guest.uuid)
    kinds = [GuestEventKind.DEFINED, GuestEventKind.STARTED, GuestEventKind.STOPPED, GuestEventKind.UNDEFINED]
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and len(told(events, guest.uuid)) < len(kinds):
        time.sleep(0.02)
    assert [kind for kind in told(events, guest.uuid) if kind in kinds] == kinds


def told(events: list[GuestEvent], guest: uuid.UUID) -> list[GuestEventKind]:
    return [event.kind for event in events if event.uuid == guest]


def test_a_stop_that_is_called_off_leaves_the_guest_alone(bench: Bench) -> None:
    guest = bench.guest()
    bench.driver.define(guest)
    bench.driver.start(guest.uuid)
    bench.driver.stop(guest.uuid, 30.0, lambda: False)
    bench.driver.reboot(guest.uuid, 30.0, lambda: False)
    assert bench.driver.guests()[guest.uuid].power_state == PowerState.RUNNING
