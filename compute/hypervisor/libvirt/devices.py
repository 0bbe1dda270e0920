"""A guest's network cards: plugged in and out, while it runs and for its next start."""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID

import libvirt
from lxml import etree

from compute.hypervisor.interface import Busy, Nic
from compute.hypervisor.libvirt import xml
from compute.hypervisor.libvirt.errors import has_code, plain_errors
from compute.hypervisor.libvirt.interruptions import is_suspended, only_while_on
from compute.hypervisor.libvirt.session import Session

RELEASE_SECONDS = 20.0  # in which a guest is to let go of a card
ASK_AGAIN_SECONDS = 5.0  # a guest whose kernel does not listen yet misses the request
POLL_SECONDS = 0.05

LIVE = libvirt.VIR_DOMAIN_AFFECT_LIVE
CONFIG = libvirt.VIR_DOMAIN_AFFECT_CONFIG


class Devices:
    """The verbs about a guest's network cards."""

    _session: Session

    @plain_errors()
    def attach_nic(self, uuid: UUID, nic: Nic) -> None:
        """See the interface. Raises Gone, and Busy while the guest is suspended."""
        domain = self._session.domain(uuid)
        missing = [where for where in _places(domain) if _card(domain, nic.mac, where) is None]
        if missing:
            with only_while_on(domain):
                domain.attachDeviceFlags(xml.to_string(xml.interface(nic)), sum(missing))

    @plain_errors()
    def detach_nic(self, uuid: UUID, mac: str) -> None:
        """See the interface. Raises Gone, and Busy while the guest is suspended.

        The running guest goes first: as long as it has the card, so has its definition.
        """
        domain = self._session.domain(uuid)
        places = _places(domain)
        if LIVE in places:
            _pull_out(domain, mac)
        if (card := _card(domain, mac, CONFIG)) is not None:
            domain.detachDeviceFlags(card, CONFIG)


def _places(domain: Any) -> tuple[int, ...]:
    """Where a change must be made. Raises Busy: saved memory knows its devices."""
    if is_suspended(domain):
        raise Busy("The guest is suspended.")
    return (LIVE, CONFIG) if domain.isActive() else (CONFIG,)


def _card(domain: Any, mac: str, where: int) -> str | None:
    """The card of this MAC in XML, in the running guest or its definition."""
    flags = libvirt.VIR_DOMAIN_XML_INACTIVE if where == CONFIG else 0
    for card in etree.fromstring(domain.XMLDesc(flags)).iterfind("devices/interface"):
        address = card.find("mac")
        if address is not None and address.get("address", "").lower() == mac.lower():
            return xml.to_string(card)
    return None


def _pull_out(domain: Any, mac: str) -> None:
    """Ask the running guest to let go of the card, and wait until it has. Raises Busy if it does not."""
    deadline, ask_at = time.monotonic() + RELEASE_SECONDS, 0.0
    while domain.isActive() and (card := _card(domain, mac, LIVE)) is not None:
        now = time.monotonic()
        if now >= deadline or domain.state()[0] == libvirt.VIR_DOMAIN_PAUSED:
            raise Busy(f"The guest does not let go of the network card {mac}.")
        if now >= ask_at:
            _ask(domain, card)
            ask_at = time.monotonic() + ASK_AGAIN_SECONDS
        time.sleep(POLL_SECONDS)


def _ask(domain: Any, card: str) -> None:
    """libvirt itself waits some seconds for the answer. That it was asked already, or that the card or the
    guest is gone, is no error."""
    try:
        domain.detachDeviceFlags(card, LIVE)
    except libvirt.libvirtError as error:
        if not has_code(error, *ASKED_OR_GONE):
            raise


ASKED_OR_GONE = (libvirt.VIR_ERR_OPERATION_FAILED, libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_DEVICE_MISSING)
