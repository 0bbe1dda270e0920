"""From rows to the driver's values: the guest, its cards, its addresses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from django.db.models import QuerySet

from compute.headroom import headroom_of
from compute.hypervisor.interface import Guest, Nic, Reservation
from compute.models import Host, Instance, Port, PortAddress, Subnet
from compute.models.at_hand import keep_at_hand
from compute.operations.layout import Layout
from portal.compiled import Rows, among

if TYPE_CHECKING:
    from compute.hypervisor.interface import Hypervisor
    from compute.operations.engine import Operation


def _ports() -> QuerySet[Port]:
    rows = Port.objects.filter(**among(Port, instance="instance_ids")).select_related("network")
    return rows.order_by("position", "created_at")


def _addresses() -> QuerySet[PortAddress]:
    (those,) = among(Port, instance="instance_ids").values()
    return PortAddress.objects.filter(port__instance__in=those)


_PORTS, _ADDRESSES = Rows(_ports), Rows(_addresses)
_SUBNETS = Rows(lambda: Subnet.objects.filter(**among(Subnet, network="network_ids")))


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
        metadata=mark_of(instance),
    )


def define_guest(operation: Operation) -> None:
    """The guest is defined as the rows say. An adopted one keeps its own definition, and gets our mark."""
    instance = operation.instance
    if instance.is_adopted:
        operation.hypervisor.adopt(instance.id, mark_of(instance))
    else:
        operation.hypervisor.define(guest_of(instance))


def remove_guest(hypervisor: Hypervisor, instance: Instance) -> None:
    """Cut the guest's power and forget its definition. Of an adopted one's disks, those go that it was said to."""
    if instance.is_adopted:
        hypervisor.disown(instance.id, tuple(instance.adopted["delete_disks"]))
    else:
        hypervisor.remove(instance.id)


def mark_of(instance: Instance) -> tuple[tuple[str, str], ...]:
    """What a definition says of whose it is."""
    return (("name", instance.name), ("project", instance.project_id), ("flavor", str(instance.flavor["name"])))


def ports_of(instance: Instance) -> list[Port]:
    """The instance's ports in the order of its cards, with networks and addresses at hand."""
    return ports_of_all([instance])[instance.pk]


def ports_of_all(instances: Sequence[Instance]) -> dict[UUID, list[Port]]:
    """The ports of each of these instances, likewise."""
    ids = {"instance_ids": [instance.pk for instance in instances]}
    found: dict[UUID, list[Port]] = {instance.pk: [] for instance in instances}
    ports = _PORTS.all(**ids)
    addresses = _ADDRESSES.all(**ids) if ports else []
    subnets = {one.pk: one for one in _SUBNETS.all(network_ids={port.network_id for port in ports})} if ports else {}
    addresses = [one for one in addresses if one.subnet_id in subnets]  # else both went in between
    for address in addresses:
        address.subnet = subnets[address.subnet_id]
    for port in ports:
        keep_at_hand(port, "addresses", [one for one in addresses if one.port_id == port.pk])
        keep_at_hand(port.network, "subnets", [one for one in subnets.values() if one.network_id == port.network_id])
        assert port.instance_id is not None
        found[port.instance_id].append(port)
    return found


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
