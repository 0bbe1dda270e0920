"""Ports that users make, to plug servers into later."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.utils import timezone

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
        if not among:
            raise InvalidIpForNetwork(f"Network {port.network_id} has no subnet, so there is no address on it.")
        if one.address is None:
            addresses.allocate_on(port, among[0])
        elif any(addresses.fits(subnet, one.address) for subnet in among):
            addresses.allocate(port, one.address)
        else:
            raise InvalidIpForNetwork(
                f"IP address {one.address} is not a valid IP for any of the subnets on the specified network."
            )


def _finish(port: Port, wanted: PortRequest, mac: str | None) -> None:
    port.description, port.preserve = wanted.description, True
    port.mac = mac or port.mac
    try:
        with transaction.atomic():
            port.save(update_fields=["description", "preserve", "mac"])
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


def update_port(*, actor: Actor, port: Port, fields: dict[str, Any]) -> None:
    """Change ``name``, ``description``, ``groups`` (ids) and ``fixed`` (FixedAddress). Those not named stay.

    The first address of a port that a server uses is the one that DHCP gives its card; it stays, and first.

    Raises SubnetNotFound, SecurityGroupNotFound, InvalidIpForNetwork, NoMoreAddresses, PortInUse, PortNotFound
    and Forbidden; nothing is changed then.
    """
    enforce(actor, "network:modify", port.project_id)
    with transaction.atomic():
        rows = Port.objects.select_for_update().filter(pk=port.pk)
        now = rows.select_related("network").first()
        if now is None:
            raise PortNotFound(f"Port {port.pk} could not be found.")
        if "fixed" in fields:
            _change_addresses(now, fields["fixed"])
        if "groups" in fields:
            now.security_groups.set(_groups(now.project_id, fields["groups"]))
        plain = {name: fields[name] for name in ("name", "description") if name in fields}
        rows.update(**plain, updated_at=timezone.now())
        announce("port", now.pk, now.project_id)
        if now.instance_id is not None:
            announce("server", now.instance_id, now.project_id)


def _change_addresses(port: Port, fixed: tuple[FixedAddress, ...]) -> None:
    """The port has these addresses and no others; those that it has stay, if they are among them."""
    has = list(port.addresses.all())
    named = {one.address for one in fixed}
    kept = [one for one in has if one.address in named]
    # An address that is not named is any one of the subnet: first one that is there.
    spare = [one for one in has if one not in kept]
    missing = []
    for one in fixed:
        if one.address is not None and any(row.address == one.address for row in kept):
            continue
        match = next((row for row in spare if one.address is None and row.subnet_id == one.subnet_id), None)
        if match is None:
            missing.append(one)
        else:
            spare.remove(match)
    if port.instance_id is not None and has and has[0] in spare:
        raise PortInUse(
            f"Port {port.pk} is in use by server {port.instance_id}; {has[0].address} is its first address."
        )
    port.addresses.filter(pk__in=[one.pk for one in spare]).delete()
    if missing:
        _give_addresses(port, tuple(missing))


def delete_port(*, actor: Actor, port: Port) -> None:
    """Delete a port that no server uses. Raises PortInUse, PortNotFound and Forbidden."""
    enforce(actor, "network:modify", port.project_id)
    with transaction.atomic():
        found = Port.objects.select_for_update().filter(pk=port.pk).first()
        if found is None:
            raise PortNotFound(f"Port {port.pk} could not be found.")
        if found.instance_id is not None:
            raise PortInUse(f"Port {port.pk} is in use by server {found.instance_id}; delete or detach that first.")
        found.delete()
        announce("port", port.pk, port.project_id)
