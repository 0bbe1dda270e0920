"""Server groups: instances of a project that belong together, or apart."""

from __future__ import annotations

from uuid import uuid4

from django.db import models
from django.utils import timezone


class GroupPolicy(models.TextChoices):
    """How a group's instances are spread over the hosts (compute API, server groups)."""

    AFFINITY = "affinity"
    ANTI_AFFINITY = "anti-affinity"
    SOFT_AFFINITY = "soft-affinity"
    SOFT_ANTI_AFFINITY = "soft-anti-affinity"


class ServerGroup(models.Model):
    """A group with one policy, for good. Its members are the instances that name it (``Instance.server_group``)."""

    id = models.UUIDField(primary_key=True, default=uuid4)
    name = models.CharField(max_length=255)
    project = models.ForeignKey("identity.Project", on_delete=models.CASCADE, related_name="server_groups")
    # No constraint: who made it outlives the user.
    user = models.ForeignKey(
        "identity.User", on_delete=models.DO_NOTHING, null=True, db_constraint=False, related_name="+"
    )
    policy = models.CharField(max_length=24, choices=GroupPolicy.choices)
    max_server_per_host = models.PositiveIntegerField(
        null=True, blank=True, help_text="Of anti-affinity: so many on one host; empty: one."
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["created_at", "id"]

    def __str__(self) -> str:
        return self.name
