"""Instances asked for together (``min_count``, ``max_count``): one scheduling pass places them all.

Whichever of their boots comes to its schedule step first places every sibling that waits for a host,
in one transaction. The others then find their host, or why there is none. Where fewer than
``min_count`` fit, none is placed, as in Nova; otherwise those that fit nowhere end in error alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.utils import timezone

from compute.models import OPEN_STATES, Action, Instance, announce
from scheduler.pick import Placement, Request, place_many

if TYPE_CHECKING:
    from compute.operations.boot import Boot

# Keys of an action's parameters, and of its progress.
COUNT, LEAST, REFUSED, TRIED = "count", "min_count", "refused", "tried"


class TooFew(Exception):
    """Fewer fit than the least number that is any use; what was claimed is let go of again."""


@dataclass
class _Waiting:
    """An open boot whose instance has no host yet."""

    action: Action
    placement: Placement | None = None

    @property
    def found(self) -> bool:
        """Whether it has a host now."""
        return self.placement is not None and self.placement.host is not None


def remembered(count: int, least: int) -> dict[str, int]:
    """What the boots of instances that are asked for together must know of each other."""
    return {COUNT: count, LEAST: least} if count > 1 else {}


def is_first_try(action: Action) -> bool:
    """Whether a boot is to be placed with its siblings: until its host fails, from when on it is alone."""
    return action.params.get(COUNT, 1) > 1 and not action.progress.get(TRIED)


def place_all(boot: Boot, wanted: Request) -> str:
    """Place an instance together with its siblings. Returns why it has no host; empty when it has one.

    ``wanted`` is what it asks of a host; siblings differ from it in nothing but who they are.
    Call it inside a transaction. Raises Lost.
    """
    waiting = _lock(boot.action, boot.instance)
    boot.lease.renew()  # after the locks: two boots of one request wait for each other in one order
    boot.instance.refresh_from_db(fields=["host"])
    boot.action.refresh_from_db(fields=["progress"])
    if boot.instance.host_id is None and REFUSED not in boot.action.progress:
        _pass(boot, wanted, waiting)
    return str(boot.action.progress.get(REFUSED, ""))


def _lock(action: Action, instance: Instance) -> list[_Waiting]:
    """The open boots of the request, which nobody else takes up, cancels or places until the transaction ends."""
    rows = Action.objects.select_for_update(of=("self",)).select_related("instance").order_by("id")
    asked = {"instance__project_id": instance.project_id, "instance__reservation_id": instance.reservation_id}
    boots = rows.filter(operation=action.operation, state__in=OPEN_STATES, instance__deleted_at=None, **asked)
    undecided = (one for one in boots if one.instance.host_id is None and REFUSED not in one.progress)
    return [_Waiting(one) for one in undecided if is_first_try(one)]


def _pass(boot: Boot, wanted: Request, waiting: list[_Waiting]) -> None:
    """Decide for all, claim for all, and leave each its host or the reason."""
    refusal = ""
    try:
        with transaction.atomic():
            _place(boot, wanted, waiting)
    except TooFew as error:
        refusal = str(error)
    for one in waiting:
        assert one.placement is not None
        if refusal:
            one.placement.explanation.chosen = ""
        known: dict[str, Any] = {"placement": one.placement.explanation.as_json()}
        if refusal or not one.found:
            known[REFUSED] = refusal or one.placement.explanation.sentence()
        _leave(boot, one, known, placed=not refusal and one.found)


def _place(boot: Boot, wanted: Request, waiting: list[_Waiting]) -> None:
    placements = place_many([replace(wanted, instance_id=one.action.instance_id) for one in waiting])
    for one, placement in zip(waiting, placements, strict=True):
        one.placement = placement
    least, count = (boot.action.params[name] for name in (LEAST, COUNT))
    there = _siblings(boot.instance).exclude(host=None).count() + sum(one.found for one in waiting)
    if there < least:
        short = next(one.placement for one in waiting if one.placement and not one.found)
        raise TooFew(f"{short.explanation.sentence()} Of {count} servers, {there} would fit; {least} are the least.")


def _siblings(instance: Instance) -> Any:
    return Instance.objects.alive().filter(project_id=instance.project_id, reservation_id=instance.reservation_id)


def _leave(boot: Boot, one: _Waiting, known: dict[str, Any], placed: bool) -> None:
    """Write what was decided for one, in its own rows."""
    assert one.placement is not None
    host = one.placement.host if placed else None
    if one.action.pk == boot.action.pk:
        boot.note(**known)
        if host is not None:
            boot.set_instance(host=host)
        return
    Action.objects.filter(pk=one.action.pk).update(progress={**one.action.progress, **known})
    if host is not None:
        Instance.objects.filter(pk=one.action.instance_id).update(host=host, updated_at=timezone.now())
        announce("server", one.action.instance_id, boot.instance.project_id)
