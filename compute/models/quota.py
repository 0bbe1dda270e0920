"""Quotas: how much a project may have, and how much it has."""

from __future__ import annotations

from django.db import models

UNLIMITED = -1
# Nova's own defaults for what Nacelle counts.
DEFAULT_LIMITS = {
    "instances": 10,
    "cores": 20,
    "memory_mb": 51_200,
    "key_pairs": 100,
    "metadata_items": 128,
    "server_groups": 10,
    "server_group_members": 10,
}


class QuotaLimit(models.Model):
    """A limit that differs from the default, for one project. -1 is no limit."""

    project = models.ForeignKey("identity.Project", on_delete=models.CASCADE, related_name="quota_limits")
    resource = models.CharField(max_length=32, choices=[(name, name) for name in DEFAULT_LIMITS])
    limit = models.IntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "resource"], name="quota_limit_once")]

    def __str__(self) -> str:
        return f"{self.project}: {self.resource} {self.limit}"


class QuotaUsage(models.Model):
    """What a project's instances take; changed by conditional updates alone, as hosts' claims are."""

    project = models.OneToOneField(
        "identity.Project", on_delete=models.CASCADE, primary_key=True, related_name="quota_usage"
    )
    instances = models.PositiveIntegerField(default=0)
    cores = models.PositiveIntegerField(default=0)
    memory_mb = models.PositiveBigIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.project}: {self.instances} instances"
