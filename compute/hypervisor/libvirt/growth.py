"""Guests that grow while they run: processors that were left out at the start, and memory modules."""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID

import libvirt
from lxml import etree

from compute.hypervisor.interface import Busy, Unsupported
from compute.hypervisor.libvirt import xml
from compute.hypervisor.libvirt.errors import has_code, plain_errors
from compute.hypervisor.libvirt.interruptions import only_while_on
from compute.hypervisor.libvirt.session import Session

LIVE = libvirt.VIR_DOMAIN_AFFECT_LIVE
RELEASE_SECONDS = 10.0  # in which a guest is to let go of a memory module
POLL_SECONDS = 0.1
KIB_IN_MIB = 1024


class Growth:
    """The verbs about the size of a guest that is on."""

    _session: Session

    @plain_errors()
    def set_live_vcpus(self, uuid: UUID, vcpus: int) -> None:
        """See the interface. Raises Gone."""
        domain = self._session.domain(uuid)
        with only_while_on(domain):
            if domain.vcpusFlags(LIVE) == vcpus:
                return
            if vcpus > (room := domain.vcpusFlags(LIVE | libvirt.VIR_DOMAIN_VCPU_MAXIMUM)):
                raise Unsupported(f"The guest was started with room for {room} processors, not for {vcpus}.")
            domain.setVcpusFlags(vcpus, LIVE)

    @plain_errors()
    def set_live_memory(self, uuid: UUID, memory_mb: int) -> None:
        """See the interface. Raises Gone."""
        domain = self._session.domain(uuid)
        with only_while_on(domain):
            more = memory_mb - self.live_size(uuid)[1]
            if more > 0:
                _check_room(domain, memory_mb)
                domain.attachDeviceFlags(xml.to_string(xml.memory_module(more)), LIVE)
            elif more < 0:
                _pull_out(domain, -more)

    @plain_errors()
    def live_size(self, uuid: UUID) -> tuple[int, int]:
        """See the interface. Raises Gone."""
        domain = self._session.domain(uuid)
        with only_while_on(domain):
            return domain.vcpusFlags(LIVE), int(_live(domain).findtext("memory", "0")) // KIB_IN_MIB


def _live(domain: Any) -> etree._Element:
    """The running guest's description. Raises Busy when it is not on."""
    if not domain.isActive():
        raise Busy("The guest is not running.")
    return etree.fromstring(domain.XMLDesc())


def _check_room(domain: Any, memory_mb: int) -> None:
    description = _live(domain)
    room = int(description.findtext("maxMemory", "0")) // KIB_IN_MIB
    if memory_mb > room:
        raise Unsupported(f"The guest was started with room for {room} MiB of memory, not for {memory_mb}.")
    if len(description.findall("devices/memory")) >= xml.MEMORY_SLOTS:
        raise Unsupported("Memory was added to the running guest too often; it must be started anew first.")


def _pull_out(domain: Any, less_mb: int) -> None:
    """Take the modules out again that were added last, if they make this amount. Raises Unsupported and Busy."""
    for module in reversed(_live(domain).findall("devices/memory")):
        size_mb = int(module.findtext("target/size", "0")) // KIB_IN_MIB
        if size_mb > less_mb:
            break
        _detach(domain, module)
        less_mb -= size_mb
        if not less_mb:
            return
    raise Unsupported("So much memory was not added to the running guest, and cannot be taken out.")


def _detach(domain: Any, module: etree._Element) -> None:
    """Ask the guest to let go of it, and wait until it has. Raises Busy."""
    alias = module.find("alias")
    name = alias.get("name") if alias is not None else None
    try:
        domain.detachDeviceFlags(xml.to_string(module), LIVE)
    except libvirt.libvirtError as error:
        if not has_code(error, libvirt.VIR_ERR_OPERATION_FAILED, libvirt.VIR_ERR_DEVICE_MISSING):
            raise
    deadline = time.monotonic() + RELEASE_SECONDS
    while name in {one.get("name") for one in _live(domain).iterfind("devices/memory/alias")}:
        if time.monotonic() > deadline:
            raise Busy("The guest does not let go of the memory.")
        time.sleep(POLL_SECONDS)
