"""A guest's definition in libvirt's XML: one pure function for each device, values in, elements out.

The reference is https://libvirt.org/formatdomain.html. The order of elements is libvirt's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lxml import etree
from lxml.builder import E, ElementMaker

from compute.hypervisor.interface import Disk, Guest, Nic
from compute.hypervisor.libvirt.xml_network import network_name

Element = etree._Element

NAMESPACE = "urn:nacelle:instance:1"
PREFIX = "nacelle"
N = ElementMaker(namespace=NAMESPACE, nsmap={PREFIX: NAMESPACE})

# What XML 1.0 cannot hold (section 2.2 of its specification), and line breaks, which libvirt refuses
# in a name or title.
NOT_TEXT = re.compile("[^\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]+")

STATS_PERIOD_SECONDS = 10
MEMORY_SLOTS = 16  # how often memory can be added between two starts
AGENT_CHANNEL = "org.qemu.guest_agent.0"


@dataclass(frozen=True)
class DiskSource:
    """Where a disk's volume lies on the host, and the raw file below it, if it is an overlay."""

    path: str
    backing: str | None = None


@dataclass(frozen=True)
class Place:
    """What the host adds to a guest's definition."""

    domain_type: str  # "kvm" or "qemu", used where the guest has no wish
    architecture: str  # "x86_64"
    console_log: str  # path of the file on the host
    sources: tuple[DiskSource, ...] = ()  # one for each disk, in order


def text(value: str) -> str:
    """The value as XML can hold it; escaping is the serializer's work."""
    return NOT_TEXT.sub(" ", value)


def to_string(element: Element) -> str:
    """As libvirt takes it."""
    return etree.tostring(element, encoding="unicode", pretty_print=True)


def domain(guest: Guest, place: Place) -> Element:
    """The whole definition."""
    domain_type = guest.domain_type or place.domain_type
    return E.domain(
        E.name(text(guest.name)),
        E.uuid(str(guest.uuid)),
        metadata(guest),
        E.title(text(guest.title)),
        *memory(guest),
        vcpu(guest),
        sysinfo(guest),
        boot(guest, place.architecture),
        E.features(E.acpi(), E.apic()),
        cpu(guest, domain_type),
        clock(),
        E.on_poweroff("destroy"),
        E.on_reboot("restart"),
        E.on_crash("destroy"),
        devices(guest, place),
        type=domain_type,
    )


def memory(guest: Guest) -> Iterator[Element]:
    """What it starts with, and how much may be added while it runs."""
    if guest.max_memory_mb is not None:
        yield E.maxMemory(str(guest.max_memory_mb), slots=str(MEMORY_SLOTS), unit="MiB")
    yield E.memory(str(guest.memory_mb), unit="MiB")


def memory_module(size_mb: int) -> Element:
    """Memory to plug into a running guest."""
    return E.memory(E.target(E.size(str(size_mb), unit="MiB"), E.node("0")), model="dimm")


def vcpu(guest: Guest) -> Element:
    """As many as it may grow to; those beyond what it starts with are left out."""
    if guest.max_vcpus is None:
        return E.vcpu(str(guest.vcpus), placement="static")
    return E.vcpu(str(guest.max_vcpus), placement="static", current=str(guest.vcpus))


def metadata(guest: Guest) -> Element:
    """Our mark on the guest, with what a person with nothing but this host would want to know."""
    return E.metadata(mark(guest.metadata, *(_port(nic) for nic in guest.nics)))


def mark(metadata: Iterable[tuple[str, str]], *more: Element) -> Element:
    """The element that says whose a guest is."""
    return N.instance(*(N.item(text(value), key=text(key)) for key, value in metadata), *more)


def bare_mark(metadata: Iterable[tuple[str, str]]) -> Element:
    """The same without its namespace, as libvirt takes it for a guest that is there: it adds that itself."""
    return E.instance(*(E.item(text(value), key=text(key)) for key, value in metadata))


def _port(nic: Nic) -> Element:
    port = N.port(mac=nic.mac, network=str(nic.network))
    if nic.address is not None:
        port.set("address", nic.address)
    return port


def sysinfo(guest: Guest) -> Element:
    """SMBIOS. The serial is the instance's own: the host's uuid is nobody's business (OSSN-0028)."""
    uuid = str(guest.uuid)
    return E.sysinfo(
        E.system(
            E.entry("Nacelle", name="manufacturer"),
            E.entry("Nacelle instance", name="product"),
            E.entry(uuid, name="serial"),
            E.entry(uuid, name="uuid"),
        ),
        type="smbios",
    )


def boot(guest: Guest, architecture: str) -> Element:
    """Firmware. Disks with a boot order say it themselves; libvirt allows only one of the two ways."""
    element = E.os(E.type("hvm", arch=architecture, machine=guest.machine))
    if not any(disk.boot_order for disk in guest.disks):
        element.append(E.boot(dev="hd"))
    element.append(E.smbios(mode="sysinfo"))
    return element


def cpu(guest: Guest, domain_type: str) -> Element:
    """The best CPU of the domain type, with one socket: some systems are licensed by sockets.

    Under KVM the host's model, which libvirt can compare when a guest moves. Under emulation a
    fixed model, the same on every host.
    """
    mode = guest.cpu_mode or ("host-model" if domain_type == "kvm" else "custom")
    element = E.cpu(mode=mode)
    if mode == "custom":
        element.set("match", "exact")
        element.append(E.model("qemu64", fallback="allow"))
    cores = guest.max_vcpus or guest.vcpus
    element.append(E.topology(sockets="1", dies="1", cores=str(cores), threads="1"))
    if guest.max_memory_mb is not None:  # QEMU takes memory modules only where memory lies in nodes: here in one
        element.append(E.numa(E.cell(id="0", cpus=f"0-{cores - 1}", memory=str(guest.memory_mb), unit="MiB")))
    return element


def clock() -> Element:
    """UTC; lost ticks are caught up, not replayed; no HPET, which only costs exits."""
    return E.clock(
        E.timer(name="rtc", tickpolicy="catchup"),
        E.timer(name="pit", tickpolicy="delay"),
        E.timer(name="hpet", present="no"),
        offset="utc",
    )


def devices(guest: Guest, place: Place) -> Element:
    """All devices. An emulator is not named: the host knows its own."""
    pairs = zip(guest.disks, place.sources, strict=True)
    return E.devices(
        *(disk(one, source) for one, source in pairs),
        *controllers(guest),
        *(interface(nic) for nic in guest.nics),
        serial(place.console_log),
        E.console(E.target(type="serial", port="0"), type="pty"),
        agent_channel(),
        *inputs(),
        graphics(guest.console_listen),
        E.video(E.model(type="vga", vram="16384", heads="1", primary="yes")),
        E.rng(E.backend("/dev/urandom", model="random"), model="virtio"),
        E.memballoon(E.stats(period=str(STATS_PERIOD_SECONDS)), model="virtio"),
    )


def disk(one: Disk, source: DiskSource) -> Element:
    """A disk. Formats and the whole backing chain are said, so that QEMU never guesses from content
    that a guest may have written (CVE-2015-5163 and its kin).

    A file, not a volume of a pool: AppArmor's helper of libvirt does not look into pools, and a
    guest with a ``volume`` disk is then refused its own disk.
    """
    driver = E.driver(name="qemu", type=one.format, cache=one.cache)
    if one.device == "disk":
        driver.set("discard", "unmap")
    element = E.disk(driver, E.source(file=source.path), type="file", device=one.device)
    element.append(_backing(source.backing))
    element.append(E.target(dev=one.target, bus=one.bus))
    if one.read_only:
        element.append(E.readonly())
    if one.serial is not None:
        element.append(E.serial(text(one.serial)))
    if one.boot_order is not None:
        element.append(E.boot(order=str(one.boot_order)))
    return element


def _backing(path: str | None) -> Element:
    if path is None:
        return E.backingStore()
    return E.backingStore(E.format(type="raw"), E.source(file=path), E.backingStore(), type="file")


def controllers(guest: Guest) -> Iterator[Element]:
    """No USB: its controller costs the firmware time and the host wake-ups, for a pointer only."""
    yield E.controller(type="usb", model="none")
    if any(disk.bus == "scsi" for disk in guest.disks):
        yield E.controller(type="scsi", model="virtio-scsi")


def interface(nic: Nic) -> Element:
    """A network card, without boot ROM: no network boot, and no wait for one."""
    element = E.interface(
        E.mac(address=nic.mac),
        E.source(network=network_name(nic.network)),
        E.model(type=nic.model),
        type="network",
    )
    if nic.mtu is not None:
        element.append(E.mtu(size=str(nic.mtu)))
    element.append(E.rom(enabled="no"))
    return element


def serial(log_file: str) -> Element:
    """The serial port; virtlogd writes what the guest says there into the file, anew at each start."""
    return E.serial(serial_log(log_file), E.target(port="0"), type="pty")


def serial_log(log_file: str) -> Element:
    """What a serial port says goes into this file."""
    return E.log(file=log_file, append="off")


def agent_channel() -> Element:
    return E.channel(E.target(type="virtio", name=AGENT_CHANNEL), type="unix")


def inputs() -> Iterator[Element]:
    """An absolute pointer where the guest has virtio's driver (no USB needed); PS/2 for the others."""
    yield E.input(type="tablet", bus="virtio")
    yield E.input(type="mouse", bus="ps2")
    yield E.input(type="keyboard", bus="ps2")


def graphics(listen: str) -> Element:
    """VNC on a port that libvirt chooses, without a password: the console proxy is the door."""
    return E.graphics(
        E.listen(type="address", address=listen),
        type="vnc",
        port="-1",
        autoport="yes",
        listen=listen,
        keymap="en-us",
        sharePolicy="force-shared",
    )
