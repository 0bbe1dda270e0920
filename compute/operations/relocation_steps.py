"""The watcher's part of relocations: begin what may begin, see how what was begun has ended.

Each step is one transaction with conditional updates, so any number of watchers may be at it and each may die:
an item and the operation that moves its instance are written together or not at all.
"""

from __future__ import annotations

import logging
from datetime import timedelta

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from compute.errors import ComputeError
from compute.hosts.history import note
from compute.models import (
    OPEN_STATES,
    ActionState,
    Instance,
    ItemState,
    Relocation,
    RelocationItem,
    RelocationKind,
    RelocationState,
    VmState,
)
from compute.operations import relocations, ways_off
from compute.operations.engine import request as request_operation
from compute.operations.evacuate import host_refusal
from compute.operations.live_migration import LiveMigration
from compute.operations.resize import Migrate
from compute.operations.resize_end import ConfirmResize
from compute.operations.ways_off import Way
from portal.compiled import Rows
from portal.identity.actor import SYSTEM
from portal.identity.policy import Forbidden
from portal.requestid import new_request_id, working_on

log = logging.getLogger(__name__)

LOOK_AGAIN = timedelta(seconds=5)  # at an instance that waits for something

_RUNNING = Rows(lambda: Relocation.objects.filter(state=RelocationState.RUNNING).select_related("host"))


def advance() -> int:
    """Every relocation that runs, one step further. Returns how many there are."""
    running = _RUNNING.all()
    for relocation in running:
        with working_on(relocation.request_id, relocation.user_name or "watcher"):
            try:
                _advance(relocation)
            except Exception:  # one that cannot be helped must not hold up the others
                log.exception("relocation %s", relocation.pk)
    return len(running)


def _advance(relocation: Relocation) -> None:
    for item in relocation.items.filter(state=ItemState.MOVING).select_related("instance", "action"):
        _look_at(relocation, item)
    if _given_up(relocation):
        return
    _begin_more(relocation)
    if not relocation.items.filter(state__in=(ItemState.WAITING, ItemState.MOVING)).exists():
        _finish(relocation)


def _given_up(relocation: Relocation) -> bool:
    """Whether it cannot go on: nothing is evacuated from a host that is back. What is under way ends by itself.

    A host that is to be drained and is down is waited for.
    """
    if relocation.kind == RelocationKind.DRAIN:
        return relocation.host is not None and not relocation.host.is_up
    if relocation.kind == RelocationKind.REBALANCE:
        return False
    refused = host_refusal(relocation.host)
    if refused is None:
        return False
    assert relocation.host_id is not None
    with transaction.atomic():
        if relocations.end(relocation, RelocationState.INCOMPLETE):
            note(relocation.host_id, relocation.kind, f"The evacuation was given up. {refused[1]}")
            for item in relocation.items.filter(state=ItemState.WAITING):
                _settle(item, ItemState.FAILED, "The evacuation was given up before its turn.")
    return True


# what was begun -------------------------------------------------------------------------------------
def _look_at(relocation: Relocation, item: RelocationItem) -> None:
    """An instance that is under way: has its operation ended, and how?"""
    if item.action is None or item.action.state in OPEN_STATES:
        return
    if item.action.state == ActionState.DONE:
        if item.action.operation == Migrate.name:
            return _confirm(relocation, item)
        _settle(item, ItemState.DONE, "")
    elif _may_shut_down(relocation, item):
        RelocationItem.objects.filter(pk=item.pk, state=ItemState.MOVING).update(
            state=ItemState.WAITING, message=item.action.message, try_at=timezone.now()
        )
    else:
        _settle(item, ItemState.FAILED, item.action.message or f"It was {item.action.state}.")
    relocations.tell(relocation)


def _confirm(relocation: Relocation, item: RelocationItem) -> None:
    """What was moved while it was off is there for good; nobody needs to confirm that."""
    if item.instance.vm_state != VmState.RESIZED:  # somebody else has confirmed it, or taken it back
        back = item.instance.host_id == item.source_id and item.instance.deleted_at is None
        _settle(item, ItemState.FAILED if back else ItemState.DONE, "Its move was taken back." if back else "")
        return relocations.tell(relocation)
    try:
        with transaction.atomic(), working_on(new_request_id(), relocation.user_name or "watcher"):
            action = request_operation(ConfirmResize, item.instance, SYSTEM)
            RelocationItem.objects.filter(pk=item.pk, state=ItemState.MOVING).update(action=action)
    except ComputeError as error:  # somebody is at it; the next look will tell
        log.info("item %s: %s", item.pk, error)


def _may_shut_down(relocation: Relocation, item: RelocationItem) -> bool:
    """Whether one that could not be moved while it runs is to be shut down for it."""
    assert item.action is not None
    live, failed = item.action.operation == LiveMigration.name, item.action.state == ActionState.ERROR
    return relocation.shut_down and live and failed and item.instance.vm_state == VmState.ACTIVE


def _settle(item: RelocationItem, state: ItemState, message: str) -> None:
    """Write how an item has ended, once."""
    rows = RelocationItem.objects.filter(pk=item.pk, state=item.state)
    rows.update(state=state, message=message, finished_at=timezone.now())


# what may begin -------------------------------------------------------------------------------------
def _begin_more(relocation: Relocation) -> None:
    """Begin with those whose turn it is, as many as may be under way at once."""
    due = relocation.items.filter(state=ItemState.WAITING, try_at__lte=timezone.now())
    for key in list(due.values_list("pk", flat=True)):
        if not _begin(relocation, key):
            return


def _begin(relocation: Relocation, item_id: int) -> bool:
    """Begin with one, which may turn out to wait, or to be impossible. False: no more may be under way."""
    with transaction.atomic():
        # Whoever else begins with one of this relocation, or stops it, waits here: so the count is true.
        locked = Relocation.objects.select_for_update(of=("self",)).select_related("host")
        fresh = locked.filter(pk=relocation.pk, state=RelocationState.RUNNING).first()
        if fresh is None or fresh.items.filter(state=ItemState.MOVING).count() >= fresh.at_once:
            return False
        rows = fresh.items.filter(pk=item_id, state=ItemState.WAITING)
        item = rows.select_related("instance__host", "action", "target").first()
        if item is not None:
            _take(fresh, item)
        return True


def _take(relocation: Relocation, item: RelocationItem) -> None:
    instance = item.instance
    if instance.deleted_at is not None or instance.host_id != item.source_id:
        _settle(item, ItemState.DONE, "")
        return relocations.tell(relocation)
    way = _way(relocation, item)
    if way.operation is None:
        if way.refusal:
            _settle(item, ItemState.FAILED, way.refusal)
            return relocations.tell(relocation)
        return _wait(relocation, item, way.waits)
    return _ask(relocation, item, way)


def _way(relocation: Relocation, item: RelocationItem) -> Way:
    """How it leaves. One that was tried while it runs, and may be, is shut down for it now."""
    if relocation.kind == RelocationKind.EVACUATION:
        return ways_off.out_of(item.instance)
    tried = item.action is not None and _may_shut_down(relocation, item)
    return ways_off.off(item.instance, target=item.target.name if item.target else "", shut_down=tried)


def _ask(relocation: Relocation, item: RelocationItem, way: Way) -> None:
    """Ask for the operation, together with the item's row."""
    assert way.operation is not None
    try:
        with transaction.atomic(), working_on(new_request_id(), relocation.user_name or "watcher"):
            action = request_operation(way.operation, item.instance, SYSTEM, **way.params)
            RelocationItem.objects.filter(pk=item.pk).update(
                state=ItemState.MOVING, action=action, message=way.sentence
            )
    except (ComputeError, Forbidden) as error:
        item.instance.refresh_from_db()
        if _way(relocation, item).waits:  # somebody else came first
            return _wait(relocation, item, str(error))
        _settle(item, ItemState.FAILED, str(error))
    relocations.tell(relocation)


def _wait(relocation: Relocation, item: RelocationItem, why: str) -> None:
    changed = item.message != why
    RelocationItem.objects.filter(pk=item.pk).update(message=why, try_at=timezone.now() + LOOK_AGAIN)
    if changed:
        relocations.tell(relocation)


# the end --------------------------------------------------------------------------------------------
def _finish(relocation: Relocation) -> None:
    """Nothing waits and nothing is under way: what has come meanwhile gets its turn, or it is over."""
    with transaction.atomic():
        if _newcomers(relocation):
            return relocations.tell(relocation)
        failed = relocation.items.filter(state=ItemState.FAILED)
        for item in failed.exclude(instance__host=F("source"), instance__deleted_at=None):
            _settle(item, ItemState.DONE, "")  # it has left the host some other way
        left = failed.count()
        state = RelocationState.INCOMPLETE if left else RelocationState.DONE
        if relocations.end(relocation, state) and relocation.host_id:
            moved = relocation.items.filter(state=ItemState.DONE).count()
            note(relocation.host_id, relocation.kind, f"The {relocation.kind} is over: {moved} left, {left} stayed.")


def _newcomers(relocation: Relocation) -> int:
    """Items for instances that have come to the host since: they were on their way. Returns how many."""
    if relocation.host_id is None:
        return 0
    here = Instance.objects.alive().filter(host=relocation.host_id)
    return relocations.add(relocation, here.exclude(pk__in=relocation.items.values("instance")))
