"""Availability zones: a host is in the zone of its aggregate that has one, else in the default zone."""

from __future__ import annotations

from collections.abc import Iterable

from django.utils import timezone

from compute.errors import Invalid
from compute.models import ZONE_KEY, Aggregate, Host, announce
from compute.models.host import default_zone


def given_to(hosts: Iterable[Host], but: Aggregate | None = None) -> dict[int, str]:
    """The zones that aggregates (but this one) give to these hosts, by the host's id."""
    links = Aggregate.hosts.through.objects.filter(host__in=[host.pk for host in hosts])
    if but is not None:
        links = links.exclude(aggregate=but)
    pairs = links.values_list("host_id", "aggregate__metadata")
    return {host_id: metadata[ZONE_KEY] for host_id, metadata in pairs if ZONE_KEY in metadata}


def settle(hosts: Iterable[Host]) -> None:
    """Write these hosts' zones as their aggregates give them; call it in the transaction that changes those."""
    rows = list(hosts)
    given = given_to(rows)
    for host in rows:
        zone = given.get(host.pk, default_zone())
        if host.zone != zone:
            Host.objects.filter(pk=host.pk).update(zone=zone, updated_at=timezone.now())
            announce("host", host.pk)
            host.zone = zone


def available() -> list[str]:
    """The zones that an instance can ask for: those with a host that takes new instances."""
    return sorted(set(Host.objects.filter(enabled=True).values_list("zone", flat=True)))


def check_available(zone: str) -> None:
    """Raise Invalid, with Nova's sentence, for a zone that no instance can ask for."""
    if not Host.objects.filter(zone=zone, enabled=True).exists():
        raise Invalid("The requested availability zone is not available", about="zone")
