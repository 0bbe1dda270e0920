"""Schedules: snapshots and backups of an instance that Nacelle makes by itself, keeping the last few."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from django.db import models
from django.utils import timezone

if TYPE_CHECKING:
    from portal.identity.actor import Actor


class ScheduleKind(models.TextChoices):
    """What a schedule makes."""

    SNAPSHOT = "snapshot", "Snapshot"
    BACKUP = "backup", "Backup image"


class Frequency(models.TextChoices):
    """How often."""

    HOURLY = "hourly", "Hourly"
    DAILY = "daily", "Daily"
    WEEKLY = "weekly", "Weekly"


class Weekday(models.IntegerChoices):
    """The days of a week (Python's numbers)."""

    MONDAY = 0
    TUESDAY = 1
    WEDNESDAY = 2
    THURSDAY = 3
    FRIDAY = 4
    SATURDAY = 5
    SUNDAY = 6


class SnapshotScheduleQuerySet(models.QuerySet["SnapshotSchedule"]):
    """Reads of schedules."""

    def visible_to(self, actor: Actor, all_projects: bool = False) -> SnapshotScheduleQuerySet:
        """Those of the project's instances; of all projects when an administrator asks for them."""
        if all_projects and actor.is_admin:
            return self
        return self.filter(instance__project_id=actor.project_id)


class SnapshotSchedule(models.Model):
    """When something is made of an instance, and how many of them are kept.

    ``next_run_at`` is the run that is due next; ``try_at`` when it is looked at: the same moment, or
    later while the instance did not allow it. Whoever moves both in one conditional UPDATE makes the run.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    instance = models.ForeignKey("compute.Instance", on_delete=models.CASCADE, related_name="snapshot_schedules")
    name = models.CharField(max_length=100)
    kind = models.CharField(max_length=16, choices=ScheduleKind.choices, default=ScheduleKind.SNAPSHOT)
    memory = models.BooleanField(default=False, help_text="Of snapshots: with the memory, if the guest is on.")
    frequency = models.CharField(max_length=8, choices=Frequency.choices, default=Frequency.DAILY)
    minute = models.PositiveSmallIntegerField(default=0)
    hour = models.PositiveSmallIntegerField(default=0, help_text="Of daily and weekly ones.")
    weekday = models.PositiveSmallIntegerField(choices=Weekday.choices, default=Weekday.MONDAY)
    time_zone = models.CharField(max_length=64, default="UTC", help_text="A name of the IANA's: Europe/Berlin.")
    keep = models.PositiveSmallIntegerField(default=7)
    enabled = models.BooleanField(default=True)
    next_run_at = models.DateTimeField()
    try_at = models.DateTimeField(db_index=True)
    waits_for = models.CharField(max_length=255, blank=True, default="", help_text="Why the run that is due waits.")
    missed_at = models.DateTimeField(null=True, blank=True, help_text="The last run that was given up.")
    missed_why = models.CharField(max_length=255, blank=True, default="")
    last_run_at = models.DateTimeField(null=True, blank=True)
    last_action = models.ForeignKey(
        "compute.Action", on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    user_id = models.CharField(max_length=64, blank=True, default="")
    user_name = models.CharField(max_length=255, blank=True, default="")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = SnapshotScheduleQuerySet.as_manager()

    class Meta:
        ordering = ["created_at", "id"]
        constraints = [models.UniqueConstraint(fields=["instance", "name"], name="one_schedule_of_a_name")]

    def __str__(self) -> str:
        return self.name
