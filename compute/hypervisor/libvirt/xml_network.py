"""Networks in libvirt's XML (https://libvirt.org/formatnetwork.html)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from uuid import UUID

from lxml import etree
from lxml.builder import E

from compute.hypervisor.interface import BRIDGE_PREFIX, Failed, NetworkSpec, Reservation

Element = etree._Element

OUR_PREFIX = "nacelle-"  # what the names of our networks begin with
# RFC 1123, section 2.1, one label. Nothing else may reach the DHCP server's files (OSSA-2021-005).
HOSTNAME = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?")
MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


def network_name(uuid: UUID) -> str:
    """libvirt's name for a network of ours."""
    return f"{OUR_PREFIX}{uuid}"


def bridge_name(uuid: UUID) -> str:
    """The bridge on the host; Linux allows 15 characters for an interface's name."""
    return f"{BRIDGE_PREFIX}{uuid.hex[:12]}"


def network(spec: NetworkSpec, reservations: Iterable[Reservation] = ()) -> Element:
    """A NAT network. Without ``<range>``, dnsmasq answers only the hosts that it knows."""
    element = E.network(
        E.name(network_name(spec.uuid)),
        E.uuid(str(spec.uuid)),
        E.forward(mode="nat"),
        E.bridge(name=bridge_name(spec.uuid), stp="off", delay="0"),
        E.mtu(size=str(spec.mtu)),
    )
    if spec.dns_servers:
        element.append(E.dns(*(E.forwarder(addr=str(ip_address(one))) for one in spec.dns_servers)))
    address = E.ip(address=str(ip_address(spec.gateway)), prefix=str(ip_network(spec.cidr).prefixlen))
    if spec.dhcp:
        address.append(E.dhcp(*(dhcp_host(one) for one in reservations)))
    element.append(address)
    return element


def dhcp_host(reservation: Reservation) -> Element:
    """One reservation. Raises Failed where a value is not what it should be."""
    try:
        address = str(ip_address(reservation.address))
    except ValueError as error:
        raise Failed(str(error)) from error
    name = reservation.hostname or default_hostname(address)
    if not HOSTNAME.fullmatch(name):
        raise Failed(f"{name!r} is not a host name.")
    if not MAC.fullmatch(reservation.mac.lower()):
        raise Failed(f"{reservation.mac!r} is not a MAC address.")
    return E.host(mac=reservation.mac.lower(), name=name, ip=address)


def default_hostname(address: str) -> str:
    """Neutron's name for an address that has no other: host-10-77-0-5."""
    return "host-" + re.sub(r"[.:]", "-", address)
