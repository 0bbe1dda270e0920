"""In-place snapshots: moments of an instance's disks, some with its memory, to which it can go back."""

from __future__ import annotations

import uuid

from django.db import models
from django.utils import timezone


class SnapshotState(models.TextChoices):
    """Where a snapshot is."""

    CREATING = "creating"
    AVAILABLE = "available"
    DELETING = "deleting"
    ERROR = "error"


class Snapshot(models.Model):
    """One snapshot. This row is the truth; on the host its id names what is kept in the disks' files.

    The tree is made of ``parent``; ``current`` marks the one that the disks of today stand on.
    ``definition`` is what the driver needs to go back to the memory: opaque, and never shown.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    instance = models.ForeignKey("compute.Instance", on_delete=models.CASCADE, related_name="snapshots")
    parent = models.ForeignKey("self", on_delete=models.SET_NULL, null=True, blank=True, related_name="children")
    # What a schedule made outlives it; nothing removes it by itself then.
    schedule = models.ForeignKey(
        "compute.SnapshotSchedule", on_delete=models.SET_NULL, null=True, blank=True, related_name="snapshots"
    )
    name = models.CharField(max_length=255)
    description = models.CharField(max_length=255, blank=True, default="")
    state = models.CharField(max_length=16, choices=SnapshotState.choices, default=SnapshotState.CREATING)
    current = models.BooleanField(default=False)
    memory = models.BooleanField(default=False, help_text="It holds the memory of a guest that was on.")
    size_bytes = models.BigIntegerField(null=True, blank=True, help_text="What it took on the host when it was made.")
    definition = models.TextField(blank=True, default="", editable=False)
    vm_state = models.CharField(max_length=24, blank=True, default="", help_text="The instance's, at that moment.")
    devices = models.JSONField(
        default=dict, blank=True, help_text="What the memory knows: the flavor's amounts, the network cards."
    )
    user_id = models.CharField(max_length=64, blank=True, default="")
    user_name = models.CharField(max_length=255, blank=True, default="")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["created_at", "id"]
        constraints = [
            models.UniqueConstraint(fields=["instance", "name"], name="one_snapshot_of_a_name"),
            models.UniqueConstraint(
                fields=["instance"], condition=models.Q(current=True), name="one_current_snapshot_an_instance"
            ),
        ]

    def __str__(self) -> str:
        return self.name
