"""Networks of projects: a range of addresses behind NAT on each host, as the network ``private`` is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.utils import timezone

from compute.errors import Invalid
from compute.models import Network, announce
from compute.networks import quota, removals
from compute.networks.errors import InvalidSharedSetting, NetworkInUse, NetworkNotFound
from portal.identity.actor import Actor
from portal.identity.models import Project
from portal.identity.policy import enforce

SHARE = "network:modify:shared"


@dataclass(frozen=True)
class NewNetwork:
    """A network that somebody wants. ``owner`` None: the actor's project."""

    name: str = ""
    description: str = ""
    shared: bool = False
    mtu: int = 1500
    owner: str | None = None


def create_network(*, actor: Actor, wanted: NewNetwork) -> Network:
    """A network without a subnet yet; hosts learn of it when a server is plugged in.

    Raises OverQuota, Invalid and Forbidden.
    """
    owner = wanted.owner or actor.project_id
    enforce(actor, "network:modify", owner)
    if wanted.shared:
        enforce(actor, SHARE)
    if owner is None or not Project.objects.filter(pk=owner).exists():
        raise Invalid("A network belongs to a project; the token is not scoped to one.")
    with transaction.atomic():
        quota.check("network", owner)
        network = Network.objects.create(
            name=wanted.name, description=wanted.description, shared=wanted.shared, mtu=wanted.mtu, project_id=owner
        )
        announce("network", network.pk, owner)
    return network


def update_network(*, actor: Actor, network: Network, fields: dict[str, Any]) -> None:
    """Change ``name``, ``description`` and ``shared``. Raises InvalidSharedSetting, NetworkNotFound and Forbidden."""
    enforce(actor, "network:modify", network.project_id)
    if fields.get("shared", network.shared) != network.shared:
        enforce(actor, SHARE)
    with transaction.atomic():
        rows = Network.objects.select_for_update().filter(pk=network.pk)
        if rows.first() is None:
            raise NetworkNotFound(f"Network {network.pk} could not be found.")
        if fields.get("shared") is False and network.ports.exclude(project_id=network.project_id).exists():
            raise InvalidSharedSetting(
                f"Unable to reconfigure sharing settings for network {network.pk}. Other projects use it."
            )
        rows.update(**fields, updated_at=timezone.now())
        announce("network", network.pk, network.project_id)


def delete_network(*, actor: Actor, network: Network) -> None:
    """Delete a network without ports, with its subnets; it goes from the hosts, too.

    Raises NetworkInUse, NetworkNotFound and Forbidden.
    """
    enforce(actor, "network:modify", network.project_id)
    with transaction.atomic():
        if Network.objects.select_for_update().filter(pk=network.pk).first() is None:
            raise NetworkNotFound(f"Network {network.pk} could not be found.")
        if network.ports.exists():
            raise NetworkInUse(
                f"Unable to complete operation on network {network.pk}. "
                "There are one or more ports still in use on the network."
            )
        removals.schedule(network.pk)
        Network.objects.filter(pk=network.pk).delete()
        announce("network", network.pk, network.project_id)
