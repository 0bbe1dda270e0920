"""Everything that we tell libvirt, as files to read: ``tests/golden``. NACELLE_REGENERATE=1 rewrites them."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any
from uuid import UUID

import libvirt
import pytest
from lxml import etree

from compute.hypervisor.interface import Disk, Failed, Guest, NetworkSpec, Nic, Reservation, mac_for
from compute.hypervisor.libvirt import xml, xml_backup, xml_network, xml_storage
from compute.hypervisor.libvirt.xml import DiskSource, Place

GOLDEN = Path(__file__).parent.parent / "golden"
SCHEMAS = Path("/usr/share/libvirt/schemas")
INSTANCE = UUID("0b0e2c8e-7c1a-4d0e-9f8e-3f6a1d2c4b5a")
NETWORK = UUID("5f0c7a4e-2b6d-4c11-8a3b-90d1e2f3a4b5")
POOL = "/var/lib/libvirt/images/nacelle"
LOG = f"{POOL}-console/{INSTANCE}.log"

PLAIN = Guest(INSTANCE, "instance-00000001", "web", vcpus=1, memory_mb=512)
CONFIG_DRIVE = Disk("config-1", "sda", format="raw", bus="sata", device="cdrom", read_only=True)
BOOTED = dataclasses.replace(
    PLAIN,
    disks=(Disk("disk-1", "vda", boot_order=1), CONFIG_DRIVE),
    nics=(Nic("fa:16:3e:00:00:05", NETWORK, "10.77.0.5", mtu=1450),),
    metadata=(("name", "web"), ("project", "demo")),
)
BOOTED_SOURCES = (DiskSource(f"{POOL}/disk-1", f"{POOL}/base-1.data-0123abcd"), DiskSource(f"{POOL}/config-1"))
EVIL = dataclasses.replace(
    PLAIN,
    name='<evil>&"',
    title='</title><on_crash>preserve</on_crash> & "friends"\n\x00\x1b[31m',
    metadata=(('"<key>', "</nacelle:item>]]>&amp;"),),
)
ALL = Guest(
    INSTANCE,
    "instance-00000002",
    "everything",
    vcpus=4,
    memory_mb=4096,
    disks=(
        Disk("disk-2", "sda", bus="scsi", boot_order=2, serial="0b0e2c8e7c1a", cache="writeback"),
        Disk("disk-3", "sdb", format="raw", bus="sata", boot_order=1),
    ),
    nics=(Nic("fa:16:3e:00:00:06", NETWORK, model="e1000"),),
    domain_type="kvm",
    machine="q35",
    cpu_mode="host-passthrough",
    console_listen="10.99.0.11",
    metadata=(("name", "everything"),),
)

ROOMY = dataclasses.replace(PLAIN, max_vcpus=4, max_memory_mb=2048)
DOMAINS = {
    "roomy": (ROOMY, Place("qemu", "x86_64", LOG)),
    "plain": (PLAIN, Place("qemu", "x86_64", LOG)),
    "booted": (BOOTED, Place("qemu", "x86_64", LOG, BOOTED_SOURCES)),
    "kvm": (PLAIN, Place("kvm", "x86_64", LOG)),
    "evil": (EVIL, Place("qemu", "x86_64", LOG)),
    "everything": (ALL, Place("qemu", "x86_64", LOG, (DiskSource(f"{POOL}/disk-2"), DiskSource(f"{POOL}/disk-3")))),
}
NETWORKS = {
    "nat": (NetworkSpec(NETWORK, "10.77.0.0/20", "10.77.0.1"), (Reservation("fa:16:3e:00:00:05", "10.77.0.5"),)),
    "everything": (
        NetworkSpec(NETWORK, "10.78.0.0/24", "10.78.0.254", mtu=1450, dns_servers=("9.9.9.9", "2620:fe::fe")),
        (Reservation("FA:16:3E:00:00:06", "10.78.0.6", "web-1"),),
    ),
    "without-dhcp": (NetworkSpec(NETWORK, "10.79.0.0/24", "10.79.0.1", dhcp=False), ()),
}
VOLUMES = {
    "raw": xml_storage.volume("base-1.data-0123abcd", 50_331_648),
    "overlay": xml_storage.volume("disk-1", 10 * 1024**3, "qcow2", f"{POOL}/base-1.data-0123abcd"),
    "evil": xml_storage.volume('<evil>&"', 0),
}
BACKUPS = {"push": xml_backup.push("vda", f"{POOL}/copy-1"), "evil": xml_backup.push("vda", f'{POOL}/<evil>&"')}
POOLS = {
    "disks": xml_storage.pool("nacelle", POOL),
    "console": xml_storage.pool("nacelle-console", f"{POOL}-console", "0700"),
}

DOCUMENTS = {
    **{("domain", name): xml.domain(*case) for name, case in DOMAINS.items()},
    **{("network", name): xml_network.network(*case) for name, case in NETWORKS.items()},
    **{("storagevol", name): element for name, element in VOLUMES.items()},
    **{("domainbackup", name): element for name, element in BACKUPS.items()},
    **{("storagepool", name): element for name, element in POOLS.items()},
}


@pytest.mark.parametrize(("schema", "name"), DOCUMENTS)
def test_documents_are_as_they_were_and_as_libvirt_wants_them(schema: str, name: str) -> None:
    text = xml.to_string(DOCUMENTS[schema, name])
    golden = GOLDEN / schema / f"{name}.xml"
    if os.environ.get("NACELLE_REGENERATE"):
        golden.parent.mkdir(parents=True, exist_ok=True)
        golden.write_text(text)
    assert text == golden.read_text()
    if not SCHEMAS.is_dir():
        pytest.skip("libvirt's schemas are not installed")
    rules = etree.RelaxNG(etree.parse(SCHEMAS / f"{schema}.rng"))
    rules.assertValid(etree.fromstring(text))


@pytest.mark.parametrize("name", DOMAINS)
def test_libvirt_defines_our_guests(name: str) -> None:
    """libvirt's test driver parses and checks as the real one does; it has only one domain type."""
    connection = libvirt.open("test:///default")
    document = xml.domain(*DOMAINS[name])
    document.set("type", "test")
    domain = connection.defineXMLFlags(xml.to_string(document), libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
    assert domain.name() == DOMAINS[name][0].name
    assert domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, xml.NAMESPACE)
    domain.undefine()
    connection.close()


@pytest.mark.parametrize("name", NETWORKS)
def test_libvirt_defines_our_networks(name: str) -> None:
    connection = libvirt.open("test:///default")
    flag = libvirt.VIR_NETWORK_DEFINE_VALIDATE
    network = connection.networkDefineXMLFlags(xml.to_string(xml_network.network(*NETWORKS[name])), flag)
    assert len(network.bridgeName()) <= 15
    network.undefine()
    connection.close()


def test_every_field_is_shown_by_some_document() -> None:
    """A field that no golden file shows with another value than its default is a field untested."""
    guests = [guest for guest, _ in DOMAINS.values()]
    shown: dict[Any, list[Any]] = {
        Guest: guests,
        Disk: [disk for guest in guests for disk in guest.disks],
        Nic: [nic for guest in guests for nic in guest.nics],
        NetworkSpec: [spec for spec, _ in NETWORKS.values()],
        Reservation: [one for _, reservations in NETWORKS.values() for one in reservations],
    }
    missing = [
        f"{kind.__name__}.{field.name}"
        for kind, values in shown.items()
        for field in dataclasses.fields(kind)
        if all(getattr(value, field.name) == default_of(field) for value in values)
    ]
    assert not missing


def default_of(field: dataclasses.Field[object]) -> object:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def test_every_field_changes_the_document() -> None:
    """No value is taken and forgotten."""
    guest, place = DOMAINS["everything"]
    changes: dict[str, Any] = {
        "uuid": UUID(int=1),
        "name": "other",
        "title": "other",
        "vcpus": 2,
        "memory_mb": 128,
        "max_vcpus": 8,
        "max_memory_mb": 8192,
        "nics": (),
        "domain_type": "qemu",
        "machine": "pc",
        "cpu_mode": "maximum",
        "console_listen": "::1",
        "metadata": (),
    }
    assert set(changes) | {"disks"} == {field.name for field in dataclasses.fields(Guest)}
    before = xml.to_string(xml.domain(guest, place))
    for name, value in changes.items():
        assert xml.to_string(xml.domain(dataclasses.replace(guest, **{name: value}), place)) != before, name


def test_names_stay_text() -> None:
    document = etree.fromstring(xml.to_string(xml.domain(*DOMAINS["evil"])))
    assert document.findtext("name") == '<evil>&"'
    assert document.findtext("title") == '</title><on_crash>preserve</on_crash> & "friends" [31m'
    assert document.findtext("on_crash") == "destroy"


def test_every_disk_says_its_format_and_its_whole_chain() -> None:
    for guest, place in DOMAINS.values():
        for disk in xml.domain(guest, place).iterfind("devices/disk"):
            driver, below = disk.find("driver"), disk.find("backingStore")
            assert driver is not None and driver.get("type")
            while below is not None and len(below):
                assert below.find("format") is not None
                below = below.find("backingStore")
            assert below is not None, "an open chain makes QEMU look into the file"


@pytest.mark.parametrize("name", ["a\ndhcp-option=6,1.2.3.4", "a,b", "-a", "a" * 64, "ä"])
def test_what_is_no_host_name_does_not_reach_the_dhcp_server(name: str) -> None:
    with pytest.raises(Failed):
        xml_network.dhcp_host(Reservation("fa:16:3e:00:00:05", "10.77.0.5", name))


def test_macs_and_addresses_are_checked_too() -> None:
    with pytest.raises(Failed):
        xml_network.dhcp_host(Reservation("fa:16:3e:00:00:05,x", "10.77.0.5"))
    with pytest.raises(Failed):
        xml_network.dhcp_host(Reservation("fa:16:3e:00:00:05", "10.77.0.5\n"))


def test_each_address_has_a_mac_of_its_own() -> None:
    macs = {mac_for(NETWORK, "10.77.0.0/20", f"10.77.{high}.{low}") for high in range(16) for low in range(256)}
    assert len(macs) == 4096
    assert mac_for(UUID(int=1), "10.77.0.0/20", "10.77.0.5") not in macs
