"""The doorbell: telling the workers which row to look at, and the janitor that rings again.

The queue carries an action's id and nothing else. A message lost, late or delivered twice changes
nothing: the row is the operation, its lease decides who works on it.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone
from django_q.brokers import get_broker
from django_q.tasks import async_task

from compute.models import OPEN_STATES, Action, Host
from compute.models.host import heard_of_since
from portal.compiled import Rows, moment

log = logging.getLogger(__name__)

# An open action without a live lease is rung again when nobody has touched it for this long.
UNTOUCHED = timedelta(seconds=5)
# One that nobody has begun waits behind others while its lane's queue has bells: its own will be heard.
UNTOUCHED_WHILE_BUSY = timedelta(seconds=30)
# One whose host does not answer waits in its row, and is looked at now and then: it may be past its limit.
UNTOUCHED_WHILE_SILENT = timedelta(seconds=30)


def _untouched() -> QuerySet[Action]:
    idle = Action.objects.filter(state__in=OPEN_STATES, updated_at__lt=moment("touched"))
    return idle.exclude(lease_until__gt=moment("now"))


_ANY_UNTOUCHED = Rows(lambda: _untouched().values_list("pk")[:1])


@functools.cache
def _waiting(busy: tuple[str, ...]) -> Rows[Action]:
    """Those to ring for. ``busy``: the operations that begin in a lane whose queue has bells."""

    def make() -> QuerySet[Action]:
        up = Host.objects.up(moment("heard")).filter(silent_since=None)
        answering = Q(instance__host=None) | Q(instance__host__in=up)
        rows = _untouched().filter(answering | Q(updated_at__lt=moment("touched while silent")) | ~Q(cancelled_by=""))
        behind = Q(attempts=0, updated_at__gt=moment("touched while busy"), operation__in=busy)
        return rows.exclude(behind).order_by("id")[:500]

    return Rows(make)


def ring(action_id: int, lane: str, limit: timedelta) -> None:
    """Tell a lane to look at an action, once the transaction under way is committed.

    ``limit`` is the operation's; the queue ends a worker that hangs well past it and its undo. A broker
    that does not answer is logged and left to the janitor.
    """
    patience = int(limit.total_seconds() + 3 * settings.HOST_CALL_SECONDS) + 60

    def tell() -> None:
        try:
            async_task("compute.tasks.perform", action_id, lane, cluster=lane, broker=_queue(lane), timeout=patience)
        except Exception:
            log.exception("the queue does not answer; the janitor will ring for action %s", action_id)

    transaction.on_commit(tell)


@functools.cache
def _queue(lane: str) -> Any:
    """A lane's queue, kept: else each message would be sent over a connection of its own."""
    return get_broker(lane)


def ring_for(action: Action) -> None:
    """Ring for an action in the lane that it waits in."""
    from compute.operations import OPERATIONS

    operation = OPERATIONS[action.operation]
    ring(action.pk, action.progress.get("lane", operation.lane), operation.limit)


def ring_next(instance_ids: Iterable[UUID]) -> None:
    """Ring for the oldest open action of each of these instances: one that waited for another to end."""
    waiting: dict[UUID, Action] = {}
    for action in Action.objects.filter(instance_id__in=list(instance_ids), state__in=OPEN_STATES).order_by("id"):
        waiting.setdefault(action.instance_id, action)
    for action in waiting.values():
        ring_for(action)


def _of_busy_lanes() -> tuple[str, ...]:
    """The operations that begin in a lane whose queue has bells that no worker has come to yet."""
    from compute.operations import OPERATIONS

    is_busy = functools.cache(_is_busy)
    return tuple(name for name, operation in OPERATIONS.items() if is_busy(operation.lane))


def _is_busy(lane: str) -> bool:
    try:
        return bool(_queue(lane).queue_size())
    except Exception:
        log.exception("the queue does not answer")
        return False


def sweep() -> int:
    """The janitor: ring for every open action that no live worker holds. Returns how many."""
    now = timezone.now()
    moments = {"now": now, "touched": now - UNTOUCHED, "heard": heard_of_since()}
    if not _ANY_UNTOUCHED.exist(**moments):
        return 0
    moments |= {"touched while silent": now - UNTOUCHED_WHILE_SILENT, "touched while busy": now - UNTOUCHED_WHILE_BUSY}
    rung = 0
    for action in _waiting(_of_busy_lanes()).all(**moments):
        Action.objects.filter(pk=action.pk).update(updated_at=now)
        try:
            ring_for(action)
        except KeyError:  # of a newer version that runs beside this one; the others' bells must not wait for it
            log.error("action %s is the operation %s, which is not known here", action.pk, action.operation)
            continue
        rung += 1
    if rung:
        log.info("rang again for %d operations that nobody was at", rung)
    return rung
