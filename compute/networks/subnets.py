"""The subnet of a network: one, of IPv4, with a gateway that is the host's own address on it."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from compute.errors import Conflict
from compute.models import Network, PortAddress, Subnet, announce
from compute.networks import quota, ranges, removals
from compute.networks.errors import InvalidInput, NetworkNotFound, SubnetInUse, SubnetNotFound
from portal.identity.actor import Actor
from portal.identity.policy import enforce

# What a host knows of a network only when it brings it up.
_ON_HOSTS = frozenset({"gateway_ip", "enable_dhcp", "dns_nameservers"})


@dataclass(frozen=True)
class NewSubnet:
    """A subnet that somebody wants. ``gateway`` None: the first address; ``pools`` None: all but the gateway."""

    network_id: UUID
    cidr: str
    name: str = ""
    description: str = ""
    gateway: str | None = None
    dhcp: bool = True
    dns: tuple[str, ...] = ()
    pools: tuple[dict[str, str], ...] | None = None


def create_subnet(*, actor: Actor, wanted: NewSubnet) -> Subnet:
    """Give a network its subnet. Raises NetworkNotFound, InvalidInput, Conflict, OverQuota and Forbidden."""
    network = Network.objects.visible_to(actor).filter(pk=wanted.network_id).first()
    if network is None:
        raise NetworkNotFound(f"Network {wanted.network_id} could not be found.")
    enforce(actor, "network:modify", network.project_id)
    block = ranges.parse(wanted.cidr)
    with transaction.atomic():
        # Whoever makes another subnet has locked the same rows, so that of two that overlap one comes second.
        if network.pk not in Network.objects.select_for_update().order_by("pk").values_list("pk", flat=True):
            raise NetworkNotFound(f"Network {wanted.network_id} could not be found.")
        _check_network(network)
        ranges.check(block)
        quota.check("subnet", network.project_id)
        subnet = _row(network, wanted, block)
        subnet.save(force_insert=True)
        announce("network", network.pk, network.project_id)
    return subnet


def _check_network(network: Network) -> None:
    if network.subnets.exists():
        raise InvalidInput(f"Network {network.pk} has a subnet already; a network has one here.")
    if removals.are_pending(network.pk):
        raise Conflict(f"Network {network.pk} is still being taken off the hosts; try again in a moment.")


def _row(network: Network, wanted: NewSubnet, block: IPv4Network) -> Subnet:
    gateway = _gateway(block, wanted.gateway)
    pools = wanted.pools
    return Subnet(
        network=network,
        project_id=network.project_id,
        name=wanted.name,
        description=wanted.description,
        cidr=str(block),
        gateway_ip=str(gateway),
        enable_dhcp=wanted.dhcp,
        dns_nameservers=list(wanted.dns),
        allocation_pools=ranges.pools_of(block, gateway)
        if pools is None
        else ranges.checked_pools(block, gateway, list(pools)),
    )


def _gateway(block: IPv4Network, text: str | None) -> IPv4Address:
    return block.network_address + 1 if text is None else ranges.inside(block, text, "The gateway")


def update_subnet(*, actor: Actor, subnet: Subnet, fields: dict[str, Any]) -> None:
    """Change ``name``, ``description``, ``allocation_pools``; and ``gateway_ip``, ``enable_dhcp`` and
    ``dns_nameservers`` while no server is plugged into the network.

    Raises InvalidInput, SubnetInUse, SubnetNotFound and Forbidden.
    """
    enforce(actor, "network:modify", subnet.project_id)
    with transaction.atomic():
        network = _locked(subnet)
        changed = {name: value for name, value in fields.items() if value != getattr(subnet, name)}
        if _ON_HOSTS & set(changed):
            _check_unplugged(subnet, "Its servers would not learn of the change")
            removals.schedule(network.pk)
        block = ranges.parse(subnet.cidr)
        gateway = _gateway(block, changed.get("gateway_ip", subnet.gateway_ip))
        if PortAddress.objects.filter(subnet=subnet, address=str(gateway)).exists():
            raise SubnetInUse(f"Unable to complete operation on subnet {subnet.pk}: a port has the address {gateway}.")
        pools = changed.get("allocation_pools", subnet.allocation_pools)
        changed["allocation_pools"] = ranges.checked_pools(block, gateway, pools)
        Subnet.objects.filter(pk=subnet.pk).update(**changed, updated_at=timezone.now())
        announce("network", network.pk, network.project_id)


def delete_subnet(*, actor: Actor, subnet: Subnet) -> None:
    """Delete a subnet of which no port has an address; the network goes from the hosts until it has another.

    Raises SubnetInUse, SubnetNotFound and Forbidden.
    """
    enforce(actor, "network:modify", subnet.project_id)
    with transaction.atomic():
        network = _locked(subnet)
        if PortAddress.objects.filter(subnet=subnet).exists():
            raise SubnetInUse(
                f"Unable to complete operation on subnet {subnet.pk}: "
                "One or more ports have an IP allocation from this subnet."
            )
        _check_unplugged(subnet, "Servers are plugged into its network")
        removals.schedule(network.pk)
        Subnet.objects.filter(pk=subnet.pk).delete()
        announce("network", network.pk, network.project_id)


def _locked(subnet: Subnet) -> Network:
    """The subnet's network, which nobody else changes before this transaction ends. Raises SubnetNotFound."""
    network = Network.objects.select_for_update().filter(pk=subnet.network_id, subnets=subnet.pk).first()
    if network is None:
        raise SubnetNotFound(f"Subnet {subnet.pk} could not be found.")
    return network


def _check_unplugged(subnet: Subnet, why: str) -> None:
    if subnet.network.ports.exclude(instance=None).exists():
        raise SubnetInUse(f"Unable to complete operation on subnet {subnet.pk}: {why}.")
