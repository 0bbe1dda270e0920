"""Host aggregates: groups of hosts with metadata that the scheduler's filters read, and availability zones."""

from __future__ import annotations

from uuid import uuid4

from django.conf import settings
from django.db import models
from django.utils import timezone

# What makes an aggregate an availability zone is this key of its metadata, as in Nova.
ZONE_KEY = "availability_zone"
# Whether hosts of it that fail are evacuated by themselves, and after how many seconds.
EVACUATE_KEY = "nacelle:evacuate"
EVACUATE_AFTER_KEY = "nacelle:evacuate_after"
YES = frozenset({"true", "yes", "on", "1"})


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

    @property
    def evacuates(self) -> bool:
        """Whether hosts of it that fail are evacuated by themselves."""
        return str(self.metadata.get(EVACUATE_KEY, "")).strip().lower() in YES

    @property
    def evacuates_after(self) -> int:
        """Seconds that a host of it must be down before that."""
        given = str(self.metadata.get(EVACUATE_AFTER_KEY, "")).strip()
        usual: int = settings.AUTO_EVACUATE_AFTER_SECONDS
        return int(given) if given.isascii() and given.isdigit() and len(given) <= 6 else usual
