"""Fencing a host: making sure that nothing runs there, before its instances are started elsewhere.

A host that does not answer may still run its guests. It is fenced when it is confirmed to be off: by its fence
method, or by the word of an administrator, in Nacelle or as Nova's ``forced_down``. When it answers again the
fence is lifted. Each fencing is a row, which the watcher works off (``compute.hosts.fence_runs``).
"""

from __future__ import annotations

from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from compute.errors import Conflict, Invalid
from compute.hosts import fence_methods
from compute.hosts.history import note
from compute.models import Fencing, FencingState, Host, announce
from portal.identity.actor import Actor
from portal.identity.policy import enforce
from portal.requestid import current_request_id

RULE = "nacelle:host-fence"
LEAST_SECONDS, MOST_SECONDS = 1, 600
BY_HAND = "This host has no fence method. Switch it off, look that it is off, and say so."


def refusal(host: Host) -> str:
    """Why a host may not be fenced now; empty when it may."""
    if host.is_up:
        return f"{host.name} answers. Only a host that is down is fenced."
    if host.fenced_at is not None:
        return f"{host.name} is fenced already."
    return ""


def set_fence(actor: Actor, host: Host, *, method: str, values: dict[str, str], timeout: int) -> None:
    """Say how a host is switched off from afar; an empty ``method``: by hand alone. Raises Invalid."""
    enforce(actor, RULE)
    if not LEAST_SECONDS <= timeout <= MOST_SECONDS:
        raise Invalid(f"The fence has from {LEAST_SECONDS} to {MOST_SECONDS} seconds.", about="timeout")
    if method:
        fence_methods.check_values(fence_methods.method_named(method), values)
    elif values:
        raise Invalid("Without a fence method there are no values.", about="values")
    with transaction.atomic():
        _write(host, fence_method=method, fence_values=values, fence_timeout=timeout)
        how = f"It is fenced by {method} from now on." if method else "It is fenced by hand alone from now on."
        note(host.pk, "fence", how, actor)


def fence(actor: Actor, host: Host, *, automatic: bool = False) -> Fencing:
    """Have a host switched off by its method. Raises Conflict for one that is up, fenced or has no method."""
    enforce(actor, RULE)
    try:
        with transaction.atomic():
            fresh = _locked(host)
            if why := refusal(fresh) or ("" if fresh.fence_method else BY_HAND):
                raise Conflict(why)
            row = _row(actor, fresh, method=fresh.fence_method, automatic=automatic)
            note(fresh.pk, "fence", f"It is to be switched off by {fresh.fence_method}.", actor)
            announce("host", fresh.pk)
    except IntegrityError as error:
        raise Conflict(f"{host.name} is being fenced already.") from error
    return row


def confirm_off(actor: Actor, host: Host) -> Fencing:
    """Take an administrator's word that a host is off. Raises Conflict for one that answers or is fenced."""
    enforce(actor, RULE)
    with transaction.atomic():
        fresh = _locked(host)
        if why := refusal(fresh):
            raise Conflict(why)
        now = timezone.now()
        result = f"{actor.user_name or 'An administrator'} says that it is off."
        row = _row(actor, fresh, state=FencingState.DONE, result=result, finished_at=now)
        _write(host, fenced_at=now)
        note(fresh.pk, "fence", "It is off, by word: its instances may be started elsewhere.", actor)
    return row


def unfence(actor: Actor, host: Host) -> None:
    """It may not be off, after all: nothing more is started elsewhere. Raises Conflict for one that is not fenced."""
    enforce(actor, RULE)
    with transaction.atomic():
        fresh = _locked(host)
        if fresh.fenced_at is None:
            raise Conflict(
                f"{host.name} is down by word (forced down); take that back." if fresh.forced_down and not fresh.is_up
                else f"{host.name} is not fenced."
            )  # fmt: skip
        _write(host, fenced_at=None)
        note(fresh.pk, "fence", "It is not taken to be off any more.", actor)


def _locked(host: Host) -> Host:
    """The row as it is now; whoever else fences the host, or sees it come back, waits."""
    return Host.objects.select_for_update().get(pk=host.pk)


def _row(actor: Actor, host: Host, **fields: Any) -> Fencing:
    return Fencing.objects.create(
        host=host,
        user_id=actor.user_id,
        user_name="" if actor.system else actor.user_name,
        request_id=current_request_id(),
        **fields,
    )


def _write(host: Host, **fields: Any) -> None:
    Host.objects.filter(pk=host.pk).update(updated_at=timezone.now(), **fields)
    announce("host", host.pk)
    for name, value in fields.items():
        setattr(host, name, value)
