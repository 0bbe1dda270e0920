"""Leases: which worker is at an operation, so that two never are and a dead one holds nothing up.

A lease is three columns of the action's row. Taking it is one conditional UPDATE; the database's
constraint ``one_leased_action_an_instance`` makes it exclusive for the instance. A thread renews those
of a process while it lives; when the worker dies it runs out, and the janitor gives the row to another.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import F, Q, QuerySet, Subquery
from django.utils import timezone

from compute.models import OPEN_STATES, Action, ActionState
from portal.compiled import Rows, among, given, moment

log = logging.getLogger(__name__)

ONE_MORE = {"attempts": F("attempts") + 1}


def _free() -> QuerySet[Action, Any]:
    """An open action that nobody is at any more."""
    rows = Action.objects.filter(Q(lease_owner="") | Q(lease_until__lt=moment("now")))
    return rows.filter(state__in=OPEN_STATES, **given(Action, "pk")).values_list("pk")


_FREE = Rows(_free, **ONE_MORE)


def _owned() -> QuerySet[Action, Any]:
    """Those of one owner."""
    mine = Action.objects.filter(**among(Action, pk="action_ids"), **given(Action, lease_owner="owner"))
    return mine.order_by().values_list("pk")


_OWNED = Rows(_owned)
_RUNNING = Rows(lambda: _owned().filter(state=ActionState.RUNNING))
_WANTED = Rows(lambda: _owned().filter(state=ActionState.RUNNING, cancelled_by=""))


def _locked() -> QuerySet[Action, Any]:
    return Action.objects.select_for_update().filter(**among(Action, pk="action_ids")).order_by("pk").values_list("pk")


_LOCKED = Rows(_locked)


class Lost(Exception):
    """The operation is no longer ours: cancelled, or another worker has taken it up."""


class Cancelled(Lost):
    """The operation is ours, but somebody asked for its end: what was done is to be undone."""


def clock() -> float:
    """Seconds that go on while the machine sleeps or the process stands still."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Lease:
    """The right to work on one action. ``undoing``: what is done now takes the operation back.

    Its end is known here without a question to the database: ``lapsed`` is never later than what
    others see there, provided that their clocks go as fast. ``until``, by ``clock``, is taken before
    the row is written for the same reason: the process may stand still in between.
    """

    def __init__(self, action_id: int, owner: str, until: float) -> None:
        self.action_id = action_id
        self.owner = owner
        self.undoing = False
        self._given_back = False
        self._until = until

    def renew(self, **fields: Any) -> None:
        """Push the end further out, and write these fields of the action with it. Raises as ``renew_all``."""
        renew_all([self], **fields)

    def why_not_wanted(self) -> Lost:
        """What to raise when it is not."""
        if _RUNNING.exist(**_of([self])):
            return Cancelled(f"action {self.action_id} is to be undone")
        return Lost(f"action {self.action_id} is no longer this worker's")

    def is_given_back(self) -> None:
        """The row says that nobody holds it now."""
        self._given_back = True

    def is_pushed(self, until: float) -> None:
        """The row says that it holds until then, by ``clock``."""
        self._until = until

    def go_on(self) -> None:
        """What was asked for came too late: the operation goes on to its end. Raises Lost as ``renew``."""
        if not self._push(_RUNNING, cancelled_by="", past_return=True):
            raise Lost(f"action {self.action_id} is no longer this worker's")

    def lapsed(self) -> bool:
        """Whether it may have run out: the process stood still, or the database was away. Asks nobody."""
        return clock() >= self._until

    def check(self) -> None:
        """For right before something that nobody else may be doing. Raises Lost when another may be at it.

        One that has run out is pushed out again, if nobody has taken the operation up meanwhile.
        """
        if self.lapsed() and not self._push(_OWNED):
            raise Lost(f"action {self.action_id} was this worker's, before it slept")

    def _push(self, rows: Rows[Any], **fields: Any) -> bool:
        """Push the end out in these rows. Whether there was one."""
        return bool(_push([self], rows, **fields))

    def held(self) -> bool:
        """Whether it still is ours and the operation still wanted."""
        return _still_wanted([self]).exist(**_of([self]))

    def release(self) -> None:
        """Give it back; nothing happens if it was lost."""
        if not self._given_back:
            _OWNED.update({"lease_owner": "", "lease_until": None}, **_of([self]))

    @contextmanager
    def kept_alive(self) -> Iterator[None]:
        """Have it renewed while the block runs, also while the block waits inside a C call."""
        keeper.keep(self)
        try:
            yield
        finally:
            keeper.let_go(self)

    def renewed_in(self) -> float:
        """Seconds until a third of its time has passed, when it is to be pushed out again."""
        return self._until - settings.LEASE_SECONDS * 2 / 3 - clock()

    def keep(self) -> None:
        """Push the end further out for whoever is at it, also when the action was cancelled.

        Until its worker has noticed and stopped, nobody else may touch the guest.
        """
        self._push(_OWNED)


def _of(held: Sequence[Lease]) -> dict[str, Any]:
    """Their actions, for the rows above. They are of one owner."""
    return {"action_ids": [lease.action_id for lease in held], "owner": held[0].owner}


def _still_wanted(held: Sequence[Lease]) -> Rows[Any]:
    """The rows of those that still are ours and, if need be, still wanted."""
    return _RUNNING if any(lease.undoing for lease in held) else _WANTED


def _push(held: Sequence[Lease], rows: Rows[Any], **fields: Any) -> int:
    """Push the ends of all out, if all are in these rows. How many were."""
    until = clock() + settings.LEASE_SECONDS
    ends = timezone.now() + timedelta(seconds=settings.LEASE_SECONDS)
    found = rows.update({"lease_until": ends, **fields}, **_of(held))
    if found == len(held):
        for lease in held:
            lease.is_pushed(until)
    return found


def _lock(held: Sequence[Lease]) -> None:
    """Of several rows in the order of their ids, as everybody else who locks several does."""
    if len(held) > 1:
        _LOCKED.rows(**_of(held))


def renew_all(held: Sequence[Lease], **fields: Any) -> None:
    """Push the ends of one owner's leases further out, and write these fields of their actions with it.

    Several: inside a transaction, and all or none. Raises Cancelled when somebody asked for an operation's end,
    and Lost when it was ended or taken over.
    """
    _lock(held)
    if _push(held, _still_wanted(held), **fields) < len(held):
        raise held[0].why_not_wanted()


def end_all(held: Sequence[Lease], *, wanted: bool, **fields: Any) -> None:
    """Write how the actions of one owner's leases ended, and give these back with it. Inside a transaction.

    All or none. Raises Lost, and, where they must still be ``wanted``, Cancelled.
    """
    _lock(held)
    rows = _still_wanted(held) if wanted else _RUNNING
    if rows.update({"lease_owner": "", "lease_until": None, **fields}, **_of(held)) < len(held):
        raise held[0].why_not_wanted() if wanted else Lost("cancelled at the last moment")
    for lease in held:
        transaction.on_commit(lease.is_given_back)


class Keeper:
    """A thread that renews this process's leases; it sleeps until a third of one's time has passed."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._leases: list[Lease] = []
        self._wakes_at = float("inf")
        self._thread: threading.Thread | None = None

    def keep(self, lease: Lease) -> None:
        """Renew this one from now on."""
        with self._changed:
            self._leases.append(lease)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="leases", daemon=True)
                self._thread.start()
            elif clock() + lease.renewed_in() < self._wakes_at:
                self._changed.notify()

    def let_go(self, lease: Lease) -> None:
        """Renew it no more. Afterwards the thread is not at it."""
        with self._changed:
            self._leases.remove(lease)

    def _run(self) -> None:
        with self._changed:
            while True:
                self._renew()
                wait = self._wait()
                self._wakes_at = float("inf") if wait is None else clock() + wait
                self._changed.wait(wait)

    def _wait(self) -> float | None:
        """Seconds until the next renewal; not at once after one that did not work. None: there is no lease."""
        first = min((lease.renewed_in() for lease in self._leases), default=None)
        return None if first is None else max(first, settings.LEASE_SECONDS / 10)

    def _renew(self) -> None:
        due = [lease for lease in self._leases if lease.renewed_in() <= 0]
        for lease in due:
            try:
                lease.keep()
            except Exception:
                log.exception("could not renew the lease of action %s; trying on", lease.action_id)
        if due:
            connection.close()

    def forget(self) -> None:
        """In a child process, which has neither the thread nor the leases."""
        self.__init__()  # type: ignore[misc]  # what a keeper begins with is said there, once


keeper = Keeper()
os.register_at_fork(after_in_child=keeper.forget)


def _new_owner() -> str:
    return f"{socket.gethostname()[:20]}/{os.getpid()}/{uuid.uuid4().hex[:8]}"


def take(action_id: int) -> Lease | None:
    """The lease of an open action, or None: it is ended, or a live worker is at its instance."""
    if not _FREE.exist(pk=action_id, now=timezone.now()):
        return None  # whoever took on several at once is at it already, or was
    owner = _new_owner()
    for _ in range(2):
        until = clock() + settings.LEASE_SECONDS
        with suppress(IntegrityError):  # another action of the instance has a lease
            return Lease(action_id, owner, until) if _take(action_id, owner) else None
        if not _end_overdue(action_id):
            break
    return None


def take_more(first: Lease, operation: str, most: int, workers: int) -> list[Lease]:
    """Leases of more actions of the same operation that nobody has begun, for the same worker, the oldest first.

    So many that the other workers have as much to do and nobody waits for long, and at most ``most``.
    """
    untouched = {"lease_owner": "", "cancelled_by": "", "attempts": 0}
    rows = Action.objects.filter(operation=operation, state=ActionState.QUEUED, **untouched)
    free = rows.select_for_update(skip_locked=connection.features.has_select_for_update_skip_locked)
    with suppress(IntegrityError), transaction.atomic():  # another action of one of the instances has a lease
        waiting = list(free.order_by("pk").values_list("pk", flat=True)[: 2 * workers * most])
        taken = waiting[: min(most, len(waiting) // (2 * workers))]
        if taken:
            until = clock() + settings.LEASE_SECONDS
            Action.objects.filter(pk__in=taken).update(**_taken(first.owner), **ONE_MORE)
            return [Lease(action_id, first.owner, until) for action_id in taken]
    return []


def _taken(owner: str) -> dict[str, Any]:
    """What a row says of an action that somebody is at."""
    now = timezone.now()
    return {
        "state": ActionState.RUNNING,
        "lease_owner": owner,
        "lease_until": now + timedelta(seconds=settings.LEASE_SECONDS),
        "updated_at": now,
    }


def _take(action_id: int, owner: str) -> bool:
    """One conditional UPDATE. Raises IntegrityError while another action of the instance has a lease."""
    with transaction.atomic():
        return bool(_FREE.update(_taken(owner), pk=action_id, now=timezone.now()))


def _end_overdue(action_id: int) -> bool:
    """End leases that have run out on the instance of an action. Whether there was one."""
    instance = Subquery(Action.objects.filter(pk=action_id).values("instance"))
    overdue = Action.objects.filter(instance=instance, lease_until__lt=timezone.now()).exclude(lease_owner="")
    return bool(overdue.update(lease_owner=""))
