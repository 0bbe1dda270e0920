"""Relocations: all instances of a host, or some of several, moved in one undertaking.

Who asks makes rows: the undertaking, and an item for each instance. The watcher works them off
(``relocation_steps``). They can be stopped, and what did not succeed can be tried again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Count
from django.utils import timezone

from compute.errors import Conflict, Invalid
from compute.hosts.history import note
from compute.hosts.service import REASON_CAP
from compute.models import (
    Host,
    Instance,
    ItemState,
    Relocation,
    RelocationItem,
    RelocationKind,
    RelocationState,
    announce,
)
from compute.operations.evacuate import host_refusal
from portal.identity.actor import Actor
from portal.identity.policy import enforce
from portal.requestid import current_request_id

EVACUATE_RULE = "nacelle:host-evacuate"
DRAIN_RULE = "nacelle:host-drain"
REBALANCE_RULE = "nacelle:rebalance"
RULES = {
    RelocationKind.EVACUATION: EVACUATE_RULE,
    RelocationKind.DRAIN: DRAIN_RULE,
    RelocationKind.REBALANCE: REBALANCE_RULE,
}
MOST_AT_ONCE = 100
SERVICED = "It is being serviced."


def evacuate_host(actor: Actor, host: Host, *, automatic: bool = False) -> Relocation:
    """Start all instances of a host elsewhere that is off for sure. Raises Conflict, and Invalid for one that is up."""
    enforce(actor, EVACUATE_RULE)
    with transaction.atomic():
        fresh = Host.objects.select_for_update().get(pk=host.pk)
        if refused := host_refusal(fresh):
            raise refused[0](refused[1])
        for drain in Relocation.objects.filter(host=fresh, state=RelocationState.RUNNING, kind=RelocationKind.DRAIN):
            end(drain, RelocationState.STOPPED)  # nothing can be moved off it as it is
        made = begin(actor, RelocationKind.EVACUATION, fresh, at_once=settings.EVACUATE_AT_ONCE, automatic=automatic)
        note(fresh.pk, made.kind, f"Its instances ({made.items.count()}) are to be started elsewhere.", actor)
    return made


def drain_host(
    actor: Actor, host: Host, *, reason: str = "", at_once: int | None = None, shut_down: bool = False
) -> Relocation:
    """Take a host out of service: it gets no new instances, and those that it has are moved off.

    ``at_once``: so many at the same time (None: as the settings say). ``shut_down``: those that run and cannot be
    moved while they do are shut down for it. Raises Invalid, and Conflict for a host that is down or being left.
    """
    enforce(actor, DRAIN_RULE)
    wanted = settings.DRAIN_AT_ONCE if at_once is None else at_once
    if not 1 <= wanted <= MOST_AT_ONCE:
        raise Invalid(f"From 1 to {MOST_AT_ONCE} servers are moved at the same time.", about="at_once")
    with transaction.atomic():
        fresh = Host.objects.select_for_update().get(pk=host.pk)
        if not fresh.is_up:
            raise Conflict(f"{fresh.name} is down: nothing can be moved off it. Fence it, and evacuate it.")
        why = reason.strip()[:REASON_CAP] or SERVICED
        _take_out_of_service(fresh, why)
        made = begin(actor, RelocationKind.DRAIN, fresh, at_once=wanted, shut_down=shut_down)
        note(fresh.pk, made.kind, f"Its instances ({made.items.count()}) are to be moved off: {why}", actor)
    host.refresh_from_db()
    return made


def _take_out_of_service(host: Host, why: str) -> None:
    """It gets no new instances, which would else come as others leave."""
    Host.objects.filter(pk=host.pk).update(
        enabled=False, disabled_reason=why, maintenance=True, updated_at=timezone.now()
    )


def begin(actor: Actor, kind: RelocationKind, host: Host, **fields: Any) -> Relocation:
    """The rows of an undertaking that leaves a host; call it in a transaction. Raises Conflict if one is under way."""
    try:
        with transaction.atomic():
            made = _row(actor, kind, host=host, **fields)
    except IntegrityError as error:
        raise Conflict(f"The instances of {host.name} are being moved already.") from error
    add(made, Instance.objects.alive().filter(host=host).order_by("name", "id"))
    tell(made)
    return made


def begin_rebalance(actor: Actor, moves: Iterable[tuple[UUID, int, int]]) -> Relocation:
    """The rows of evening out: an instance, the host that it is on and the one that it goes to, for each move.

    Call it in a transaction. Raises Conflict while another one is under way.
    """
    try:
        with transaction.atomic():
            made = _row(actor, RelocationKind.REBALANCE, at_once=1)  # each may need the room that one before it leaves
    except IntegrityError as error:
        raise Conflict("The load is being evened out already.") from error
    RelocationItem.objects.bulk_create(
        RelocationItem(relocation=made, instance_id=one, source_id=source, target_id=target)
        for one, source, target in moves
    )
    tell(made)
    return made


def _row(actor: Actor, kind: RelocationKind, **fields: Any) -> Relocation:
    return Relocation.objects.create(
        kind=kind,
        user_id=actor.user_id,
        user_name="" if actor.system else actor.user_name,
        request_id=current_request_id(),
        **fields,
    )


def add(relocation: Relocation, instances: Iterable[Instance]) -> int:
    """An item for each of these instances. Returns how many there are."""
    host = relocation.host
    items = [RelocationItem(relocation=relocation, instance=one, source=host) for one in instances]
    return len(RelocationItem.objects.bulk_create(items, ignore_conflicts=True))


def stop(actor: Actor, relocation: Relocation) -> None:
    """Begin nothing more; what is under way goes on. Raises Conflict for one that has ended."""
    enforce(actor, RULES[RelocationKind(relocation.kind)])
    with transaction.atomic():
        if not end(relocation, RelocationState.STOPPED):
            raise Conflict(f"This {relocation.kind} has ended already.")
        if relocation.host_id:
            note(relocation.host_id, relocation.kind, f"The {relocation.kind} was stopped.", actor)


def retry(actor: Actor, relocation: Relocation, **changes: Any) -> None:
    """Go on with what is left, and try again what failed. Raises Conflict for one that runs, or is done, and Invalid.

    A host that was to be drained and takes new instances by now is taken out of service again.
    """
    enforce(actor, RULES[RelocationKind(relocation.kind)])
    if changes.get("shut_down") and relocation.kind != RelocationKind.DRAIN:
        raise Invalid(f"Only a drain shuts servers down; this is {relocation.kind}.", about="shut_down")
    rows = Relocation.objects.filter(pk=relocation.pk, state__in=(RelocationState.STOPPED, RelocationState.INCOMPLETE))
    now = timezone.now()
    try:
        with transaction.atomic():
            host = Host.objects.select_for_update().filter(pk=relocation.host_id or 0).first()
            if not rows.update(state=RelocationState.RUNNING, finished_at=None, updated_at=now, **changes):
                raise Conflict(f"This {relocation.kind} runs, or there is nothing left of it to be done.")
            relocation.items.filter(state=ItemState.FAILED).update(
                state=ItemState.WAITING, message="", try_at=now, finished_at=None
            )
            relocation.items.filter(state=ItemState.WAITING).update(try_at=now)
            if relocation.kind == RelocationKind.DRAIN and host is not None:
                _take_out_of_service(host, SERVICED if host.enabled else host.disabled_reason)
            tell(relocation)
            if relocation.host_id:
                note(relocation.host_id, relocation.kind, f"The {relocation.kind} goes on.", actor)
    except IntegrityError as error:
        raise Conflict("Another such undertaking is under way.") from error


def end(relocation: Relocation, state: RelocationState) -> bool:
    """Write how one that runs has ended. Whether it did run."""
    now = timezone.now()
    rows = Relocation.objects.filter(pk=relocation.pk, state=RelocationState.RUNNING)
    if not rows.update(state=state, finished_at=now, updated_at=now):
        return False
    tell(relocation)
    return True


def tell(relocation: Relocation) -> None:
    """The pages that show it are told."""
    announce("relocation", relocation.pk)
    if relocation.host_id:
        announce("host", relocation.host_id)


def counts(relocation: Relocation) -> dict[str, int]:
    """How many instances are in each state."""
    found = dict(relocation.items.order_by().values_list("state").annotate(Count("id")))
    return {str(state): found.get(state, 0) for state in ItemState}
