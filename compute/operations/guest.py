"""From rows to the driver's values: the guest, its cards, its addresses."""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import QuerySet

from compute.headroom import headroom_of
from compute.hypervisor.interface import Guest, Nic, Reservation
from compute.models import Host, Instance, Network, Port, PortAddress, Subnet
from compute.models.at_hand import keep_at_hand
from compute.operations.layout import Layout
from portal.compiled import Rows, given


def _ports() -> QuerySet[Port]:
    return Port.objects.filter(**given(Port, "instance")).select_related("network").order_by("position", "created_at")


def _addresses() -> QuerySet[PortAddress]:
    return PortAddress.objects.filter(port__instance=given(Port, "instance")["instance"])


def _subnets() -> QuerySet[Subnet]:
    of_networks = Network.objects.filter(ports__instance=given(Port, "instance")["instance"])
    return Subnet.objects.filter(network__in=of_networks)


_PORTS, _ADDRESSES, _SUBNETS = Rows(_ports), Rows(_addresses), Rows(_subnets)


def guest_of(instance: Instance, host: Host | None = None, *, ports: Iterable[Port] | None = None) -> Guest:
    """The guest as the instance's rows say that it shall be defined.

    ``host``: as on another than its own. ``ports``: its own, if at hand.
    """
    host = host or instance.host
    assert host is not None
    room = headroom_of(instance.flavor)
    return Guest(
        uuid=instance.id,
        name=instance.domain_name,
        title=instance.name,
        vcpus=instance.vcpus,
        memory_mb=instance.memory_mb,
        max_vcpus=room.vcpus if room.vcpus > instance.vcpus else None,
        max_memory_mb=room.memory_mb if room.memory_mb > instance.memory_mb else None,
        disks=Layout.of(instance).disks(),
        nics=tuple(nic_of(port) for port in (ports_of(instance) if ports is None else ports)),
        domain_type=host.domain_type or None,
        console_listen=host.console_address,
        metadata=(
            ("name", instance.name),
            ("project", instance.project_id),
            ("flavor", str(instance.flavor["name"])),
        ),
    )


def ports_of(instance: Instance) -> list[Port]:
    """The instance's ports in the order of its cards, with networks and addresses at hand."""
    ports = _PORTS.all(instance=instance)
    subnets = {one.id: one for one in _SUBNETS.all(instance=instance)}
    addresses = _ADDRESSES.all(instance=instance)
    for address in addresses:
        address.subnet = subnets[address.subnet_id]
    for port in ports:
        keep_at_hand(port, "addresses", [one for one in addresses if one.port_id == port.id])
        keep_at_hand(port.network, "subnets", [one for one in subnets.values() if one.network_id == port.network_id])
    return ports


def nic_of(port: Port) -> Nic:
    """The network card of a port."""
    address = next(iter(port.addresses.all()), None)
    return Nic(
        mac=port.mac, network=port.network_id, address=address.address if address else None, mtu=port.network.mtu
    )


def reservation_of(port: Port, hostname: str) -> Reservation | None:
    """The DHCP reservation of a port; None for a port without an address."""
    address = next(iter(port.addresses.all()), None)
    return Reservation(mac=port.mac, address=address.address, hostname=hostname) if address else None
