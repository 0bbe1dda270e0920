"""A guest's life: define, start, stop, reboot, remove."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import UUID

import libvirt
from lxml import etree

from compute.hypervisor.interface import Gone, Guest, GuestUsage, Observed, PowerState
from compute.hypervisor.libvirt import xml
from compute.hypervisor.libvirt.adoption import Adoption
from compute.hypervisor.libvirt.copies import Copies
from compute.hypervisor.libvirt.devices import Devices
from compute.hypervisor.libvirt.diagnostics import Diagnostics, memory_used_kib
from compute.hypervisor.libvirt.errors import has_code, plain_errors
from compute.hypervisor.libvirt.growth import Growth
from compute.hypervisor.libvirt.inspection import Inspection
from compute.hypervisor.libvirt.interruptions import Interruptions
from compute.hypervisor.libvirt.migration import Migration
from compute.hypervisor.libvirt.moving import Moving
from compute.hypervisor.libvirt.power import POWER_STATES, cut_power, has_our_mark, undefine
from compute.hypervisor.libvirt.snapshots import Snapshots

POLL_SECONDS = 0.05
PRESS_AGAIN_SECONDS = 3.0  # a guest whose kernel does not listen yet misses the power button

USAGE_STATS = (
    libvirt.VIR_DOMAIN_STATS_CPU_TOTAL
    | libvirt.VIR_DOMAIN_STATS_BALLOON
    | libvirt.VIR_DOMAIN_STATS_BLOCK
    | libvirt.VIR_DOMAIN_STATS_INTERFACE
)


class Guests(Diagnostics, Growth, Interruptions, Migration, Snapshots, Devices, Copies, Moving, Inspection, Adoption):
    """The verbs about guests. They stand on the host's facts, storage and console logs."""

    _managed: dict[UUID, bool]

    @plain_errors()
    def guests(self) -> dict[UUID, Observed]:
        """See the interface. One call, and one more for each guest that is not known to be ours."""
        stats = self._session.connection().getAllDomainStats(libvirt.VIR_DOMAIN_STATS_STATE, 0)
        found = (self._observed(domain, values.get("state.state", 0)) for domain, values in stats)
        return {one.uuid: one for one in found}

    @plain_errors()
    def guest(self, uuid: UUID) -> Observed | None:
        """See the interface."""
        try:
            domain = self._session.domain(uuid)
            return self._observed(domain, domain.state()[0])
        except Gone:
            return None
        except libvirt.libvirtError as error:
            if has_code(error, libvirt.VIR_ERR_NO_DOMAIN):
                return None
            raise

    @plain_errors()
    def guest_usage(self) -> dict[UUID, GuestUsage]:
        """See the interface. Guests that are busy with a job give what is known without waiting."""
        flags = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_RUNNING
        nowait = getattr(libvirt, "VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT", 0)
        stats = self._session.connection().getAllDomainStats(USAGE_STATS, flags | nowait)
        return {UUID(domain.UUIDString()): usage_of(values) for domain, values in stats}

    @plain_errors()
    def define(self, guest: Guest) -> None:
        """See the interface."""
        self._session.connection().defineXMLFlags(xml.to_string(self.definition(guest)), 0)
        self._managed[guest.uuid] = True

    @plain_errors()
    def start(self, uuid: UUID) -> None:
        """See the interface. Raises Gone."""
        domain = self._session.domain(uuid)
        try:
            domain.createWithFlags(libvirt.VIR_DOMAIN_START_FORCE_BOOT)
        except libvirt.libvirtError as error:
            if not has_code(error, libvirt.VIR_ERR_OPERATION_INVALID) or not domain.isActive():
                raise

    @plain_errors()
    def stop(self, uuid: UUID, grace: float, should_go_on: Callable[[], bool] = lambda: True) -> None:
        """See the interface. Raises Gone."""
        self._power_off(self._session.domain(uuid), grace, should_go_on)

    @plain_errors()
    def reboot(self, uuid: UUID, grace: float, should_go_on: Callable[[], bool] = lambda: True) -> None:
        """See the interface. Raises Gone. A guest that is off is started."""
        if self._power_off(self._session.domain(uuid), grace, should_go_on):
            self.start(uuid)

    @plain_errors()
    def destroy(self, uuid: UUID) -> None:
        """See the interface. Raises Gone."""
        domain = self._session.domain(uuid)
        cut_power(domain)
        if domain.hasManagedSaveImage():
            domain.managedSaveRemove()

    @plain_errors()
    def remove(self, uuid: UUID) -> None:
        """See the interface."""
        undefine(self._session, uuid, libvirt.VIR_DOMAIN_UNDEFINE_NVRAM)
        self._managed.pop(uuid, None)
        self.delete_console_log(uuid)

    # within ---------------------------------------------------------------------------------------
    def definition(self, guest: Guest) -> etree._Element:
        """The guest as this host is to define it; its console log is there. Raises Gone for a disk that is not."""
        facts = self.facts()
        place = xml.Place(
            domain_type=facts.domain_type,
            architecture=facts.architecture,
            console_log=self.make_console_log(guest.uuid),
            sources=tuple(self.disk_source(disk) for disk in guest.disks),
        )
        return xml.domain(guest, place)

    def _observed(self, domain: Any, state: int) -> Observed:
        uuid = UUID(domain.UUIDString())
        if not self._managed.get(uuid):  # one that is not may be adopted at any time
            self._managed[uuid] = has_our_mark(domain)
        return Observed(
            uuid=uuid,
            name=domain.name(),
            power_state=POWER_STATES.get(state, PowerState.NOSTATE),
            managed=self._managed[uuid],
        )

    def _power_off(self, domain: Any, grace: float, should_go_on: Callable[[], bool]) -> bool:
        """Whether it is off now; False if the caller lost interest.

        The button is pressed again every few seconds. A paused guest cannot hear it and is cut off.
        """
        deadline, press_at = time.monotonic() + grace, 0.0
        while (state := domain.state()[0]) != libvirt.VIR_DOMAIN_SHUTOFF:
            if not should_go_on():
                return False
            now = time.monotonic()
            if now >= deadline or state in (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_CRASHED):
                cut_power(domain)
                return True
            if now >= press_at:
                _press_power_button(domain)
                press_at = now + PRESS_AGAIN_SECONDS
            time.sleep(min(POLL_SECONDS, max(0.0, deadline - now)))
        return True


def usage_of(values: dict[str, Any]) -> GuestUsage:
    """One guest's statistics, as libvirt names them (virConnectGetAllDomainStats)."""

    def total(kind: str, what: str) -> int:
        return sum(values.get(f"{kind}.{number}.{what}", 0) for number in range(values.get(f"{kind}.count", 0)))

    return GuestUsage(
        cpu_seconds=values.get("cpu.time", 0) / 1e9,
        memory_used_mb=memory_used_kib(values) // 1024,
        disk_read_bytes=total("block", "rd.bytes"),
        disk_write_bytes=total("block", "wr.bytes"),
        disk_read_requests=total("block", "rd.reqs"),
        disk_write_requests=total("block", "wr.reqs"),
        network_receive_bytes=total("net", "rx.bytes"),
        network_transmit_bytes=total("net", "tx.bytes"),
    )


def _press_power_button(domain: Any) -> None:
    """No error ends the wait: a guest that dies at this moment is off, and any other is asked again, then cut off."""
    with suppress(libvirt.libvirtError):
        domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)
