"""Fencing: hosts that are switched off from afar, so that nothing runs there for sure; and what happened to hosts."""

from __future__ import annotations

from django.db import models
from django.utils import timezone


class FencingState(models.TextChoices):
    """Where a fencing is."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


OPEN_FENCINGS = (FencingState.QUEUED, FencingState.RUNNING)


class Fencing(models.Model):
    """One time that a host was fenced: by its method, or by somebody's word (``method`` is empty then).

    ``lease_owner`` names the process that is at it (empty: none); it is trusted until ``lease_until``.
    """

    host = models.ForeignKey("compute.Host", on_delete=models.CASCADE, related_name="fencings")
    method = models.CharField(max_length=64, blank=True, default="")
    automatic = models.BooleanField(default=False, help_text="Nobody asked: an aggregate of the host says so.")
    state = models.CharField(max_length=16, choices=FencingState.choices, default=FencingState.QUEUED)
    result = models.TextField(blank=True, default="", help_text="What came of it, in a sentence.")
    output = models.TextField(blank=True, default="", help_text="The end of what the method's programs printed.")
    user_id = models.CharField(max_length=64, blank=True, default="")
    user_name = models.CharField(max_length=255, blank=True, default="")
    request_id = models.CharField(max_length=64)
    attempts = models.PositiveIntegerField(default=0)
    lease_owner = models.CharField(max_length=64, blank=True, default="")
    lease_until = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["host"], condition=models.Q(state__in=OPEN_FENCINGS), name="one_open_fencing_a_host"
            )
        ]

    def __str__(self) -> str:
        return f"{self.method or 'by word'} ({self.state})"


class HostEvent(models.Model):
    """Something that happened to a host, in a sentence for administrators. ``user_name`` empty: by itself."""

    host = models.ForeignKey("compute.Host", on_delete=models.CASCADE, related_name="events")
    at = models.DateTimeField(default=timezone.now)
    kind = models.CharField(max_length=16)  # "state", "fence", "evacuation", "drain"
    message = models.TextField()
    user_id = models.CharField(max_length=64, blank=True, default="")
    user_name = models.CharField(max_length=255, blank=True, default="")
    request_id = models.CharField(max_length=64, blank=True, default="")

    class Meta:
        ordering = ["-at", "-id"]
        indexes = [models.Index(fields=["host", "-at"], name="events_of_a_host")]

    def __str__(self) -> str:
        return self.message
