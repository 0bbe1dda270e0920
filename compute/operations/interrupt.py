"""Switching a guest off for the time of an operation, changing its disks, and putting all back when that fails.

What was there before is noted with the action, so that whoever takes over after a worker's death
finds it. An operation that changes disks works in this order: it makes new volumes beside the old
ones, switches the guest off, lets the new ones count, starts the guest, and deletes the old ones.
Until that last step everything can be taken back; from it on nothing is.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from django.conf import settings
from django.db import transaction

from compute.hypervisor.interface import Gone, PowerState
from compute.models import Host
from compute.operations import held
from compute.operations.engine import Operation
from compute.operations.guest import guest_of
from compute.operations.layout import Layout
from compute.operations.power import start_afresh


def remember_power(operation: Operation) -> bool:
    """Whether the guest was on when the operation first came to it."""
    if "was_on" not in operation.action.progress:
        seen = operation.hypervisor.guest(operation.instance.id)
        operation.note(was_on=seen is not None and seen.power_state != PowerState.SHUTDOWN)
    return bool(operation.action.progress["was_on"])


def shut_down(operation: Operation) -> None:
    """Off, cleanly where the guest listens: button, wait, cut. Once: what runs later is the operation's own.

    Raises Lost when nobody wants it any more.
    """
    if remember_power(operation) and not operation.action.progress.get("is_off"):
        with suppress(Gone):
            operation.hypervisor.stop(operation.instance.id, settings.SHUTDOWN_GRACE_SECONDS, operation.still_wanted)
        operation.lease.renew()
        operation.note(is_off=True)


def cut_power(operation: Operation) -> None:
    """Off at once. Once: what runs later is the operation's own."""
    remember_power(operation)
    if not operation.action.progress.get("is_off"):
        switch_off(operation)
        operation.note(is_off=True)


def switch_off(operation: Operation) -> None:
    """Off at once, and no error if there is no guest."""
    with suppress(Gone):
        operation.hypervisor.destroy(operation.instance.id)


def put_back(operation: Operation) -> None:
    """Start it again from its rows, if it was on. For the undo of the step that switched it off."""
    if operation.action.progress.get("was_on") and not is_done(operation):
        operation.note(is_off=False)
        start_afresh(operation)


def remember_disks(operation: Operation) -> None:
    """Note which volumes count, before others do."""
    if "old_volume_names" not in operation.action.progress:
        operation.note(old_volume_names=operation.instance.volume_names)


def use_disks(operation: Operation, names: dict[str, str], **fields: Any) -> None:
    """From now on these volumes count, and these fields hold. Raises Lost when the operation is no longer ours."""
    with transaction.atomic():
        operation.lease.renew()
        operation.set_instance(volume_names=names, **fields)


def switch_to(
    operation: Operation, flavor: dict[str, Any], names: dict[str, str], *, off: bool, host: Host | None = None
) -> None:
    """From now on this flavor and these volumes count, and this host if it is given; start, unless it is to be off.

    Raises Lost when the operation is no longer ours.
    """
    operation.note(in_use=True)
    use_disks(operation, names, **held.amounts(flavor), **({} if host is None else {"host": host}))
    if off:
        operation.hypervisor.define(guest_of(operation.instance))
    else:
        start_afresh(operation)


def switch_back(operation: Operation, flavor: dict[str, Any], names: dict[str, str]) -> None:
    """For an undo: if others may count by now, this flavor and these volumes count again, and it is off."""
    if operation.action.progress.get("in_use") and not is_done(operation):
        use_disks(operation, names, **held.amounts(flavor))
        switch_off(operation)
        operation.hypervisor.define(guest_of(operation.instance))


def disks_were_changed(operation: Operation) -> bool:
    """Whether other volumes than at the beginning may count by now, and it can be taken back."""
    return "old_volume_names" in operation.action.progress and not is_done(operation)


def old_layout(operation: Operation) -> Layout:
    """The disks as they were at the beginning, whichever count now."""
    now = Layout.of(operation.instance)
    return Layout(now.instance_id, now.flavor, operation.action.progress.get("old_volume_names", now.names))


def mark_done(operation: Operation) -> None:
    """From here on nothing is undone."""
    operation.note(done=True)


def is_done(operation: Operation) -> bool:
    """Whether the operation is past the point where it could be taken back."""
    return bool(operation.action.progress.get("done"))
