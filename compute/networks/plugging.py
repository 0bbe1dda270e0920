"""Plugging: which network or port a server's card is for, and the port's row while a server has it."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from django.db import transaction
from django.db.models import Case, Exists, OuterRef, Q, QuerySet, When
from django.utils import timezone

from compute.errors import Invalid
from compute.models import Instance, Network, Port, SecurityGroup, Subnet, announce
from compute.networks import addresses
from compute.networks.errors import NetworkNotFound, PortInUse, PortNotFound
from portal.compiled import Rows, given, insert
from portal.identity.actor import Actor
from portal.identity.visible import VisibleRows

# What a guest has slots for besides its disks. Without an end, one server could take a shared network's addresses.
MOST_CARDS = 16
_PortGroup = Port.security_groups.through


_HAS_SUBNET = Exists(Subnet.objects.filter(network=OuterRef("pk")))


def _visible(actor: Actor) -> QuerySet[Network, Network]:
    return Network.objects.visible_to(actor).filter(**given(Network, "pk")).annotate(has_subnet=_HAS_SUBNET)


def _usable() -> QuerySet[Network, Network]:
    own = Q(**given(Network, "project"))
    visible = Network.objects.filter(own | Q(shared=True), _HAS_SUBNET, external=False)
    return visible.order_by(Case(When(own, then=0), default=1))[:2]  # more than one is too many, however many


_VISIBLE, _USABLE = VisibleRows(_visible), Rows(_usable)


@dataclass(frozen=True)
class NetworkRequest:
    """One card wanted: on a network (with an address of the user's choice, perhaps), or an existing port."""

    network_id: UUID | None = None
    port_id: UUID | None = None
    address: str | None = None
    tag: str = ""


@dataclass(frozen=True)
class Card:
    """The rows that a request names. Without ``port`` one is to be made, with this address or any."""

    network: Network
    port: Port | None = None
    address: str | None = None
    tag: str = ""


def find(actor: Actor, wanted: NetworkRequest, project_id: str) -> Card:
    """What a request names, for a server of this project; one that names nothing means the only network there is.

    Raises PortNotFound, PortInUse, NetworkNotFound and Invalid.
    """
    if wanted.port_id is not None:
        port = _free_port(wanted.port_id, project_id)
        return Card(port.network, port, tag=wanted.tag)
    if wanted.network_id is None:
        return Card(only_network(project_id), tag=wanted.tag)
    network = _VISIBLE.first(actor, pk=wanted.network_id)
    if network is None:
        raise NetworkNotFound(f"Network {wanted.network_id} could not be found.")
    _check_subnet(network, network.has_subnet)  # type: ignore[attr-defined]  # an annotation
    if wanted.address and not any(addresses.fits(subnet, wanted.address) for subnet in network.subnets.all()):
        raise Invalid(f"Fixed IP address {wanted.address} does not belong to network {network.id}.", about="network")
    return Card(network, None, wanted.address, wanted.tag)


def _free_port(port_id: UUID, project_id: str) -> Port:
    port = Port.objects.filter(pk=port_id, project_id=project_id).select_related("network").first()
    if port is None:
        raise PortNotFound(f"Port {port_id} could not be found.")
    if port.instance_id is not None:
        raise PortInUse(f"Port {port_id} is still in use.")
    _check_subnet(port.network, port.network.subnets.exists())
    return port


def _check_subnet(network: Network, has_subnet: bool) -> None:
    """Hosts know networks by the subnet that they have. Raises Invalid."""
    if not has_subnet:
        raise Invalid(f"Network {network.id} requires a subnet in order to boot instances on.", about="network")


def only_network(project_id: str) -> Network:
    """The network of a server that names none: the one of the project's own, or else the shared one. Raises Invalid."""
    usable = _USABLE.all(project=project_id)
    found = [network for network in usable if network.project_id == project_id] or usable
    if len(found) > 1:
        raise Invalid("Multiple possible networks found, use a Network ID to be more specific.", about="network")
    if not found:
        raise Invalid(
            "There is no network that this project can use; ask an administrator to share one.", about="network"
        )
    return found[0]


def plug(instance: Instance, card: Card, groups: list[SecurityGroup], position: int) -> Port:
    """The port of a card, the instance's from now on. Call it in the transaction of the request, and announce the port.

    A port that is made for it wears the groups. Raises PortInUse and NoMoreAddresses.
    """
    if card.port is not None:
        return _plug_existing(instance, card.port, position, card.tag)
    port = addresses.create_port(
        card.network, project_id=instance.project_id, instance=instance, position=position, tag=card.tag
    )
    if card.address:
        addresses.allocate(port, card.address)
    insert(*[_PortGroup(port_id=port.pk, securitygroup_id=group_id) for group_id in {group.pk for group in groups}])
    return port


def _plug_existing(instance: Instance, port: Port, position: int, tag: str) -> Port:
    free = Port.objects.filter(pk=port.pk, instance=None)
    if not free.update(instance=instance, position=position, tag=tag, preserve=True, updated_at=timezone.now()):
        raise PortInUse(f"Port {port.id} is still in use.")
    return Port.objects.get(pk=port.pk)


def unplug(instance: Instance, port_id: UUID | str) -> None:
    """The instance has the port no more: one that was made for it is deleted. Nothing to do if it has not got it."""
    with transaction.atomic():
        mine = Port.objects.filter(pk=port_id, instance=instance)
        port = mine.first()
        if port is None:
            return
        if port.preserve:
            mine.update(instance=None, position=0, status="DOWN", tag="", updated_at=timezone.now())
        else:
            mine.delete()
        announce("port", port.pk, port.project_id)


def in_use(port: Port) -> None:
    """Say that the guest has the card."""
    Port.objects.filter(pk=port.pk).update(status="ACTIVE", updated_at=timezone.now())
    announce("port", port.pk, port.project_id)
