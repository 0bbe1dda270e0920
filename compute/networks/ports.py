"""Ports that users make, to plug servers into later."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction

from compute.errors import Invalid
from compute.models import Network, Port, SecurityGroup, announce
from compute.networks import addresses, quota
from compute.networks.errors import (
    InvalidIpForNetwork,
    MacAddressInUse,
    NetworkNotFound,
    PortInUse,
    PortNotFound,
    SecurityGroupNotFound,
    SubnetNotFound,
)
from compute.networks.groups import default_group
from portal.identity.actor import Actor
from portal.identity.models import Project
from portal.identity.policy import enforce

# A card's own address: the lowest bit of the first octet would make it a group of cards.
_MAC = re.compile(r"[0-9a-f][02468ace](:[0-9a-f]{2}){5}", re.ASCII)


@dataclass(frozen=True)
class FixedAddress:
    """An address that is wanted: of a subnet, a certain one, or both."""

    subnet_id: UUID | None = None
    address: str | None = None


@dataclass(frozen=True)
class PortRequest:
    """A port that somebody wants. ``fixed`` None: one address of each kind that the network has; (): none."""

    network_id: UUID
    name: str = ""
    description: str = ""
    admin_state_up: bool = True
    fixed: tuple[FixedAddress, ...] | None = None
    groups: tuple[UUID, ...] | None = None
    mac: str | None = None
    owner: str | None = None


def create_port(*, actor: Actor, wanted: PortRequest) -> Port:
    """Make a port that outlives the servers that it is plugged into.

    Raises NetworkNotFound, SubnetNotFound, SecurityGroupNotFound, InvalidIpForNetwork, NoMoreAddresses,
    MacAddressInUse, OverQuota, Invalid and Forbidden; nothing is left behind then.
    """
    owner = wanted.owner or actor.project_id
    enforce(actor, "network:modify", owner)
    if owner is None or not Project.objects.filter(pk=owner).exists():
        raise Invalid("A port belongs to a project; the token is not scoped to one.")
    network = Network.objects.visible_to(actor).filter(pk=wanted.network_id).first()
    if network is None:
        raise NetworkNotFound(f"Network {wanted.network_id} could not be found.")
    mac = _mac(actor, network, wanted.mac)
    with transaction.atomic():
        quota.check("port", owner)
        port = addresses.create_port(network, project_id=owner, name=wanted.name)
        _give_addresses(port, wanted.fixed)
        _finish(port, wanted, mac)
        port.security_groups.set(_groups(owner, wanted.groups))
        announce("port", port.pk, owner)
    return port


def _mac(actor: Actor, network: Network, mac: str | None) -> str | None:
    if mac is None:
        return None
    # Neutron's rule: on others' networks, nobody picks an address that could be somebody else's card.
    if network.project_id != actor.project_id:
        enforce(actor, "network:modify:foreign_mac")
    if not _MAC.fullmatch(mac.lower()) or mac == "00:00:00:00:00:00":
        raise Invalid(f"'{mac[:32]}' is not a valid MAC address")
    return mac.lower()


def _give_addresses(port: Port, fixed: tuple[FixedAddress, ...] | None) -> None:
    if fixed is None:
        addresses.allocate(port)
        return
    subnets = {subnet.id: subnet for subnet in port.network.subnets.all()}
    for one in fixed:
        if one.subnet_id is not None and one.subnet_id not in subnets:
            raise SubnetNotFound(f"Subnet {one.subnet_id} could not be found on network {port.network_id}.")
        among = [subnets[one.subnet_id]] if one.subnet_id is not None else list(subnets.values())
        if one.address is None:
            addresses.allocate_on(port, among[0])
        elif any(addresses.fits(subnet, one.address) for subnet in among):
            addresses.allocate(port, one.address)
        else:
            raise InvalidIpForNetwork(
                f"IP address {one.address} is not a valid IP for any of the subnets on the specified network."
            )


def _finish(port: Port, wanted: PortRequest, mac: str | None) -> None:
    port.description, port.admin_state_up, port.preserve = wanted.description, wanted.admin_state_up, True
    port.mac = mac or port.mac
    try:
        with transaction.atomic():
            port.save(update_fields=["description", "admin_state_up", "preserve", "mac"])
    except IntegrityError as error:
        raise MacAddressInUse(f"The mac address {mac} is in use on network {port.network_id}.") from error


def _groups(owner: str, wanted: tuple[UUID, ...] | None) -> list[SecurityGroup]:
    default = default_group(owner)
    if wanted is None:
        return [default]
    found = {group.id: group for group in SecurityGroup.objects.filter(pk__in=wanted, project_id=owner)}
    for group_id in wanted:
        if group_id not in found:
            raise SecurityGroupNotFound(f"Security group {group_id} does not exist")
    return list(found.values())


def find_port(*, actor: Actor, port_id: UUID) -> Port:
    """A port of the actor's project. Raises PortNotFound."""
    own: dict[str, Any] = {} if actor.is_admin else {"project_id": actor.project_id}
    port = Port.objects.filter(pk=port_id, **own).first()
    if port is None:
        raise PortNotFound(f"Port {port_id} could not be found.")
    return port


def delete_port(*, actor: Actor, port: Port) -> None:
    """Delete a port that no server uses. Raises PortInUse, PortNotFound and Forbidden."""
    enforce(actor, "network:modify", port.project_id)
    with transaction.atomic():
        free = Port.objects.filter(pk=port.pk, instance=None)
        if not free.delete()[0]:
            if Port.objects.filter(pk=port.pk).exists():
                raise PortInUse(f"Port {port.pk} is in use by server {port.instance_id}; delete or detach that first.")
            raise PortNotFound(f"Port {port.pk} could not be found.")
        announce("port", port.pk, port.project_id)
