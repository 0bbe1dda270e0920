"""One guest in detail: what libvirt counts of its processors, disks and network cards."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import libvirt
from lxml import etree

from compute.hypervisor.diagnostics import DiskCounters, GuestDiagnostics, NicCounters
from compute.hypervisor.interface import Busy
from compute.hypervisor.libvirt.errors import plain_errors
from compute.hypervisor.libvirt.session import Session

STATS = (
    libvirt.VIR_DOMAIN_STATS_VCPU
    | libvirt.VIR_DOMAIN_STATS_BALLOON
    | libvirt.VIR_DOMAIN_STATS_BLOCK
    | libvirt.VIR_DOMAIN_STATS_INTERFACE
)
KIB_IN_MIB = 1024


class Diagnostics:
    """The verb ``diagnostics`` of the driver."""

    _session: Session

    @plain_errors()
    def diagnostics(self, uuid: UUID) -> GuestDiagnostics:
        """See the interface."""
        domain = self._session.domain(uuid)
        if not domain.isActive():
            raise Busy("The guest is not running.")
        ((_, values),) = self._session.connection().domainListGetStats([domain], STATS, 0)
        return diagnostics_of(values, etree.fromstring(domain.XMLDesc()))


def diagnostics_of(values: dict[str, Any], description: etree._Element) -> GuestDiagnostics:
    """libvirt's figures (virConnectGetAllDomainStats), with what only the description tells: MAC addresses."""
    macs = {
        card.find("target").get("dev"): card.find("mac").get("address")  # type: ignore[union-attr]  # while it is on
        for card in description.iterfind("devices/interface[target][mac]")
    }
    seconds = (values.get(f"vcpu.{number}.time") for number in range(values.get("vcpu.maximum", 0)))
    return GuestDiagnostics(
        cpu_seconds=tuple(time / 1e9 for time in seconds if time is not None),
        memory_mb=values.get("balloon.current", 0) // KIB_IN_MIB,
        memory_used_mb=memory_used_kib(values) // KIB_IN_MIB,
        disks=tuple(_disk(values, number) for number in range(values.get("block.count", 0))),
        nics=tuple(_nic(values, number, macs) for number in range(values.get("net.count", 0))),
    )


def memory_used_kib(values: dict[str, Any]) -> int:
    """What the guest itself says, where it does; else what its QEMU has of the host's memory."""
    if "balloon.available" in values and "balloon.unused" in values:
        return int(values["balloon.available"] - values["balloon.unused"])
    return int(values.get("balloon.rss", values.get("balloon.current", 0)))


def _disk(values: dict[str, Any], number: int) -> DiskCounters:
    def count(what: str) -> int:
        return int(values.get(f"block.{number}.{what}", 0))

    name = str(values.get(f"block.{number}.name", number))
    return DiskCounters(name, count("rd.bytes"), count("rd.reqs"), count("wr.bytes"), count("wr.reqs"))


def _nic(values: dict[str, Any], number: int, macs: dict[str | None, str | None]) -> NicCounters:
    device = str(values.get(f"net.{number}.name", number))
    counters = [
        int(values.get(f"net.{number}.{way}.{what}", 0))
        for way in ("rx", "tx")
        for what in ("bytes", "pkts", "errs", "drop")
    ]
    return NicCounters(device, macs.get(device) or "", *counters)
