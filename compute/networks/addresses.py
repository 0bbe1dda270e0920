"""Address management: MACs and addresses handed out, each once.

The database's constraints (a MAC once, an address once a subnet) are what makes it safe; a loser
of a race tries the next.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from compute.errors import NoMoreAddresses
from compute.hypervisor.interface import MAC_PREFIX, RESERVED_AHEAD, mac_for
from compute.models import Instance, Network, Port, PortAddress, Subnet, announce
from compute.models.at_hand import is_at_hand, keep_at_hand
from portal.compiled import Rows, given, insert, insert_if_free, update_each

# Of one port, as Neutron's max_fixed_ips_per_port. Without an end, one card could take all of a shared network's.
MOST_ADDRESSES = 5


def _newest() -> QuerySet[PortAddress, str]:
    rows = PortAddress.objects.filter(**given(PortAddress, "subnet"))
    return rows.order_by("-id").values_list("address", flat=True)[:1]


_NEWEST = Rows(_newest)


def new_mac() -> str:
    """A random MAC address; the constraint on ports makes sure that it is used once."""
    return MAC_PREFIX + "".join(f":{octet:02x}" for octet in secrets.token_bytes(3))


def create_port(
    network: Network,
    *,
    project_id: str,
    instance: Instance | None = None,
    position: int = 0,
    name: str = "",
    tag: str = "",
) -> Port:
    """A port with a MAC of its own on a network, without an address yet."""
    port = Port(
        network=network,
        project_id=project_id,
        instance=instance,
        position=position,
        name=name,
        mac=new_mac(),
        tag=tag,
        status="BUILD" if instance else "DOWN",
    )
    while not insert_if_free(port):
        port.mac = new_mac()
    return port


def _candidates(subnet: Subnet, taken: set[str]) -> Iterator[str]:
    pools = subnet.allocation_pools or []
    for pool in pools:
        first, last = ipaddress.ip_address(pool["start"]), ipaddress.ip_address(pool["end"])
        for number in range(int(first), int(last) + 1):
            address = str(type(first)(number))
            if address not in taken and not _was_given_up(subnet, address):
                yield address


def _was_given_up(subnet: Subnet, address: str) -> bool:
    """Whether a card still has the MAC of this free address: it lost the address while its guest may still use it."""
    if subnet.ip_version != 4:
        return False
    mac = mac_for(subnet.network_id, subnet.cidr, address)
    return Port.objects.filter(mac=mac).exclude(instance=None).exists()


def fits(subnet: Subnet, address: str) -> bool:
    """Whether an address lies in the subnet and is not its gateway's, its network's or its broadcast."""
    try:
        wanted, network = ipaddress.ip_address(address), ipaddress.ip_network(subnet.cidr)
    except ValueError:
        return False
    return wanted in network and address not in (
        str(network.network_address),
        str(network.broadcast_address),
        subnet.gateway_ip,
    )


def allocate(port: Port, address: str | None = None) -> None:
    """Give the port an address of its network, IPv4 and IPv6 each where there is a subnet, unless it has one.

    ``address`` asks for a certain one, and for no other. A port that Nacelle made gets the MAC of its
    IPv4 address, for which hosts have a reservation already (``mac_for``). Raises NoMoreAddresses when
    the subnets are full, the address is in use, or it lies in none of them.
    """
    subnets, held = list(port.network.subnets.all()), port.addresses.all()
    if address is not None and all(one.address != address for one in held):
        _allocate_on(port, [subnet for subnet in subnets if fits(subnet, address)], address)
    elif address is None and not held:
        if len(subnets) == 1 and _take_next([port], subnets[0]):
            return
        for version in sorted({subnet.ip_version for subnet in subnets}):
            _allocate_on(port, [subnet for subnet in subnets if subnet.ip_version == version], None)
    if not port.preserve:
        _take_mac_of_address(port)


def allocate_next(ports: Sequence[Port]) -> None:
    """Give several new cards their addresses at once, with their networks' subnets and their addresses at hand.

    Only what is usual: the addresses after the newest. All others are left to ``allocate``.
    """
    found: dict[UUID, tuple[Subnet, list[Port]]] = {}
    for port in ports:
        subnets = list(port.network.subnets.all())
        if len(subnets) == 1 and not port.addresses.all():
            found.setdefault(subnets[0].pk, (subnets[0], []))[1].append(port)
    for subnet, those in found.values():
        _take_next(those, subnet)


def _take_next(ports: Sequence[Port], subnet: Subnet) -> bool:
    """Give each port one of the addresses after the newest, and the MAC that belongs to it. False: none has got one.

    The usual case of new cards, which need not look at all addresses. A MAC that is somebody's may be that of
    a card which lost the address (``_was_given_up``).
    """
    if subnet.ip_version != 4 or any(port.preserve for port in ports):
        return False
    try:
        with transaction.atomic():
            if len(ports) > 1:  # else it tries, and whoever loses looks again
                list(Subnet.objects.select_for_update(no_key=True).filter(pk=subnet.pk).values_list("pk"))
            found = [
                PortAddress(port=port, subnet=subnet, address=address)
                for port, address in zip(ports, _next(subnet, len(ports)), strict=False)
            ]
            if len(found) < len(ports):
                return False
            macs = {one.port_id: mac_for(subnet.network_id, subnet.cidr, one.address) for one in found}
            insert(*found)
            update_each(Port, ["mac"], {port_id: [mac] for port_id, mac in macs.items()})
    except IntegrityError:
        return False
    for port, one in zip(ports, found, strict=True):
        port.mac = macs[port.pk]
        _add_at_hand(port, one)
    return True


def _next(subnet: Subnet, count: int) -> list[str]:
    """The addresses after the newest one, as far as they are in the same pool and hosts have reservations for them."""
    newest = _NEWEST.first(subnet=subnet)
    last = int(ipaddress.IPv4Address(newest)) if newest else None
    reserved = int(ipaddress.IPv4Network(subnet.cidr).network_address) + RESERVED_AHEAD
    for pool in subnet.allocation_pools or []:
        start, end = int(ipaddress.IPv4Address(pool["start"])), int(ipaddress.IPv4Address(pool["end"]))
        if last is None or start <= last < end:
            first = start if last is None else last + 1
            return [str(ipaddress.IPv4Address(one)) for one in range(first, min(end, reserved, first + count - 1) + 1)]
    return []


def _add_at_hand(port: Port, found: PortAddress) -> None:
    """Where a port's addresses are at hand, this one is, too."""
    if is_at_hand(port, "addresses"):
        keep_at_hand(port, "addresses", [*port.addresses.all(), found])


def allocate_on(port: Port, subnet: Subnet) -> None:
    """Give the port any address of this subnet. Raises NoMoreAddresses."""
    _allocate_on(port, [subnet], None)


def _allocate_on(port: Port, subnets: list[Subnet], wanted: str | None) -> None:
    for subnet in subnets:
        taken = set(PortAddress.objects.filter(subnet=subnet).values_list("address", flat=True))
        for candidate in [wanted] if wanted else _candidates(subnet, taken):
            try:
                with transaction.atomic():
                    found = PortAddress.objects.create(port=port, subnet=subnet, address=candidate)
                _add_at_hand(port, found)
                return
            except IntegrityError:
                continue
    where = ", ".join(f"{subnet} ({subnet.cidr})" for subnet in subnets) or "the network"
    raise NoMoreAddresses(
        f"The address {wanted} is in use." if wanted else f"There is no free address left on {where}."
    )


def _take_mac_of_address(port: Port) -> None:
    """Give the port the MAC that belongs to its address; it keeps its own if another port has that one."""
    first = next((one for one in port.addresses.all() if one.subnet.ip_version == 4), None)
    if first is None:
        return
    mac = mac_for(port.network_id, first.subnet.cidr, first.address)
    if mac == port.mac:
        return
    with suppress(IntegrityError), transaction.atomic():
        Port.objects.filter(pk=port.pk).update(mac=mac)
        port.mac = mac


def bind(port: Port) -> None:
    """Say that the port is being plugged in. Those that were made for a server are from the beginning."""
    if port.status == "DOWN":
        Port.objects.filter(pk=port.pk).exclude(status="ACTIVE").update(status="BUILD")


def free(instance: Instance) -> None:
    """Delete the instance's own ports with their addresses; unplug those that the user made."""
    for port in instance.ports.all():
        announce("port", port.pk, port.project_id)
    instance.ports.filter(preserve=False).delete()
    instance.ports.update(instance=None, position=0, status="DOWN", tag="")
