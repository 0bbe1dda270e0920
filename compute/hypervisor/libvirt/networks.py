"""NAT networks of the host, with DHCP for reserved addresses only.

A change to a running network's reservations costs 0.4 s and takes the network's firewall rules down
and up again, whatever the change (libvirt's networkUpdate). So a network is born with a reservation
for every address, each for the MAC that ``mac_for`` gives it, and a boot changes nothing. It also
means that an address always has the same MAC, so no lease of an earlier guest stands in the way:
dnsmasq refuses an address that is leased to another MAC, and no call of libvirt ends a lease.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from ipaddress import ip_address, ip_network
from itertools import islice
from typing import Any
from uuid import UUID

import libvirt
from lxml import etree

from compute.hypervisor.interface import RESERVED_AHEAD, Failed, NetworkSpec, Reservation, mac_for
from compute.hypervisor.libvirt import xml, xml_network
from compute.hypervisor.libvirt.errors import has_code, ignoring, plain_errors
from compute.hypervisor.libvirt.session import Session

LIVE = libvirt.VIR_NETWORK_UPDATE_AFFECT_LIVE
CONFIG = libvirt.VIR_NETWORK_UPDATE_AFFECT_CONFIG
HOSTS = libvirt.VIR_NETWORK_SECTION_IP_DHCP_HOST
ADD = libvirt.VIR_NETWORK_UPDATE_COMMAND_ADD_LAST
DELETE = libvirt.VIR_NETWORK_UPDATE_COMMAND_DELETE


class Networks:
    """The network verbs of the driver."""

    _session: Session
    _specs: dict[UUID, NetworkSpec]  # what this process has already seen to be so
    _network_lock: threading.Lock

    @plain_errors()
    def ensure_network(self, network: NetworkSpec, reservations: Iterable[Reservation] = ()) -> bool:
        """See the interface. A network that has changed takes up the new values at its next start."""
        with self._network_lock:
            handle = self._network(network.uuid)
            made = handle is None
            if handle is None or self._specs.get(network.uuid) != network:
                handle = self._define(network, handle)
                self._specs[network.uuid] = network
            self._bring_up(handle)
        for reservation in reservations:
            self.reserve(network.uuid, reservation)
        return made

    @plain_errors()
    def reserve(self, network: UUID, reservation: Reservation) -> None:
        """See the interface. On a network without DHCP there is nothing to reserve."""
        spec = self._specs.get(network)
        if spec is not None and (not spec.dhcp or is_ahead(spec, reservation)):
            return
        handle, hosts = self._hosts(network)
        if not hosts or any(same_host(host, reservation) for host in hosts):
            return
        others = [host for host in hosts if not clashes(host, reservation)]
        if reservation.hostname in {host.get("name") for host in others}:
            reservation = Reservation(reservation.mac, reservation.address)
        for host in hosts:
            if clashes(host, reservation):
                self._remove_host(handle, host)
        self._add_host(handle, network, reservation)

    @plain_errors()
    def release(self, network: UUID, mac: str) -> None:
        """See the interface. Addresses that become free go back to the MACs that they belong to."""
        handle = self._network(network)
        if handle is None:
            return
        description = etree.fromstring(handle.XMLDesc())
        spec = spec_of(network, description)
        mine = [host for host in _hosts(description) if is_of(host, mac)]
        if not mine or is_ahead(spec, _reservation(mine[0])):
            return
        for host in mine:
            self._remove_host(handle, host)
        for address in (mine[0].get("ip", ""), own_address(spec, mac)):
            self._give_back(handle, spec, address)

    @plain_errors()
    def reservations(self) -> set[tuple[UUID, str]]:
        """See the interface. One call, and one more for each network."""
        found = set()
        for handle in self._session.connection().listAllNetworks():
            with ignoring(libvirt.VIR_ERR_NO_NETWORK):  # it may go while we look
                description, uuid = etree.fromstring(handle.XMLDesc()), UUID(handle.UUIDString())
                if _hosts(description):
                    found |= {(uuid, one.mac) for one in special(description, spec_of(uuid, description))}
        return found

    @plain_errors()
    def remove_network(self, network: UUID) -> None:
        """See the interface."""
        self._specs.pop(network, None)
        handle = self._network(network)
        if handle is None:
            return
        if handle.isActive():
            _unless(libvirt.VIR_ERR_OPERATION_INVALID, handle.destroy)
        _unless(libvirt.VIR_ERR_NO_NETWORK, handle.undefine)

    # within ---------------------------------------------------------------------------------------
    def _network(self, uuid: UUID) -> Any:
        try:
            return self._session.connection().networkLookupByUUIDString(str(uuid))
        except libvirt.libvirtError as error:
            if has_code(error, libvirt.VIR_ERR_NO_NETWORK):
                return None
            raise

    def _hosts(self, uuid: UUID) -> tuple[Any, list[etree._Element]]:
        handle = self._session.connection().networkLookupByUUIDString(str(uuid))
        return handle, _hosts(etree.fromstring(handle.XMLDesc()))

    def _define(self, spec: NetworkSpec, handle: Any) -> Any:
        """Define the network unless it is so already; special reservations that it has are kept."""
        kept: list[Reservation] = []
        if handle is not None:
            description = etree.fromstring(handle.XMLDesc(libvirt.VIR_NETWORK_XML_INACTIVE))
            if same_network(description, spec):
                return handle
            kept = list(special(description, spec))
        wanted = merge(reserved_ahead(spec), kept)
        element = xml_network.network(spec, wanted if spec.dhcp else ())
        return self._session.connection().networkDefineXML(xml.to_string(element))

    def _bring_up(self, handle: Any) -> None:
        if not handle.autostart():
            handle.setAutostart(1)
        if not handle.isActive():
            try:
                handle.create()
            except libvirt.libvirtError as error:
                if not handle.isActive():  # else another caller was faster
                    said = error.get_error_message() or "no reason given"
                    raise Failed(f"The host could not start the network {handle.name()}: {said}.") from error

    def _give_back(self, handle: Any, spec: NetworkSpec, address: str | None) -> None:
        """Restore the reservation that this address was born with, unless it has another."""
        _, hosts = self._hosts(spec.uuid)
        if address is None or any(host.get("ip") == address for host in hosts):
            return
        own = Reservation(mac_for(spec.uuid, spec.cidr, address), address)
        if is_ahead(spec, own) and not any(clashes(host, own) for host in hosts):
            self._add_host(handle, spec.uuid, own)

    def _add_host(self, handle: Any, network: UUID, reservation: Reservation) -> None:
        try:
            self._update(handle, ADD, xml.to_string(xml_network.dhcp_host(reservation)))
        except libvirt.libvirtError:
            _, hosts = self._hosts(network)
            if not any(same_host(host, reservation) for host in hosts):  # else another caller was faster
                raise

    def _remove_host(self, handle: Any, host: etree._Element) -> None:
        _unless(
            libvirt.VIR_ERR_OPERATION_INVALID,  # no such entry
            lambda: self._update(handle, DELETE, etree.tostring(host, encoding="unicode")),
        )

    def _update(self, handle: Any, command: int, host: str) -> None:
        handle.update(command, HOSTS, -1, host, CONFIG | (LIVE if handle.isActive() else 0))


def reserved_ahead(spec: NetworkSpec) -> Iterator[Reservation]:
    """A reservation for every address that a guest may have, up to RESERVED_AHEAD."""
    for address in islice(ip_network(spec.cidr).hosts(), RESERVED_AHEAD):
        if str(address) != spec.gateway:
            yield Reservation(mac_for(spec.uuid, spec.cidr, str(address)), str(address))


def spec_of(uuid: UUID, description: etree._Element) -> NetworkSpec:
    """The values that matter for reservations, read from libvirt's network."""
    ip = description.find("ip")
    if ip is None:
        raise Failed(f"The network {uuid} has no address.")
    gateway = ip.get("address", "")
    return NetworkSpec(uuid, str(ip_network(f"{gateway}/{ip.get('prefix')}", strict=False)), gateway)


def own_address(spec: NetworkSpec, mac: str) -> str | None:
    """The address that ``mac_for`` gives this MAC to; None if there is none such."""
    low = int(mac.replace(":", ""), 16) & 0xFFFFFF
    index = (low - spec.uuid.int) % (1 << 24)
    cidr = ip_network(spec.cidr)
    if not 0 < index < cidr.num_addresses - 1:
        return None
    address = str(cidr[index])
    return address if mac_for(spec.uuid, spec.cidr, address) == mac.lower() else None


def is_ahead(spec: NetworkSpec, reservation: Reservation) -> bool:
    """Whether the network was born with this very reservation."""
    address, cidr = ip_address(reservation.address), ip_network(spec.cidr)
    index = int(address) - int(cidr.network_address)
    own_mac = mac_for(spec.uuid, spec.cidr, reservation.address)
    return 0 < index <= RESERVED_AHEAD and reservation.mac.lower() == own_mac


def special(description: etree._Element, spec: NetworkSpec) -> Iterator[Reservation]:
    """The reservations of a network that are for other MACs than the addresses' own."""
    for host in _hosts(description):
        one = _reservation(host)
        if ip_address(one.address) in ip_network(spec.cidr) and not is_ahead(spec, one):
            yield one


def same_network(description: etree._Element, spec: NetworkSpec) -> bool:
    """Whether libvirt's network is what the values say, reservations aside."""
    ip = description.find("ip")
    mtu = description.find("mtu")
    forwarders = tuple(one.get("addr", "") for one in description.iterfind("dns/forwarder"))
    return (
        ip is not None
        and mtu is not None
        and (ip.get("address"), ip.get("prefix")) == (spec.gateway, spec.cidr.partition("/")[2])
        and mtu.get("size") == str(spec.mtu)
        and forwarders == spec.dns_servers
        and bool(_hosts(description)) == spec.dhcp
    )


def merge(ahead: Iterable[Reservation], kept: Iterable[Reservation]) -> Iterator[Reservation]:
    """All reservations, the kept ones in place of those that clash with them."""
    kept = list(kept)
    macs, addresses = {one.mac for one in kept}, {one.address for one in kept}
    yield from kept
    yield from (one for one in ahead if one.mac not in macs and one.address not in addresses)


def clashes(host: etree._Element, reservation: Reservation) -> bool:
    """Whether dnsmasq could not serve both."""
    return is_of(host, reservation.mac) or host.get("ip") == reservation.address


def is_of(host: etree._Element, mac: str) -> bool:
    return host.get("mac", "").lower() == mac.lower()


def same_host(host: etree._Element, reservation: Reservation) -> bool:
    """Whether this is the reservation; the name does not matter."""
    return is_of(host, reservation.mac) and host.get("ip") == reservation.address


def _reservation(host: etree._Element) -> Reservation:
    return Reservation(host.get("mac", ""), host.get("ip", ""), host.get("name", ""))


def _hosts(description: etree._Element) -> list[etree._Element]:
    return description.findall("ip/dhcp/host")


def _unless(code: int, call: Any) -> None:
    """An error of this code says that it was done already."""
    try:
        call()
    except libvirt.libvirtError as error:
        if not has_code(error, code):
            raise
