"""Migrations: instances on their way to another flavor or another host, with what that holds."""

from __future__ import annotations

import uuid
from typing import Any

from django.db import models
from django.utils import timezone


class MigrationType(models.TextChoices):
    """Nova's kinds of migrations. ``MIGRATION`` is a cold one; ``RESIZE`` may lead to another host, too."""

    RESIZE = "resize"
    MIGRATION = "migration"
    LIVE = "live-migration"
    EVACUATION = "evacuation"


class MigrationStatus(models.TextChoices):
    """Nova's states of a migration."""

    # cold ones and resizes
    PRE_MIGRATING = "pre-migrating"
    MIGRATING = "migrating"
    POST_MIGRATING = "post-migrating"
    FINISHED = "finished"
    CONFIRMING = "confirming"
    CONFIRMED = "confirmed"
    REVERTING = "reverting"
    REVERTED = "reverted"
    # live ones
    QUEUED = "queued"
    PREPARING = "preparing"
    RUNNING = "running"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"
    # evacuations, which begin as accepted and pre-migrating
    ACCEPTED = "accepted"
    DONE = "done"
    # all of them
    ERROR = "error"


OPEN_MIGRATIONS = (
    MigrationStatus.PRE_MIGRATING,
    MigrationStatus.MIGRATING,
    MigrationStatus.POST_MIGRATING,
    MigrationStatus.FINISHED,
    MigrationStatus.CONFIRMING,
    MigrationStatus.REVERTING,
    MigrationStatus.QUEUED,
    MigrationStatus.PREPARING,
    MigrationStatus.RUNNING,
    MigrationStatus.ACCEPTED,
)


# Of a live one, what its instance shows of it, and can abort.
LIVE_IN_PROGRESS = (
    MigrationStatus.QUEUED,
    MigrationStatus.PREPARING,
    MigrationStatus.RUNNING,
    MigrationStatus.POST_MIGRATING,
)


class Migration(models.Model):
    """One resize, cold or live migration, or evacuation, from the request until it is confirmed, taken back or over.

    While it is open, two claims may be held: the instance's row says which host and flavor are in force,
    the others are what this row holds besides (if ``claimed``; and the quota of the larger of each amount).
    ``old_volume_names`` are the disks as they were before, kept for taking it back. ``stats`` is how far a
    live migration is, under Nova's names (``memory_total_bytes`` …, ``disk_remaining_bytes``).
    """

    uuid = models.UUIDField(unique=True, default=uuid.uuid4)
    instance = models.ForeignKey("compute.Instance", on_delete=models.CASCADE, related_name="migrations")
    migration_type = models.CharField(max_length=16, choices=MigrationType.choices, default=MigrationType.RESIZE)
    status = models.CharField(max_length=16, choices=MigrationStatus.choices, default=MigrationStatus.PRE_MIGRATING)
    source_host = models.ForeignKey("compute.Host", on_delete=models.CASCADE, related_name="+")
    dest_host = models.ForeignKey("compute.Host", on_delete=models.CASCADE, null=True, related_name="+")
    old_flavor = models.JSONField()
    new_flavor = models.JSONField()
    old_vm_state = models.CharField(max_length=24)
    old_volume_names = models.JSONField(default=dict, blank=True)
    claimed = models.BooleanField(default=False)
    left_behind = models.BooleanField(
        default=False, help_text="It was evacuated: its old host is to be rid of it before anything else."
    )
    forced = models.BooleanField(default=False, help_text="A live one is to come to its end whatever that takes.")
    stats = models.JSONField(default=dict, blank=True)
    user_id = models.CharField(max_length=64, blank=True, default="")
    project_id = models.CharField(max_length=64, blank=True, default="")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["instance"],
                condition=models.Q(status__in=OPEN_MIGRATIONS),
                name="one_open_migration_an_instance",
            )
        ]
        indexes = [
            models.Index(fields=["status"], condition=models.Q(status__in=OPEN_MIGRATIONS), name="open_migrations"),
            models.Index(fields=["source_host"], condition=models.Q(left_behind=True), name="left_behind"),
            models.Index(fields=["-created_at", "-id"], name="newest_migrations"),
        ]

    def __str__(self) -> str:
        return f"{self.migration_type} of {self.instance_id} ({self.status})"

    @property
    def flavors(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The old one and the new one."""
        return self.old_flavor, self.new_flavor

    @property
    def moves(self) -> bool:
        """Whether it leads to another host."""
        return self.dest_host_id is not None and self.dest_host_id != self.source_host_id
