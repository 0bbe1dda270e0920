"""Checking hosts: a look at the machine, what is made of it, and where that is kept."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from compute.errors import Conflict
from compute.hosts import known
from compute.hosts.asking import ask
from compute.hosts.findings import Finding, Other, Severity, Surroundings, judge
from compute.hosts.strangers import as_json
from compute.hosts.survey import Named, Survey, survey
from compute.hypervisor.interface import HypervisorError
from compute.models import Host, HostCheck, Instance, Network, Subnet, announce
from compute.networks.specs import network_spec
from portal.identity.actor import Actor
from portal.identity.policy import enforce

log = logging.getLogger(__name__)

OTHERS_COMPARED = 50
# Kept of a look, and shown: fields of ``HostDetails``.
KEPT = ("machine", "pools", "networks", "machine_types", "cpu", "clock_ahead", "certificate_until")


def check_host(actor: Actor, host: Host) -> list[Finding]:
    """Look at a host again, make what is missing and can be made, and keep what was found.

    Raises Conflict when it does not answer; what was found before stays then.
    """
    enforce(actor, "nacelle:host-check")
    try:
        found = look(host)
        machine = known.check_same(host, found.facts)
    except HypervisorError as error:
        raise Conflict(f"{host.name} cannot be checked: {error}") from error
    findings = judged(host, found)
    with transaction.atomic():
        seen = known.as_fields(found.facts)
        Host.objects.filter(pk=host.pk).update(machine_uuid=machine, updated_at=timezone.now(), **seen)
        keep(host, found, findings)
        announce("host", host.pk)
    log.info("checked host %s: %s", host.name, ", ".join(f"{one.severity} {one.about}" for one in findings) or "good")
    return findings


def look(host: Host) -> Survey:
    """Everything that is asked of a host at once, whether it has a row yet or not. Raises HypervisorError, Invalid."""
    networks, cpus = networks_wanted(host), [other.cpu for other in _others(host) if other.cpu]
    return ask(host.uri, lambda hypervisor: survey(hypervisor, networks, cpus))


def networks_wanted(host: Host) -> list[Named]:
    """The networks that instances on it use, and those that anybody may use next."""
    used = Q(ports__instance__in=Instance.objects.alive().filter(host=host)) if host.pk else Q(pk=None)
    rows = Network.objects.filter(Q(shared=True) | used, external=False, subnets__ip_version=4)
    return [Named(str(one), network_spec(one)) for one in rows.prefetch_related("subnets").distinct()]


def judged(host: Host, found: Survey) -> list[Finding]:
    """What is to be said of a look at a host."""
    ranges = Subnet.objects.filter(ip_version=4).select_related("network").order_by("network__name", "cidr")
    around = Surroundings(
        address=host.console_address,
        domain_type=host.domain_type or found.facts.domain_type,
        ranges=tuple((str(one.network), one.cidr) for one in ranges),
        others=tuple(_others(host)),
        now=timezone.now(),
        named=urlsplit(host.uri).hostname or "",
    )
    return judge(found, around)


def _others(host: Host) -> list[Other]:
    """The other hosts, as they were when they were looked at last."""
    rows = Host.objects.exclude(pk=host.pk).select_related("last_check").order_by("name")[:OTHERS_COMPARED]
    return [
        Other(
            name=row.name,
            domain_type=row.domain_type or row.facts.get("domain_type", ""),
            architecture=row.facts.get("architecture", ""),
            cpu=row.last_check.details.get("cpu", "") if hasattr(row, "last_check") else "",
        )
        for row in rows
        if row.facts.get("architecture")
    ]


def keep(host: Host, found: Survey, findings: list[Finding]) -> None:
    """Write down what a look has brought to light. Call it in a transaction."""
    details = dataclasses.asdict(found.details)
    until = found.details.certificate_until
    details["certificate_until"] = until.isoformat() if until else None
    fields = {
        "at": timezone.now(),
        "details": {name: details[name] for name in KEPT},
        "findings": [one.as_json() for one in findings],
        "guests": [as_json(host, guest) for guest in found.foreign],
    }
    HostCheck.objects.update_or_create(host=host, defaults=fields)


def last_check(host: Host) -> HostCheck | None:
    """The last check of a host; None if there was none."""
    return HostCheck.objects.filter(host=host).first()


def first_error(findings: list[Finding]) -> str:
    """The sentence of what must be put right before instances can be run there; empty if nothing."""
    return next((one.sentence for one in findings if one.severity == Severity.ERROR), "")


def strangers(host: Host) -> list[dict[str, Any]]:
    """The guests that the last check saw and that are no instances; as ``as_json`` keeps them."""
    check = last_check(host)
    found = check.guests if check else []
    known = {
        str(key) for key in Instance.objects.filter(pk__in=[one["id"] for one in found]).values_list("pk", flat=True)
    }
    return [one for one in found if one["id"] not in known]


def stranger(host: Host, guest_id: UUID) -> dict[str, Any] | None:
    """One of them."""
    return next((one for one in strangers(host) if one["id"] == str(guest_id)), None)
