"""Relocations: many instances on their way to other hosts, one after the other, in one undertaking."""

from __future__ import annotations

import uuid

from django.db import models
from django.utils import timezone


class RelocationKind(models.TextChoices):
    """What for."""

    EVACUATION = "evacuation"  # the host is off
    DRAIN = "drain"  # the host is to be serviced
    REBALANCE = "rebalance"  # some hosts have more to do than others


class RelocationState(models.TextChoices):
    """Where it is. It can be begun anew once it has ended."""

    RUNNING = "running"
    STOPPED = "stopped"  # by somebody; what was under way then has gone on
    DONE = "done"
    INCOMPLETE = "incomplete"  # some instances are where they were


class Relocation(models.Model):
    """One undertaking, which the watcher sees to its end. ``host`` is the one that is left; rebalancing has none."""

    uuid = models.UUIDField(unique=True, default=uuid.uuid4)
    kind = models.CharField(max_length=16, choices=RelocationKind.choices)
    host = models.ForeignKey("compute.Host", on_delete=models.CASCADE, null=True, related_name="relocations")
    state = models.CharField(max_length=16, choices=RelocationState.choices, default=RelocationState.RUNNING)
    at_once = models.PositiveIntegerField(help_text="So many instances are under way at the same time.")
    shut_down = models.BooleanField(
        default=False, help_text="Instances that run and cannot be moved while they do are shut down for it."
    )
    automatic = models.BooleanField(default=False, help_text="Nobody asked: an aggregate of the host says so.")
    user_id = models.CharField(max_length=64, blank=True, default="")
    user_name = models.CharField(max_length=255, blank=True, default="")
    request_id = models.CharField(max_length=64)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["host"], condition=models.Q(state="running"), name="one_running_relocation_a_host"
            ),
            models.UniqueConstraint(
                fields=["kind"],
                condition=models.Q(state="running", kind="rebalance"),
                name="one_running_rebalance",
            ),
        ]
        indexes = [
            models.Index(fields=["state"], condition=models.Q(state="running"), name="running_relocations"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} ({self.state})"


class ItemState(models.TextChoices):
    """Where one instance of a relocation is."""

    WAITING = "waiting"
    MOVING = "moving"
    DONE = "done"
    FAILED = "failed"


class RelocationItem(models.Model):
    """One instance of a relocation. ``action`` is the operation that moves it, or that moved it last."""

    relocation = models.ForeignKey(Relocation, on_delete=models.CASCADE, related_name="items")
    instance = models.ForeignKey("compute.Instance", on_delete=models.CASCADE, related_name="+")
    state = models.CharField(max_length=16, choices=ItemState.choices, default=ItemState.WAITING)
    action = models.ForeignKey("compute.Action", on_delete=models.SET_NULL, null=True, related_name="+")
    source = models.ForeignKey("compute.Host", on_delete=models.CASCADE, null=True, related_name="+")
    target = models.ForeignKey("compute.Host", on_delete=models.CASCADE, null=True, related_name="+")
    message = models.TextField(blank=True, default="", help_text="What it waits for, or why it is where it was.")
    try_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["relocation", "instance"], name="one_item_an_instance"),
        ]
        indexes = [models.Index(fields=["relocation", "state"], name="items_by_state")]

    def __str__(self) -> str:
        return f"{self.instance_id} ({self.state})"
