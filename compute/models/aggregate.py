"""Host aggregates: groups of hosts with metadata that the scheduler's filters read, and availability zones."""

from __future__ import annotations

from uuid import uuid4

from django.db import models
from django.utils import timezone

# What makes an aggregate an availability zone is this key of its metadata, as in Nova.
ZONE_KEY = "availability_zone"


class Aggregate(models.Model):
    """A named group of hosts. A host is in any number of aggregates, and in one zone at the most."""

    id = models.BigAutoField(primary_key=True)
    uuid = models.UUIDField(unique=True, default=uuid4)
    name = models.CharField(max_length=255, unique=True)
    metadata = models.JSONField(default=dict, blank=True, help_text="Strings to strings.")
    hosts = models.ManyToManyField("compute.Host", blank=True, related_name="aggregates")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(null=True, blank=True)  # null on the wire until the first change

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return self.name

    @property
    def zone(self) -> str | None:
        """The availability zone that it makes of its hosts, if any."""
        zone: str | None = self.metadata.get(ZONE_KEY)
        return zone
