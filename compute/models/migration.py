"""Migrations: instances on their way to another flavor (and, one day, another host), with what that holds."""

from __future__ import annotations

import uuid
from typing import Any

from django.db import models
from django.utils import timezone


class MigrationStatus(models.TextChoices):
    """Nova's states of a migration."""

    PRE_MIGRATING = "pre-migrating"
    MIGRATING = "migrating"
    POST_MIGRATING = "post-migrating"
    FINISHED = "finished"
    CONFIRMING = "confirming"
    CONFIRMED = "confirmed"
    REVERTING = "reverting"
    REVERTED = "reverted"
    ERROR = "error"


OPEN_MIGRATIONS = (
    MigrationStatus.PRE_MIGRATING,
    MigrationStatus.MIGRATING,
    MigrationStatus.POST_MIGRATING,
    MigrationStatus.FINISHED,
    MigrationStatus.CONFIRMING,
    MigrationStatus.REVERTING,
)


class Migration(models.Model):
    """One resize, from the request until it is confirmed or taken back.

    While it is open, two flavors are held: the instance's row says which one is in force, the other
    is what this row holds besides (its claim on the host, if ``claimed``, and the quota of the larger
    of each amount). ``old_volume_names`` are the disks as they were before, kept for taking it back.
    """

    uuid = models.UUIDField(unique=True, default=uuid.uuid4)
    instance = models.ForeignKey("compute.Instance", on_delete=models.CASCADE, related_name="migrations")
    migration_type = models.CharField(max_length=16, default="resize", choices=[("resize", "resize")])
    status = models.CharField(max_length=16, choices=MigrationStatus.choices, default=MigrationStatus.PRE_MIGRATING)
    source_host = models.ForeignKey("compute.Host", on_delete=models.CASCADE, related_name="+")
    dest_host = models.ForeignKey("compute.Host", on_delete=models.CASCADE, null=True, related_name="+")
    old_flavor = models.JSONField()
    new_flavor = models.JSONField()
    old_vm_state = models.CharField(max_length=24)
    old_volume_names = models.JSONField(default=dict, blank=True)
    claimed = models.BooleanField(default=False)
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

    def __str__(self) -> str:
        return f"{self.migration_type} of {self.instance_id} ({self.status})"

    @property
    def flavors(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The old one and the new one."""
        return self.old_flavor, self.new_flavor
