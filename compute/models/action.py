"""Actions: operations as rows. The row is the operation; the queue only says which row to look at."""

from __future__ import annotations

from django.db import models
from django.utils import timezone


class ActionState(models.TextChoices):
    """Where an operation is."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    ERROR = "error"
    CANCELLED = "cancelled"


OPEN_STATES = (ActionState.QUEUED, ActionState.RUNNING)


class Action(models.Model):
    """One operation on an instance, from the request to its end.

    ``lease_owner`` names the worker that is at it now (empty: none); it is trusted until
    ``lease_until``. The database allows one leased action an instance.
    """

    instance = models.ForeignKey("compute.Instance", on_delete=models.CASCADE, related_name="actions")
    operation = models.CharField(max_length=32)
    request_id = models.CharField(max_length=64, db_index=True)
    user_id = models.CharField(max_length=64, blank=True, default="")
    user_name = models.CharField(max_length=255, blank=True, default="")
    project_id = models.CharField(max_length=64, blank=True, default="")
    project_name = models.CharField(max_length=255, blank=True, default="")
    params = models.JSONField(default=dict, blank=True)
    progress = models.JSONField(default=dict, blank=True, help_text="What steps leave for later steps and for people.")
    secret = models.TextField(
        blank=True, default="", editable=False, help_text="Sealed, for the worker alone; gone when the action ends."
    )

    cancelled_by = models.CharField(
        max_length=255, blank=True, default="", help_text="Who asked for its end. Its worker then undoes it."
    )
    past_return = models.BooleanField(default=False, help_text="It is past the point where it could be cancelled.")

    state = models.CharField(max_length=16, choices=ActionState.choices, default=ActionState.QUEUED)
    message = models.TextField(blank=True, default="")
    attempts = models.PositiveIntegerField(default=0)
    lease_owner = models.CharField(max_length=64, blank=True, default="")
    lease_until = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["instance"], condition=~models.Q(lease_owner=""), name="one_leased_action_an_instance"
            )
        ]
        indexes = [
            models.Index(fields=["state"], condition=models.Q(state__in=["queued", "running"]), name="open_actions"),
        ]

    def __str__(self) -> str:
        return f"{self.operation} ({self.state})"


class Event(models.Model):
    """One step of an operation. ``result`` is empty while it runs, then Success or Error (Nova's words)."""

    action = models.ForeignKey(Action, on_delete=models.CASCADE, related_name="events")
    name = models.CharField(max_length=64)
    attempt = models.PositiveIntegerField(default=1)
    host = models.CharField(max_length=255, blank=True, default="")
    started_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True, blank=True)
    result = models.CharField(max_length=16, blank=True, default="")
    message = models.TextField(blank=True, default="", help_text="For the owner.")
    traceback = models.TextField(blank=True, default="", help_text="For administrators alone.")

    class Meta:
        ordering = ["started_at", "id"]

    def __str__(self) -> str:
        return self.name
