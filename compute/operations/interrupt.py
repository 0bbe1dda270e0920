"""Switching a guest off for the time of an operation, and putting it back as it was when that fails."""

from __future__ import annotations

from contextlib import suppress

from django.conf import settings

from compute.hypervisor.interface import Gone, PowerState
from compute.operations.engine import Operation
from compute.operations.power import start_afresh


def remember_power(operation: Operation) -> bool:
    """Whether the guest was on when the operation first came to it. Noted, for whoever takes over."""
    if "was_on" not in operation.action.progress:
        seen = operation.hypervisor.guest(operation.instance.id)
        operation.note(was_on=seen is not None and seen.power_state != PowerState.SHUTDOWN)
    return bool(operation.action.progress["was_on"])


def shut_down(operation: Operation) -> None:
    """Off, cleanly where the guest listens: button, wait, cut. Raises Lost when nobody wants it any more."""
    if remember_power(operation):
        with suppress(Gone):
            operation.hypervisor.stop(operation.instance.id, settings.SHUTDOWN_GRACE_SECONDS, operation.still_wanted)
        operation.lease.renew()


def cut_power(operation: Operation) -> None:
    """Off at once."""
    remember_power(operation)
    switch_off(operation)


def switch_off(operation: Operation) -> None:
    """Off at once, and no error if there is no guest."""
    with suppress(Gone):
        operation.hypervisor.destroy(operation.instance.id)


def put_back(operation: Operation) -> None:
    """Start it again from its rows, if it was on. For the undo of the step that switched it off."""
    if operation.action.progress.get("was_on"):
        start_afresh(operation)
