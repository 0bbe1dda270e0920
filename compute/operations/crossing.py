"""A guest between two hosts: how far it is, what is wanted of it, and which of the two has it after whatever happened.

What the hosts say decides, never what was meant to happen. A guest that runs at the source has not crossed,
whatever is at the target; one that does not, and is known at the target as its own, has.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from compute.hypervisor.interface import Busy, Hypervisor, Order, Transfer, Unreachable, Whereabouts
from compute.models import Host, Instance, Migration, VmState, announce
from compute.operations.calls import DidNotAnswer
from compute.operations.guest import guest_of

if TYPE_CHECKING:
    from compute.operations.engine import Operation

TELL_SECONDS = 1.0
ARRIVAL_SECONDS = 5.0  # a host sees to what was arriving when whoever brought it is gone; so long it has for that
LOOK_SECONDS = 0.1
OWN = (Whereabouts.RUNNING, Whereabouts.PAUSED, Whereabouts.OFF)  # what the target has as its own
LEFT = (Whereabouts.SENT, Whereabouts.ABSENT, Whereabouts.OFF)  # at the source, where it may run at the target
UNDECIDED = (Whereabouts.ARRIVING, Whereabouts.SENT)  # at the target
GIB = 1 << 30
LEAST_GIB = 2  # of memory and disk, that the time limit is reckoned by
ABORT, FORCE = "abort", "force_complete"


class Endless(Unreachable):
    """A crossing that was aborted goes on. What becomes of the guest is waited for, as for a host that is silent."""


class Progress:
    """Told by the driver how far a crossing is; writes it down, not too often, and says what is wanted."""

    def __init__(self, operation: Operation, migration: Migration) -> None:
        self._operation, self._migration = operation, migration
        self._began = time.monotonic()
        self._next = 0.0
        self._order = Order.GO_ON
        self.out_of_time = False

    def __call__(self, transfer: Transfer) -> Order:
        """What is to happen now. Once it is to be aborted or forced, it stays so."""
        if time.monotonic() < self._next or self._order is Order.ABORT:
            return self._order
        self._next = time.monotonic() + TELL_SECONDS
        if not self._operation.still_wanted():
            self._order = Order.ABORT
        elif self._order is Order.GO_ON and self._is_forced():
            self._order = Order.FORCE
        elif self._order is Order.GO_ON and self._is_late(transfer):
            self.out_of_time = True
            self._order = Order.FORCE if settings.LIVE_MIGRATION_TIMEOUT_ACTION == FORCE else Order.ABORT
        if self._order is not Order.ABORT:
            self._tell(transfer)
        return self._order

    def _is_forced(self) -> bool:
        return Migration.objects.filter(pk=self._migration.pk, forced=True).exists()

    def _is_late(self, transfer: Transfer) -> bool:
        """Nova's limit: so many seconds for each GiB that is to cross."""
        if not settings.LIVE_MIGRATION_COMPLETION_SECONDS:
            return False
        size = (transfer.memory_total_bytes + transfer.disk_total_bytes) / GIB
        return time.monotonic() - self._began > settings.LIVE_MIGRATION_COMPLETION_SECONDS * max(LEAST_GIB, size)

    def _tell(self, transfer: Transfer) -> None:
        """In the migration's row, and in percent for people; that never goes back. Nobody is told of nothing new."""
        stats = transfer.as_stats()
        if not any(stats.values()) or stats == self._migration.stats:
            return
        percent = max(min(transfer.percent, 99), self._operation.action.progress.get("percent", 0))
        with transaction.atomic():
            Migration.objects.filter(pk=self._migration.pk).update(stats=stats, updated_at=timezone.now())
            if percent != self._operation.action.progress.get("percent"):
                self._operation.note(percent=percent)
                Instance.objects.filter(pk=self._operation.instance.pk).update(progress=percent)
                announce("server", self._operation.instance.pk, self._operation.instance.project_id)
        self._migration.stats = stats


def settle(operation: Operation, migration: Migration) -> bool:
    """See to it that one of the two hosts has the guest and the other nothing of it that could run.

    Returns whether it has crossed; what is left of it at the source then may be removed. Raises Unreachable
    when a host does not answer without which it cannot be told or done. May be called as often as one likes.
    """
    assert migration.dest_host is not None
    source, target = (operation.hypervisor_of(host) for host in (migration.source_host, migration.dest_host))
    here, silence = _seen(source, operation, leaving=True)
    there, also_silence = _seen_settled(target, operation)
    if here is not Whereabouts.RUNNING and there in OWN:
        return True
    if there in UNDECIDED or (there in OWN and here is not None):
        target.remove(operation.instance.id)
        there = Whereabouts.ABSENT
    if silence is not None:
        if not _is_off(migration.source_host):
            raise silence
        return False
    if also_silence is not None and here in LEFT and not _is_off(migration.dest_host):
        raise also_silence
    _keep(source, operation.instance, here)
    return False


def _is_off(host: Host) -> bool:
    """Whether a host that does not answer is off for sure, and the guest with it."""
    host.refresh_from_db()
    return host.is_fenced


def _seen(
    hypervisor: Hypervisor, operation: Operation, *, leaving: bool = False
) -> tuple[Whereabouts | None, Unreachable | None]:
    """What a host says of the guest, when no crossing from there is under way any more; or that it says nothing.

    Raises Unreachable while one that is under way cannot be ended: until then nobody knows.
    """
    try:
        if leaving:
            _end(hypervisor, operation)
        return hypervisor.whereabouts(operation.instance.id), None
    except Endless:
        raise
    except Unreachable as error:
        return None, error
    except DidNotAnswer as error:
        return None, Unreachable(str(error))


def _end(hypervisor: Hypervisor, operation: Operation) -> None:
    try:
        hypervisor.end_migration(operation.instance.id)
    except Busy as error:
        raise Endless(str(error)) from error


def _seen_settled(target: Hypervisor, operation: Operation) -> tuple[Whereabouts | None, Unreachable | None]:
    """The same of the target. What stands still there is about to run or to end by itself."""
    deadline = time.monotonic() + ARRIVAL_SECONDS
    while (seen := _seen(target, operation))[0] in UNDECIDED and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)
    return seen


def _keep(source: Hypervisor, instance: Instance, here: Whereabouts | None) -> None:
    """It goes on at the source, as what the instance is; one that is not known there any more is defined anew, off."""
    if here is Whereabouts.ABSENT:
        source.define(guest_of(instance))
    elif here is not Whereabouts.OFF:
        source.stay(instance.id, paused=instance.vm_state == VmState.PAUSED)


def why_out_of_time() -> str:
    """For the action log, when the time limit has ended it."""
    limit = settings.LIVE_MIGRATION_COMPLETION_SECONDS
    return f"The guest could not be brought over within the time limit ({limit} s for each GiB)."
