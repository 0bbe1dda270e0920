"""What the watcher sees on a host, made true in the rows or on the host: the rules of the field, as a table.

Level, not edge: an event only says which guest to look at; what counts is what the host says now,
asked after the row was read. So what an operation did in between is never taken for news. Nothing is
done while a task is under way, or when the instance belongs to another host.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from compute.errors import ComputeError
from compute.hypervisor.interface import PowerState as Seen
from compute.models import Host, Instance, PowerState, VmState, announce
from compute.models.instance import InstanceQuerySet
from compute.operations.engine import Operation
from compute.operations.engine import request as request_operation
from compute.operations.power import HardReboot, KeepOff, Stop
from compute.operations.record import record
from portal.compiled import Rows, given
from portal.identity.actor import SYSTEM
from portal.requestid import new_request_id, working_on

log = logging.getLogger(__name__)

# Asks the host how a guest is; None: it is not there.
Look = Callable[[UUID], Seen | None]


class Rule(enum.Enum):
    """What follows from a state that is not as it should be."""

    STOPPED = "it is off: so the instance is stopped"
    STOP = "it is neither on nor off: stop it"
    KEEP_OFF = "it should be off: power it off"
    WARN = "leave it, and say so"


RULES: dict[tuple[VmState, PowerState], Rule] = {
    (VmState.ACTIVE, PowerState.SHUTDOWN): Rule.STOPPED,
    (VmState.ACTIVE, PowerState.CRASHED): Rule.STOPPED,
    (VmState.ACTIVE, PowerState.SUSPENDED): Rule.STOP,
    (VmState.ACTIVE, PowerState.PAUSED): Rule.WARN,
    (VmState.ACTIVE, PowerState.NOSTATE): Rule.WARN,
    (VmState.PAUSED, PowerState.SHUTDOWN): Rule.STOPPED,
    (VmState.PAUSED, PowerState.CRASHED): Rule.STOPPED,
    **{
        (vm_state, power): Rule.KEEP_OFF
        for vm_state in (VmState.STOPPED, VmState.SOFT_DELETED, VmState.SHELVED)
        for power in (PowerState.RUNNING, PowerState.PAUSED, PowerState.SUSPENDED)
    },
}
# What is asked for by a rule that ends in an operation.
_ASKED: dict[Rule, type[Operation]] = {Rule.STOP: Stop, Rule.KEEP_OFF: KeepOff}
_GONE = (PowerState.SHUTDOWN, PowerState.CRASHED, PowerState.NOSTATE)


def _settled(*names: str) -> InstanceQuerySet:
    """Instances that something may follow for, of the host and with what else is given."""
    here = Instance.objects.alive().filter(task_state=None, **given(Instance, "host", *names))
    return here.exclude(vm_state=VmState.BUILDING)


# Most events are of operations under way, or tell what the row says already: so little is asked at first.
_LITTLE = ("pk", "vm_state", "power_state", "updated_at")
_SETTLED_ALL = Rows(lambda: _settled().values_list(*_LITTLE, named=True))
_SETTLED_ONE = Rows(lambda: _settled("pk").values_list(*_LITTLE, named=True))
_SETTLED_WHOLE = Rows(lambda: _settled("pk", "vm_state", "updated_at"))


def observe(host: Host, instance_id: UUID, look: Look, *, at_start: bool = False) -> bool:
    """Compare an instance with its guest, and do what the rules say. True: something changed or was asked for.

    ``at_start``: the watch of this host begins. What the host no longer runs is then started again,
    where ``RESUME_GUESTS`` says so. Raises what ``look`` raises.
    """
    row = _SETTLED_ONE.first(pk=instance_id, host=host)
    if row is None:
        return False
    power = _power(look(instance_id))
    if not _differs(row.vm_state, row.power_state, power, at_start):
        return False
    instance = _SETTLED_WHOLE.first(pk=row.pk, host=host, vm_state=row.vm_state, updated_at=row.updated_at)
    if instance is None:
        return False  # an operation came in between; what it did is an event of its own
    with working_on(new_request_id(), SYSTEM.user_name):
        if _is_to_resume(instance.vm_state, power, at_start):
            return _ask(HardReboot, instance, power)
        rule = RULES.get((VmState(instance.vm_state), power))
        if rule in _ASKED:
            return _ask(_ASKED[rule], instance, power)
        return _write(instance, power, rule)


def _power(seen: Seen | None) -> PowerState:
    return PowerState(int(seen)) if seen is not None else PowerState.NOSTATE


def _differs(vm_state: str, known: int, power: PowerState, at_start: bool) -> bool:
    """Whether anything follows from what was seen: the row says something else, or a rule has more to do."""
    rule = RULES.get((VmState(vm_state), power))
    return power != known or rule not in (None, Rule.WARN) or _is_to_resume(vm_state, power, at_start)


def _is_to_resume(vm_state: str, power: PowerState, at_start: bool) -> bool:
    return at_start and settings.RESUME_GUESTS and vm_state == VmState.ACTIVE and power in _GONE


def _ask(operation: type[Operation], instance: Instance, power: PowerState) -> bool:
    """Through an operation, so that it is in the action log."""
    try:
        request_operation(operation, instance, SYSTEM)
    except ComputeError as error:
        log.info("instance %s: %s", instance.pk, error)
        return False
    log.warning(
        "instance %s is %s but its guest is %s: %s", instance.pk, instance.vm_state, power.label, operation.name
    )
    return True


def _write(instance: Instance, power: PowerState, rule: Rule | None) -> bool:
    """Write what was seen, unless an operation came in between."""
    if power == instance.power_state and rule is not Rule.STOPPED:
        return False
    fields: dict[str, Any] = {"power_state": power, "updated_at": timezone.now()}
    if rule is Rule.STOPPED:
        fields["vm_state"] = VmState.STOPPED
    unchanged = Instance.objects.filter(
        pk=instance.pk,
        host=instance.host_id,
        task_state=None,
        vm_state=instance.vm_state,
        updated_at=instance.updated_at,
        deleted_at=None,
    )
    with transaction.atomic():
        if not unchanged.update(**fields):
            return False
        if rule is Rule.STOPPED:
            crashed = power == PowerState.CRASHED
            message = "The guest crashed." if crashed else "The guest shut itself down."
            record(instance, SYSTEM, "stop", message=message)
        announce("server", instance.pk, instance.project_id)
    level = logging.WARNING if rule else logging.INFO
    log.log(level, "instance %s is %s, its guest is %s", instance.pk, instance.vm_state, power.label)
    return True


def observe_all(host: Host, seen: dict[UUID, Seen], look: Look, *, at_start: bool = False) -> int:
    """The periodic pass: compare every instance of a host with what runs there. Returns how many changed.

    ``seen`` is what runs; ``look`` is asked again about those that differ.
    """
    changed = 0
    for row in _SETTLED_ALL.all(host=host):
        if _differs(row.vm_state, row.power_state, _power(seen.get(row.pk)), at_start):
            changed += observe(host, row.pk, look, at_start=at_start)
    return changed
