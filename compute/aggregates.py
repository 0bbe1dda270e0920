"""Writing host aggregates. Hosts' zones follow in the same transaction, and never under a host's instances."""

from __future__ import annotations

from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from compute import zones
from compute.errors import Conflict, Invalid, NotFound
from compute.models import ZONE_KEY, Aggregate, Host, Instance, announce
from compute.models.host import default_zone
from portal.identity.actor import Actor
from portal.identity.policy import enforce

RULE = "os_compute_api:os-aggregates:"


def create_aggregate(actor: Actor, *, name: str, zone: str | None = None) -> Aggregate:
    """A new aggregate without hosts; with ``zone`` it is an availability zone. Raises Conflict for a name in use."""
    enforce(actor, RULE + "create")
    try:
        with transaction.atomic():
            made = Aggregate.objects.create(name=name, metadata={ZONE_KEY: zone} if zone else {})
            announce("aggregate", made.pk)
    except IntegrityError as error:
        raise Conflict(f"Aggregate {name} already exists.") from error
    return made


def update_aggregate(actor: Actor, aggregate: Aggregate, *, changes: dict[str, str | None]) -> None:
    """Change what ``changes`` holds of ``name`` and ``zone`` (None: no zone any more).

    Raises Conflict for a name in use, Invalid where the hosts cannot be in that zone, NotFound.
    """
    enforce(actor, RULE + "update")
    try:
        with transaction.atomic():
            fresh = _locked(aggregate)
            fields: dict[str, Any] = {"name": changes["name"]} if "name" in changes else {}
            if "zone" in changes:
                fields["metadata"] = _with_items(fresh, {ZONE_KEY: changes["zone"]}, "update aggregate")
            _write(aggregate, fields)
    except IntegrityError as error:
        raise Conflict(f"Aggregate {changes['name']} already exists.") from error


def set_metadata(actor: Actor, aggregate: Aggregate, *, items: dict[str, str | None]) -> None:
    """Set items of the metadata; None takes an item away, the zone too.

    Raises Invalid where the hosts cannot be in that zone, NotFound.
    """
    enforce(actor, RULE + "set_metadata")
    with transaction.atomic():
        metadata = _with_items(_locked(aggregate), items, "update metadata of aggregate")
        _write(aggregate, {"metadata": metadata})


def delete_aggregate(actor: Actor, aggregate: Aggregate) -> None:
    """Delete an aggregate that has no host. Raises Invalid and NotFound."""
    enforce(actor, RULE + "delete")
    with transaction.atomic():
        fresh = _locked(aggregate)
        if fresh.hosts.exists():
            raise Invalid(f"Cannot delete aggregate {fresh.pk}. Reason: Host aggregate is not empty.")
        announce("aggregate", fresh.pk)
        fresh.delete()


def add_host(actor: Actor, aggregate: Aggregate, *, host: str) -> None:
    """Put a host, by its name, into an aggregate.

    Raises NotFound, Conflict where it is there already, is in another zone, or would leave its zone with instances.
    """
    enforce(actor, RULE + "add_host")
    with transaction.atomic():
        fresh, row = _locked(aggregate), _host(host)
        if fresh.hosts.filter(pk=row.pk).exists():
            raise Conflict(f"Aggregate {fresh.pk} already has host {host}.")
        if why := _refusal(fresh, [row], fresh.zone):
            raise Conflict(f"Cannot add host to aggregate {fresh.pk}. Reason: {why}.")
        fresh.hosts.add(row)
        _write(aggregate, {})


def remove_host(actor: Actor, aggregate: Aggregate, *, host: str) -> None:
    """Take a host, by its name, out of an aggregate. Raises NotFound, and Conflict under its instances."""
    enforce(actor, RULE + "remove_host")
    with transaction.atomic():
        fresh, row = _locked(aggregate), _host(host)
        if not fresh.hosts.filter(pk=row.pk).exists():
            raise NotFound(f"Aggregate {fresh.pk} has no host {host}.")
        if why := _refusal(fresh, [row], None):
            raise Conflict(f"Cannot remove host from aggregate {fresh.pk}. Reason: {why}.")
        fresh.hosts.remove(row)
        zones.settle([row])
        _write(aggregate, {})


def _locked(aggregate: Aggregate) -> Aggregate:
    """The aggregate as it is now; others that change it wait."""
    fresh = Aggregate.objects.select_for_update().filter(pk=aggregate.pk).first()
    if fresh is None:
        raise NotFound(f"Aggregate {aggregate.pk} could not be found.")
    return fresh


def _host(name: str) -> Host:
    """The host; whoever puts it into another aggregate, or claims it, waits."""
    row = Host.objects.select_for_update().filter(name=name).first()
    if row is None:
        raise NotFound(f"Compute host {name} could not be found.")
    return row


def _with_items(fresh: Aggregate, items: dict[str, str | None], doing: str) -> dict[str, str]:
    """The metadata with these items, if the aggregate's hosts may be in the zone that it gives then."""
    changed = {name: value for name, value in {**fresh.metadata, **items}.items() if value is not None}
    hosts = list(fresh.hosts.select_for_update())
    if ZONE_KEY in items and (why := _refusal(fresh, hosts, changed.get(ZONE_KEY))):
        raise Invalid(f"Cannot {doing} {fresh.pk}. Reason: {why}.", about="zone")
    return changed


def _refusal(aggregate: Aggregate, hosts: list[Host], zone: str | None) -> str:
    """Why the aggregate cannot give this zone (None: none) to these hosts; empty when it can."""
    others = zones.given_to(hosts, but=aggregate)
    if zone and (clash := sorted(set(others.values()) - {zone})):
        return f"One or more hosts already in availability zone(s) {', '.join(clash)}"
    after = {host.pk: zone or others.get(host.pk) or default_zone() for host in hosts}
    moved = {host.pk: host for host in hosts if host.zone != after[host.pk]}
    busy = Instance.objects.alive().filter(host__in=moved).values_list("host_id", flat=True).first()
    if busy is None:
        return ""
    host = moved[busy]
    return (
        f"The host {host.name} has instances, and its availability zone would change from {host.zone} to {after[busy]}"
    )


def _write(aggregate: Aggregate, fields: dict[str, Any]) -> None:
    """Write the row, then the zones of its hosts."""
    fields["updated_at"] = timezone.now()
    Aggregate.objects.filter(pk=aggregate.pk).update(**fields)
    for name, value in fields.items():
        setattr(aggregate, name, value)
    zones.settle(aggregate.hosts.all())
    announce("aggregate", aggregate.pk)
