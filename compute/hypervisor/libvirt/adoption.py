"""Guests that somebody else has defined: what they are, and what is added to them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import libvirt
from lxml import etree

from compute.hypervisor.adoption import ForeignCard, ForeignDisk, ForeignGuest
from compute.hypervisor.interface import Failed, Gone, PowerState
from compute.hypervisor.libvirt import xml
from compute.hypervisor.libvirt.consoles import Consoles
from compute.hypervisor.libvirt.errors import has_code, plain_errors
from compute.hypervisor.libvirt.power import POWER_STATES, has_our_mark, undefine
from compute.hypervisor.libvirt.session import Session

# Where the source of a disk names what it is, by the disk's kind (https://libvirt.org/formatdomain.html#hard-drives-floppy-disks-cdroms)
SOURCES = ("file", "dev", "dir", "name", "volume")
KIB_PER_MIB = 1024


class Adoption(Consoles):
    """The verbs about foreign guests. They stand on the console logs."""

    _session: Session
    _managed: dict[UUID, bool]

    @plain_errors()
    def foreign(self) -> tuple[ForeignGuest, ...]:
        """See the interface."""
        found = []
        for domain in self._session.connection().listAllDomains():
            with contextlib.suppress(Gone), plain_errors():
                if not has_our_mark(domain):
                    found.append(self._described(domain))
        return tuple(sorted(found, key=lambda one: one.name))

    @plain_errors()
    def describe(self, uuid: UUID) -> ForeignGuest:
        """See the interface."""
        return self._described(self._session.domain(uuid))

    @plain_errors()
    def adopt(self, uuid: UUID, metadata: tuple[tuple[str, str], ...]) -> None:
        """See the interface. The definition is the host's own; only two elements are added to it."""
        domain = self._session.domain(uuid)
        if not domain.isPersistent():
            raise Failed("The guest has no definition that outlives it.")
        if not has_our_mark(domain):
            mark = xml.to_string(xml.bare_mark(metadata))
            places = libvirt.VIR_DOMAIN_AFFECT_CONFIG | (libvirt.VIR_DOMAIN_AFFECT_LIVE if domain.isActive() else 0)
            kind = libvirt.VIR_DOMAIN_METADATA_ELEMENT
            domain.setMetadata(kind, mark, xml.PREFIX, xml.NAMESPACE, places)
        self._log_serial(domain, uuid)
        self._managed[uuid] = True

    @plain_errors()
    def disown(self, uuid: UUID, disks: tuple[str, ...]) -> None:
        """See the interface."""
        firmware = libvirt.VIR_DOMAIN_UNDEFINE_NVRAM if disks else libvirt.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM
        undefine(self._session, uuid, firmware)
        self._managed.pop(uuid, None)
        self.delete_console_log(uuid)
        others = self._used() if disks else frozenset()
        for path in disks:
            if path not in others and (volume := self._volume_at(path)) is not None:
                volume.delete()

    # within ---------------------------------------------------------------------------------------
    def _described(self, domain: Any) -> ForeignGuest:
        root = etree.fromstring(domain.XMLDesc())
        screen = root.find("devices/graphics[@type='vnc']")
        most = root.findtext("vcpu", "1")
        vcpu = root.find("vcpu")
        return ForeignGuest(
            uuid=UUID(domain.UUIDString()),
            name=domain.name(),
            title=root.findtext("title", ""),
            power_state=POWER_STATES.get(domain.state()[0], PowerState.NOSTATE),
            vcpus=int(most if vcpu is None else vcpu.get("current", most)),
            memory_mb=int(domain.maxMemory()) // KIB_PER_MIB,
            persistent=bool(domain.isPersistent()),
            saved=bool(domain.hasManagedSaveImage()),
            disks=tuple(self._disks(domain, root)),
            cards=tuple(_cards(root)),
            screen="" if screen is None else (screen.get("listen") or "127.0.0.1"),
            serial=root.find("devices/serial") is not None,
        )

    def _disks(self, domain: Any, root: etree._Element) -> Iterator[ForeignDisk]:
        for disk in root.iterfind("devices/disk"):
            source, driver, target = disk.find("source"), disk.find("driver"), disk.find("target")
            where = _where(source)
            name = "" if target is None else target.get("dev", "")
            volume = self._volume_at(where) if where.startswith("/") else None
            shared = disk.find("readonly") is not None or disk.find("shareable") is not None
            yield ForeignDisk(
                target=name,
                device=disk.get("device", "disk"),
                kind=disk.get("type", ""),
                source=where,
                format="" if driver is None else driver.get("type", ""),
                capacity_bytes=_capacity(domain, name) if where else 0,
                own_pool=where.startswith(f"{self._session.pool_path}/"),
                deletable=volume is not None and not shared and disk.get("device", "disk") == "disk",
            )

    def _volume_at(self, path: str) -> Any:
        """The volume of some active pool that lies at a path; None if there is none."""
        try:
            return self._session.connection().storageVolLookupByPath(path)
        except libvirt.libvirtError as error:
            if has_code(error, libvirt.VIR_ERR_NO_STORAGE_VOL):
                return None
            raise

    def _used(self) -> frozenset[str]:
        """Every path that some guest of the host has in a disk, or below one."""
        found = set()
        for domain in self._session.connection().listAllDomains():
            with contextlib.suppress(Gone), plain_errors():
                root = etree.fromstring(domain.XMLDesc())
                found |= {_where(source) for source in root.iterfind("devices/disk//source")}
        return frozenset(found)

    def _log_serial(self, domain: Any, uuid: UUID) -> None:
        """From its next start on, its first serial port is logged, unless somebody else logs it."""
        flags = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
        root = etree.fromstring(domain.XMLDesc(flags))
        port = root.find("devices/serial")
        if port is None or port.find("log") is not None:
            return
        place = port.find("target")
        log = xml.serial_log(self.make_console_log(uuid))
        port.insert(len(port) if place is None else port.index(place), log)
        self._session.connection().defineXML(etree.tostring(root, encoding="unicode"))


def _where(source: etree._Element | None) -> str:
    if source is None:
        return ""
    return next((source.get(name, "") for name in SOURCES if source.get(name)), "")


def _capacity(domain: Any, target: str) -> int:
    try:
        return int(domain.blockInfo(target)[0])
    except libvirt.libvirtError:  # no medium in it, or its storage is away
        return 0


def _cards(root: etree._Element) -> Iterator[ForeignCard]:
    for card in root.iterfind("devices/interface"):
        source, mac, model = card.find("source"), card.find("mac"), card.find("model")
        names = () if source is None else (source.get(name, "") for name in ("network", "bridge", "dev", "path"))
        yield ForeignCard(
            mac="" if mac is None else mac.get("address", ""),
            kind=card.get("type", ""),
            source=next(filter(None, names), ""),
            model="" if model is None else model.get("type", ""),
        )
