"""Changing what an administrator may change of a host: its name, how it is reached, and how full it may get."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from copy import copy
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from compute.errors import Conflict, Invalid
from compute.hosts import registration
from compute.hosts.connections import forget
from compute.hosts.history import note
from compute.hosts.known import machine_of
from compute.hypervisor.ways import is_host
from compute.models import Host, Instance, announce
from portal.identity.actor import Actor
from portal.identity.policy import enforce

RATIO_CAP = 1000.0
RESERVED_CAP = 2**31 - 1


def edit_host(actor: Actor, host: Host, changes: Mapping[str, Any]) -> None:
    """Change these fields of a host; those not named stay.

    ``name``, ``uri``, ``console_address``, ``migration_address``, ``domain_type``, ``cpu_ratio``,
    ``memory_ratio``, ``disk_ratio``, ``reserved_memory_mb``, ``reserved_disk_gb``. Another URI must lead to the
    same machine, which is asked. Raises Invalid and Conflict; nothing is changed then.
    """
    enforce(actor, "nacelle:host-edit")
    now = Host.objects.filter(pk=host.pk).first()
    if now is None:
        raise Conflict(f"{host.name} was removed meanwhile.")
    _edit(actor, now, changes)


def _edit(actor: Actor, host: Host, changes: Mapping[str, Any]) -> None:
    new = {name: value for name, value in changes.items() if value != getattr(host, name)}
    for name, value in new.items():
        CHECKS[name](value)
    if "uri" in new:
        new |= _moved(host, new)
    if not new:
        return
    after = copy(host)
    for name, value in new.items():
        setattr(after, name, value)
    registration.check_alone(after)
    _write(actor, after, new)
    if after.uri != host.uri:
        forget(host)


def _moved(host: Host, new: dict[str, Any]) -> dict[str, Any]:
    """The fields that follow from another URI. Raises Invalid and Conflict."""
    uri = registration.settled(new["uri"].strip())
    facts = registration.look(uri)
    machine = machine_of(facts)
    if host.machine_uuid is not None and machine != host.machine_uuid:
        raise Conflict(
            f"Another machine answers at {uri}: its id is {machine}, and that of {host.name} is {host.machine_uuid}. "
            "Add it as a host of its own."
        )
    found: dict[str, Any] = {"uri": uri}
    if "console_address" not in new and host.console_address == registration.console_address(host.uri):
        found["console_address"] = registration.console_address(uri)
    return found


def _write(actor: Actor, host: Host, new: dict[str, Any]) -> None:
    now = timezone.now()
    try:
        with transaction.atomic():
            was = Host.objects.filter(pk=host.pk).values_list("name", flat=True).first()
            if not Host.objects.filter(pk=host.pk).update(updated_at=now, **new):
                raise Conflict(f"{host.name} was removed meanwhile.")
            if "name" in new:
                # They ask for it by its name whenever they are placed again.
                Instance.objects.alive().filter(asked_host=was).update(asked_host=host.name)
            note(host.pk, "state", f"It was changed: {', '.join(_said(new))}.", actor)
            announce("host", host.pk)
    except IntegrityError as error:
        registration.check_alone(host)
        raise Conflict(f"Another host is called {host.name} or reached at {host.uri}.") from error


def _said(new: dict[str, Any]) -> Iterator[str]:
    """Each change in words."""
    for name, value in new.items():
        yield f"{name.replace('_', ' ')} {value if value != '' else 'as found out'}"


def _check_uri(value: str) -> None:
    registration.settled(value.strip())


def _check_address(value: str) -> None:
    if not is_host(value):
        raise Invalid(f"{value[:64]!r} is neither a host name nor an address.", about="console_address")


def _check_migration_address(value: str) -> None:
    if value and not is_host(value):
        raise Invalid(f"{value[:64]!r} is neither a host name nor an address.", about="migration_address")


def _check_ratio(name: str) -> Callable[[Any], None]:
    def check(value: float) -> None:
        if not (math.isfinite(value) and 0 < value <= RATIO_CAP):
            raise Invalid(f"An overcommit is more than 0 and at most {RATIO_CAP:g}, not {value:g}.", about=name)

    return check


def _check_reserved(name: str) -> Callable[[Any], None]:
    def check(value: int) -> None:
        if not 0 <= value <= RESERVED_CAP:
            raise Invalid(f"What is kept back is 0 or more, and at most {RESERVED_CAP}, not {value}.", about=name)

    return check


CHECKS: dict[str, Callable[[Any], None]] = {
    "name": registration.check_name,
    "uri": _check_uri,
    "console_address": _check_address,
    "migration_address": _check_migration_address,
    "domain_type": registration.check_domain_type,
    "cpu_ratio": _check_ratio("cpu_ratio"),
    "memory_ratio": _check_ratio("memory_ratio"),
    "disk_ratio": _check_ratio("disk_ratio"),
    "reserved_memory_mb": _check_reserved("reserved_memory_mb"),
    "reserved_disk_gb": _check_reserved("reserved_disk_gb"),
}
