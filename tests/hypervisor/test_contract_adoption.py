"""What every driver promises about guests that somebody else has defined."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import libvirt
import pytest
from lxml import etree

from compute.hypervisor.adoption import ForeignCard, ForeignDisk, ForeignGuest
from compute.hypervisor.interface import Failed, Gone, PowerState
from compute.hypervisor.libvirt import LibvirtHypervisor
from tests.hypervisor.conftest import Bench

MARK = (("name", "legacy"), ("project", "p"))
DOMAIN = """
<domain type='qemu'>
  <name>{name}</name><uuid>{uuid}</uuid><title>an old one</title>
  <memory unit='MiB'>64</memory><vcpu current='1'>2</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type></os>
  <features><acpi/></features>
  <devices>
    <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{disk}'/><target dev='vda' bus='virtio'/></disk>
    <disk type='file' device='cdrom'><target dev='hda' bus='ide'/><readonly/></disk>
    <interface type='user'><mac address='52:54:00:12:34:56'/><model type='virtio'/></interface>
    {serial}
    <graphics type='vnc' port='-1' autoport='yes' listen='127.0.0.1'/>
  </devices>
</domain>
"""  # noqa: E501  (as somebody may have written it)
SERIAL = "<serial type='pty'><target port='0'/></serial>"


def put(bench: Bench, *, on: bool = True, persistent: bool = True, serial: str = SERIAL) -> ForeignGuest:
    """A guest that somebody else has defined, with a disk of 1 MiB in the pool."""
    identity = uuid.uuid4()
    name, volume = f"legacy-{identity.hex[:8]}", f"legacy-{identity.hex[:8]}.qcow2"
    bench.guests.append(identity)
    if bench.kind == "fake":
        disk = ForeignDisk("vda", "disk", "file", f"/fake/{volume}", "qcow2", 1 << 20, True, True)
        cdrom = ForeignDisk("hda", "cdrom", "file", "", "")
        guest = ForeignGuest(
            identity, name, "an old one", PowerState.RUNNING if on else PowerState.SHUTDOWN, 1, 64, persistent, False,
            (disk, cdrom), (ForeignCard("52:54:00:12:34:56", "user", "", "virtio"),), "127.0.0.1", bool(serial),
        )  # fmt: skip
        bench.driver.put_foreign(guest)  # type: ignore[attr-defined]  # it is a fake one
        return guest
    bench.driver.create_volume(volume, 1 << 20)
    path = f"{bench.driver._session.pool_path}/{volume}"  # type: ignore[attr-defined]  # it is libvirt's
    text = DOMAIN.format(name=name, uuid=identity, disk=path, serial=serial)
    connection = bench.driver._session.connection()  # type: ignore[attr-defined]  # likewise
    if persistent:
        domain = connection.defineXML(text)
        if on:
            domain.create()
    else:
        connection.createXML(text)
    return bench.driver.describe(identity)


def test_a_foreign_guest_is_told_with_all_that_matters(bench: Bench) -> None:
    guest = put(bench)
    (found,) = [one for one in bench.driver.foreign() if one.uuid == guest.uuid]
    assert (found.name, found.title, found.power_state) == (guest.name, "an old one", PowerState.RUNNING)
    assert (found.vcpus, found.memory_mb, found.persistent, found.saved) == (1, 64, True, False)
    disk, cdrom = found.disks
    assert (disk.target, disk.device, disk.kind, disk.format) == ("vda", "disk", "file", "qcow2")
    assert (disk.capacity_bytes, disk.own_pool, disk.deletable) == (1 << 20, True, True)
    assert (cdrom.device, cdrom.source, cdrom.deletable) == ("cdrom", "", False)
    assert [(card.mac, card.kind) for card in found.cards] == [("52:54:00:12:34:56", "user")]
    assert (found.screen, found.serial) == ("127.0.0.1", True)
    assert not bench.driver.guests()[guest.uuid].managed


def test_an_adopted_guest_is_managed_and_runs_on(bench: Bench) -> None:
    guest = put(bench)
    assert not bench.driver.guest(guest.uuid).managed  # type: ignore[union-attr]  # it is there
    for _ in range(2):
        bench.driver.adopt(guest.uuid, MARK)
    seen = bench.driver.guest(guest.uuid)
    assert seen is not None
    assert (seen.managed, seen.name, seen.power_state) == (True, guest.name, PowerState.RUNNING)
    assert guest.uuid not in {one.uuid for one in bench.driver.foreign()}
    assert bench.driver.describe(guest.uuid) == guest


def test_an_adopted_guest_is_switched_off_and_on(bench: Bench) -> None:
    guest = put(bench)
    bench.driver.adopt(guest.uuid, MARK)
    bench.driver.destroy(guest.uuid)
    assert bench.driver.guest(guest.uuid).managed  # type: ignore[union-attr]  # it is there
    bench.driver.start(guest.uuid)
    bench.driver.pause(guest.uuid)
    bench.driver.unpause(guest.uuid)
    bench.driver.suspend(guest.uuid)
    assert bench.driver.describe(guest.uuid).saved
    bench.driver.resume(guest.uuid)
    assert bench.driver.guest(guest.uuid).power_state == PowerState.RUNNING  # type: ignore[union-attr]  # likewise


def test_one_that_is_off_is_adopted_too(bench: Bench) -> None:
    guest = put(bench, on=False)
    assert guest.power_state == PowerState.SHUTDOWN
    bench.driver.adopt(guest.uuid, MARK)
    assert bench.driver.guest(guest.uuid).power_state == PowerState.SHUTDOWN  # type: ignore[union-attr]  # it is there


def test_one_that_goes_when_it_is_off_is_not_adopted(bench: Bench) -> None:
    guest = put(bench, persistent=False)
    assert not guest.persistent
    with pytest.raises(Failed, match="no definition that outlives it"):
        bench.driver.adopt(guest.uuid, MARK)
    assert not bench.driver.guest(guest.uuid).managed  # type: ignore[union-attr]  # it is there


def test_one_that_is_not_there_is_gone(bench: Bench) -> None:
    for verb in (lambda: bench.driver.describe(uuid.uuid4()), lambda: bench.driver.adopt(uuid.uuid4(), MARK)):
        with pytest.raises(Gone):
            verb()
    bench.driver.disown(uuid.uuid4(), ("/nowhere/x",))


@pytest.mark.parametrize("whole", [True, False])
def test_a_disowned_guest_leaves_the_disks_that_are_not_named(bench: Bench, whole: bool) -> None:
    guest = put(bench)
    bench.driver.adopt(guest.uuid, MARK)
    before = set(bench.driver.volumes())
    for _ in range(2):
        bench.driver.disown(guest.uuid, (guest.disks[0].source,) if whole else ())
    assert bench.driver.guest(guest.uuid) is None
    assert len(before - set(bench.driver.volumes())) == (1 if whole else 0)


# what a fake host cannot show -----------------------------------------------------------------------
@pytest.fixture
def definition(real: LibvirtHypervisor) -> Callable[[uuid.UUID], Any]:
    """The definition of a guest, as libvirt has it for the next start."""

    def read(identity: uuid.UUID) -> Any:
        domain = real._session.domain(identity)
        return etree.fromstring(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))

    return read


def without(root: Any, *paths: str) -> bytes:
    for path in paths:
        for one in root.iterfind(path):
            one.getparent().remove(one)
    return b"".join(etree.tostring(root).split())


@pytest.mark.real
def test_a_definition_stays_as_it_is_but_for_the_mark_and_the_log(
    real_bench: Bench, definition: Callable[[uuid.UUID], Any]
) -> None:
    guest = put(real_bench)
    before = definition(guest.uuid)
    real_bench.driver.adopt(guest.uuid, MARK)
    after = definition(guest.uuid)
    assert after.find("devices/serial/log").get("file").endswith(f"{guest.uuid}.log")
    assert without(after, "metadata", "devices/serial/log", "devices/console/log") == without(before)


@pytest.mark.real
def test_a_serial_port_that_somebody_logs_is_left_alone(
    real_bench: Bench, definition: Callable[[uuid.UUID], Any], tmp_path: Path
) -> None:
    own = f"<serial type='pty'><log file='{tmp_path}/own.log'/><target port='0'/></serial>"
    guest = put(real_bench, on=False, serial=own)
    real_bench.driver.adopt(guest.uuid, MARK)
    assert definition(guest.uuid).find("devices/serial/log").get("file") == f"{tmp_path}/own.log"


@pytest.mark.real
def test_a_guest_without_a_serial_port_gets_none(real_bench: Bench, definition: Callable[[uuid.UUID], Any]) -> None:
    guest = put(real_bench, on=False, serial="")
    assert not guest.serial
    real_bench.driver.adopt(guest.uuid, MARK)
    assert definition(guest.uuid).find("devices/serial") is None
    assert real_bench.driver.console_log(guest.uuid) == b""


@pytest.fixture
def twins(real_bench: Bench) -> Iterator[tuple[ForeignGuest, ForeignGuest]]:
    """Two guests; the second has the first one's disk as well."""
    first, second = put(real_bench, on=False), put(real_bench, on=False)
    session = real_bench.driver._session  # type: ignore[attr-defined]  # it is libvirt's
    disk = f"<disk type='file' device='disk'><source file='{first.disks[0].source}'/><target dev='vdb'/></disk>"
    session.domain(second.uuid).attachDeviceFlags(disk, libvirt.VIR_DOMAIN_AFFECT_CONFIG)
    yield first, second


@pytest.mark.real
def test_a_disk_that_another_guest_has_is_not_deleted(
    real_bench: Bench, twins: tuple[ForeignGuest, ForeignGuest]
) -> None:
    first, second = twins
    before = set(real_bench.driver.volumes())
    real_bench.driver.disown(first.uuid, (first.disks[0].source,))
    assert set(real_bench.driver.volumes()) == before
    real_bench.driver.disown(second.uuid, (first.disks[0].source, second.disks[0].source))
    assert before - set(real_bench.driver.volumes()) == {Path(one.disks[0].source).name for one in twins}
