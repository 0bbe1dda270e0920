"""What a host is for whoever looks after it: its machine, pools, networks, CPU and clock."""

from __future__ import annotations

import contextlib
import ipaddress
import secrets
import time
from collections.abc import Iterator
from typing import Any

import libvirt
from lxml import etree

from compute.hypervisor.inspection import CpuComparison, HostDetails, Machine, NetworkSeen, PoolSeen
from compute.hypervisor.interface import Failed, HostFacts
from compute.hypervisor.libvirt import tls, xml, xml_storage
from compute.hypervisor.libvirt.errors import has_code, plain_errors
from compute.hypervisor.libvirt.facts import Facts
from compute.hypervisor.libvirt.session import Session
from compute.hypervisor.libvirt.xml_network import OUR_PREFIX

CLOCK = "nacelle-clock-"
CPU_FITS = (libvirt.VIR_CPU_COMPARE_IDENTICAL, libvirt.VIR_CPU_COMPARE_SUPERSET)
NAMED = "required features:"
# (entry's place in SMBIOS, its name there) of each field of Machine; https://libvirt.org/formatdomain.html#smbios-system-information
ENTRIES = {
    "vendor": ("system", "manufacturer"),
    "product": ("system", "product"),
    "version": ("system", "version"),
    "serial": ("system", "serial"),
    "bios_vendor": ("bios", "vendor"),
    "bios_version": ("bios", "version"),
    "bios_date": ("bios", "date"),
}


class Inspection(Facts):
    """The verbs about the host that people ask for. They stand on its facts."""

    _session: Session

    @plain_errors()
    def inspect(self) -> HostDetails:
        """See the interface."""
        connection = self._session.connection()
        ahead, within = self._clock()
        return HostDetails(
            machine=_machine(connection),
            own_pool=self._session.pool_name,
            own_path=self._session.pool_path,
            pools=tuple(_pool(pool) for pool in connection.listAllStoragePools()),
            networks=(*_networks(connection), *_links(connection)),
            machine_types=tuple(machine_types(etree.fromstring(connection.getCapabilities()), self.facts())),
            cpu=self._cpu(),
            clock_ahead=ahead,
            clock_within=within,
            certificate_until=tls.good_until(self._session.uri, self._session.ways),
        )

    @plain_errors()
    def compare_cpu(self, cpu: str) -> CpuComparison:
        """See the interface. libvirt says whether the other's fits here; the other way round, features are counted."""
        try:
            other = etree.fromstring(cpu)
        except etree.XMLSyntaxError as error:
            raise Failed("That is no CPU.") from error
        why = self._misfit(cpu)
        theirs, ours = self._features(cpu, other), self._features(self._cpu(), None)
        there = tuple(sorted(ours - theirs))
        return CpuComparison(
            fits_here=why is None,
            fits_there=not there,
            lacking_here=_named(why or "") or (tuple(sorted(theirs - ours)) if why is not None else ()),
            lacking_there=there,
        )

    # within ---------------------------------------------------------------------------------------
    def _kind(self) -> tuple[None, str, None, str]:
        """The first arguments of libvirt's questions about CPUs: the host's own emulator and machine."""
        facts = self.facts()
        return None, facts.architecture, None, facts.domain_type

    def _cpu(self) -> str:
        """The CPU that a guest gets here (host-model); empty where libvirt offers none."""
        try:
            text = self._session.connection().getDomainCapabilities(*self._kind())
        except libvirt.libvirtError as error:
            if has_code(error, libvirt.VIR_ERR_NO_SUPPORT, libvirt.VIR_ERR_INVALID_ARG):
                return ""
            raise
        offered = etree.fromstring(text).find("cpu/mode[@name='host-model'][@supported='yes']")
        if offered is None or offered.find("model") is None:
            return ""
        cpu = etree.Element("cpu", mode="custom", match="exact")
        cpu.extend([one for one in offered if one.tag in ("model", "vendor", "feature")])
        return etree.tostring(cpu, encoding="unicode").strip()

    def _misfit(self, cpu: str) -> str | None:
        """What libvirt says against a guest of this CPU here; None if nothing."""
        flags = libvirt.VIR_CONNECT_COMPARE_CPU_FAIL_INCOMPATIBLE
        try:
            found = self._session.connection().compareHypervisorCPU(*self._kind(), cpu, flags)
        except libvirt.libvirtError as error:
            if not has_code(error, libvirt.VIR_ERR_CPU_INCOMPATIBLE):
                raise
            return str(error.get_error_message())
        return None if found in CPU_FITS else ""

    def _features(self, cpu: str, described: etree._Element | None) -> set[str]:
        """Every feature of a CPU, those that its model implies included where libvirt can tell."""
        if not cpu:
            return set()
        flags = libvirt.VIR_CONNECT_BASELINE_CPU_EXPAND_FEATURES
        with contextlib.suppress(libvirt.libvirtError):  # not for this architecture
            described = etree.fromstring(self._session.connection().baselineHypervisorCPU(*self._kind(), [cpu], flags))
        found = etree.fromstring(cpu) if described is None else described
        wanted = (one for one in found.iterfind("feature") if one.get("policy") != "disable")
        return {one.get("name", "") for one in wanted}

    def _clock(self) -> tuple[float | None, float]:
        """How far the host's clock is ahead, by the time that a new file in the pool has; and how exact that is."""
        pool, name = self._session.pool(), f"{CLOCK}{secrets.token_hex(4)}"
        for left in [one for one in pool.listVolumes() if one.startswith(CLOCK)]:
            _forget(pool, left)
        before = time.time()
        volume = pool.createXML(xml.to_string(xml_storage.volume(name, 0)))
        after = time.time()
        try:
            written = etree.fromstring(volume.XMLDesc()).findtext("target/timestamps/mtime")
        except libvirt.libvirtError:  # another check took it for a leftover
            written = None
        _forget(pool, name)
        return (float(written) - (before + after) / 2 if written else None), (after - before) / 2


def machine_types(capabilities: etree._Element, facts: HostFacts) -> Iterator[str]:
    """The kinds of machines that the host's QEMU can be (https://libvirt.org/formatcaps.html)."""
    guests = capabilities.iterfind(f"guest/arch[@name='{facts.architecture}']")
    yield from sorted({one.text or "" for arch in guests for one in arch.iterfind("machine")} - {""})


def _machine(connection: Any) -> Machine:
    """Not every machine has a description, and not every libvirt may read it."""
    try:
        root = etree.fromstring(connection.getSysinfo())
    except libvirt.libvirtError:
        return Machine()
    texts = {
        name: " ".join((root.findtext(f"{place}/entry[@name='{entry}']") or "").split())
        for name, (place, entry) in ENTRIES.items()
    }
    return Machine(**texts)


def _pool(pool: Any) -> PoolSeen:
    described = etree.fromstring(pool.XMLDesc())
    _, capacity, _, available = pool.info()
    return PoolSeen(
        name=pool.name(),
        kind=described.get("type", ""),
        path=described.findtext("target/path", ""),
        active=bool(pool.isActive()),
        capacity_bytes=capacity,
        available_bytes=available,
    )


def _networks(connection: Any) -> Iterator[NetworkSeen]:
    for network in connection.listAllNetworks():
        described = etree.fromstring(network.XMLDesc())
        yield NetworkSeen(
            name=network.name(),
            active=bool(network.isActive()),
            ours=network.name().startswith(OUR_PREFIX),
            ranges=tuple(_ranges([*described.iterfind("ip"), *described.iterfind("route")])),
        )


def _links(connection: Any) -> Iterator[NetworkSeen]:
    """The host's own links with addresses, where its libvirt can tell: most cannot."""
    try:
        links = connection.listAllInterfaces()
    except libvirt.libvirtError:
        return
    for link in links:
        described = etree.fromstring(link.XMLDesc())
        if ranges := tuple(_ranges(list(described.iterfind("protocol/ip")))):
            yield NetworkSeen(name=link.name(), active=True, ours=False, ranges=ranges)


def _ranges(elements: list[etree._Element]) -> Iterator[str]:
    for one in elements:
        size = one.get("prefix") or one.get("netmask")
        with contextlib.suppress(ValueError):
            if size:
                yield str(ipaddress.ip_network(f"{one.get('address', '')}/{size}", strict=False))


def _named(why: str) -> tuple[str, ...]:
    """The features that libvirt names in its refusal."""
    _, found, names = why.partition(NAMED)
    return tuple(name.strip() for name in names.split(",") if name.strip()) if found else ()


def _forget(pool: Any, name: str) -> None:
    with contextlib.suppress(libvirt.libvirtError):  # somebody else has
        pool.storageVolLookupByName(name).delete()
