"""Schedules: snapshots and backup images that are made by themselves, of which the last few are kept.

The watcher looks each second for what is due (``run_due``). A run is taken by one conditional UPDATE
in the transaction that asks for the operation: so it happens once, on any number of watchers, and a
run that was due while Nacelle was off happens once, when it is back. An instance that does not allow
it now is asked again every minute until the next run is due; then the run is given up, and said so.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from compute.errors import ComputeError, Conflict, Invalid, NotFound, QuotaExceeded
from compute.models import (
    Action,
    Frequency,
    Instance,
    ScheduleKind,
    SnapshotSchedule,
    VmState,
    Weekday,
    announce,
)
from compute.operations.engine import request as request_operation
from compute.operations.in_place import ON, CreateSnapshot
from compute.operations.snapshot import CreateBackup
from compute.schedule_times import Timing, zone_named
from portal.compiled import Rows, moment
from portal.identity.actor import Actor, actor_on_project
from portal.identity.models import User
from portal.identity.policy import Forbidden, enforce
from portal.requestid import new_request_id, working_on

log = logging.getLogger(__name__)

GET, MODIFY = "nacelle:schedules:get", "nacelle:schedules:modify"
AGAIN = timedelta(seconds=60)  # after which a run that the instance did not allow is tried again
SCHEDULES_CAP = 10  # of one instance
BACKUPS_CAP = 1000
NAME_CAP = 100
CHANGEABLE = frozenset(
    {"name", "kind", "memory", "frequency", "minute", "hour", "weekday", "time_zone", "keep", "enabled"}
)
_TIMES = frozenset({"frequency", "minute", "hour", "weekday", "time_zone"})
_CHOICES: dict[str, Any] = {"kind": ScheduleKind, "frequency": Frequency, "weekday": Weekday}


def find(actor: Actor, schedule_id: UUID, instance: Instance) -> SnapshotSchedule:
    """The schedule of an instance. Raises NotFound."""
    enforce(actor, GET, instance.project_id)
    rows = SnapshotSchedule.objects.filter(instance=instance).select_related("instance", "last_action")
    found = rows.filter(pk=schedule_id).first()
    if found is None:
        raise NotFound(f"Schedule {schedule_id} could not be found.")
    return found


def create_schedule(actor: Actor, instance: Instance, **fields: Any) -> SnapshotSchedule:
    """A schedule of an instance; ``fields`` are among ``CHANGEABLE``.

    Its runs are the instance's project's: they go on when whoever made it is gone. Raises Invalid,
    Conflict (its name is taken) and QuotaExceeded.
    """
    enforce(actor, MODIFY, instance.project_id)
    schedule = SnapshotSchedule(instance=instance, user_id=actor.user_id, user_name=actor.user_name)
    _fill(schedule, fields)
    with transaction.atomic():
        # Whoever else makes one for this instance waits here, so that the count is true.
        if not Instance.objects.select_for_update().alive().filter(pk=instance.pk).exists():
            raise NotFound(f"Instance {instance.pk} could not be found.")
        if SnapshotSchedule.objects.filter(instance=instance).count() >= SCHEDULES_CAP:
            raise QuotaExceeded(f"The server has {SCHEDULES_CAP} schedules already.")
        _check_name(schedule)
        schedule.save(force_insert=True)
        _announce(schedule)
    return schedule


def update_schedule(actor: Actor, schedule: SnapshotSchedule, **fields: Any) -> SnapshotSchedule:
    """Change some of its fields. Another time, or switching it on, counts from now. Raises as ``create_schedule``."""
    enforce(actor, MODIFY, schedule.instance.project_id)
    with transaction.atomic():
        fresh = SnapshotSchedule.objects.select_for_update().filter(pk=schedule.pk).first()
        if fresh is None:
            raise NotFound(f"Schedule {schedule.pk} could not be found.")
        _fill(fresh, fields)
        _check_name(fresh)
        fresh.save(update_fields=[*fields, "next_run_at", "try_at", "waits_for"])
        _announce(fresh)
    return find(actor, schedule.pk, schedule.instance)


def delete_schedule(actor: Actor, schedule: SnapshotSchedule) -> None:
    """No more runs. What it made stays, and nothing removes that by itself any more."""
    enforce(actor, MODIFY, schedule.instance.project_id)
    with transaction.atomic():
        SnapshotSchedule.objects.filter(pk=schedule.pk).delete()
        _announce(schedule)


def _fill(schedule: SnapshotSchedule, fields: dict[str, Any]) -> None:
    """Take the fields in, and see when it is due. Raises Invalid."""
    assert set(fields) <= CHANGEABLE, fields
    was_off = not schedule.enabled or schedule._state.adding
    for name, value in fields.items():
        setattr(schedule, name, value)
    _check(schedule)
    if was_off or _TIMES & set(fields):
        schedule.next_run_at = schedule.try_at = Timing.of(schedule).next_after(timezone.now())
        schedule.waits_for = ""


def _check(schedule: SnapshotSchedule) -> None:
    schedule.name = schedule.name.strip()
    if not schedule.name or len(schedule.name) > NAME_CAP:
        raise Invalid(f"A schedule needs a name of 1 to {NAME_CAP} characters.", about="name")
    for name, choices in _CHOICES.items():
        if getattr(schedule, name) not in choices.values:
            raise Invalid(f"'{name}' is one of {', '.join(str(value) for value in choices.values)}.", about=name)
    snapshots = schedule.kind == ScheduleKind.SNAPSHOT
    ranges = {"minute": (0, 59), "hour": (0, 23)}
    ranges["keep"] = (1, settings.SNAPSHOTS_PER_INSTANCE if snapshots else BACKUPS_CAP)
    for name, (least, most) in ranges.items():
        if not least <= getattr(schedule, name) <= most:
            raise Invalid(f"'{name}' is a number from {least} to {most}.", about=name)
    if schedule.memory and not snapshots:
        raise Invalid("A backup image holds no memory.", about="memory")
    zone_named(schedule.time_zone)


def _check_name(schedule: SnapshotSchedule) -> None:
    others = SnapshotSchedule.objects.filter(instance=schedule.instance_id, name=schedule.name)
    if others.exclude(pk=schedule.pk).exists():
        raise Conflict(f"The server has a schedule named '{schedule.name}' already.")


def _announce(schedule: SnapshotSchedule) -> None:
    announce("schedule", schedule.pk, schedule.instance.project_id)


# what the watcher does ------------------------------------------------------------------------------
def _due() -> QuerySet[SnapshotSchedule]:
    due = SnapshotSchedule.objects.filter(enabled=True, try_at__lte=moment("now"), instance__deleted_at=None)
    due = due.exclude(instance__vm_state=VmState.SOFT_DELETED).order_by("try_at")
    return due.select_related("instance__project__domain")[:100]


_DUE = Rows(_due)


def run_due() -> int:
    """Ask for all that is due. Returns for how many. What is soft-deleted waits until it is restored."""
    now = timezone.now()
    ran = 0
    for schedule in _DUE.all(now=now):
        with working_on(new_request_id(), "schedule"):
            try:
                ran += _run(schedule, now)
            except Exception:  # one that cannot be helped must not hold up the others
                log.exception("schedule %s of %s", schedule.pk, schedule.instance_id)
                _put_off(schedule, now, "An internal error; the administrator finds it in the log.")
    return ran


def _run(schedule: SnapshotSchedule, now: datetime) -> bool:
    """Take the run and ask for the operation, both or neither. False: another watcher has it, or it waits."""
    timing = Timing.of(schedule)
    upcoming = timing.next_after(now)
    taken = {"next_run_at": upcoming, "try_at": upcoming, "waits_for": "", "last_run_at": now}
    if schedule.waits_for and timing.next_after(schedule.next_run_at) <= now:
        taken |= {"missed_at": schedule.next_run_at, "missed_why": schedule.waits_for}
    try:
        with transaction.atomic():
            if not _as_seen(schedule).update(**taken):
                return False
            action = _ask(schedule, now)
            SnapshotSchedule.objects.filter(pk=schedule.pk).update(last_action=action)
            _announce(schedule)
    except (ComputeError, Forbidden) as error:
        log.info("schedule %s of %s: %s", schedule.pk, schedule.instance_id, error)
        _put_off(schedule, now, str(error))
        return False
    return True


def _as_seen(schedule: SnapshotSchedule) -> Any:
    """Its row, unless another watcher or a user has changed when it is due."""
    return SnapshotSchedule.objects.filter(
        pk=schedule.pk, enabled=True, next_run_at=schedule.next_run_at, try_at=schedule.try_at
    )


def _ask(schedule: SnapshotSchedule, now: datetime) -> Action:
    instance = schedule.instance
    name = f"{schedule.name} {now:%Y-%m-%d %H:%M}"
    if schedule.kind == ScheduleKind.SNAPSHOT:
        memory = schedule.memory and instance.vm_state in ON
        wanted = {"name": name, "memory": memory, "schedule": str(schedule.pk)}
        return request_operation(CreateSnapshot, instance, _who(schedule), **wanted)
    backup = {"name": f"{instance.name[:120]} {name}", "backup_type": backup_type(schedule), "rotation": schedule.keep}
    return request_operation(CreateBackup, instance, _who(schedule), **backup)


def backup_type(schedule: SnapshotSchedule) -> str:
    """The mark of its backup images: rotation heeds nothing else."""
    return f"schedule {schedule.pk}"


def _who(schedule: SnapshotSchedule) -> Actor:
    """The project, with what a member of it may do; named after who made it, while that is still one of them.

    Raises Conflict for a project that is disabled.
    """
    project = schedule.instance.project
    if not (project.enabled and project.domain.enabled):
        raise Conflict("The project is disabled.")
    maker = User.objects.filter(pk=schedule.user_id).first()
    member = actor_on_project(maker, project) if maker is not None else None
    named = member is not None and "member" in member.roles
    return Actor(
        user_id=schedule.user_id if named else "",
        user_name=schedule.user_name if named else "",
        project_id=project.id,
        project_name=project.name,
        roles=frozenset({"member", "reader"}),
    )


def _put_off(schedule: SnapshotSchedule, now: datetime, why: str) -> None:
    """Try again soon. When the next run is due by now, that one waits instead and this one was missed."""
    timing = Timing.of(schedule)
    following = timing.next_after(schedule.next_run_at)
    fields: dict[str, Any] = {"waits_for": why[:255], "try_at": now + AGAIN}
    if following <= now:
        fields["next_run_at"] = timing.last_until(now, following)
        fields |= {"missed_at": schedule.next_run_at, "missed_why": (schedule.waits_for or why)[:255]}
    with transaction.atomic():
        if _as_seen(schedule).update(**fields):
            _announce(schedule)
