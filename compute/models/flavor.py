"""Flavors: the sizes that instances come in."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from django.db import models
from django.utils import timezone

if TYPE_CHECKING:
    from portal.identity.actor import Actor


def new_flavor_id() -> str:
    """The id of a flavor whose creator named none."""
    return str(uuid.uuid4())


class FlavorQuerySet(models.QuerySet["Flavor"]):
    """Reads of flavors."""

    def visible_to(self, actor: Actor) -> FlavorQuerySet:
        """Public flavors, and private ones that the actor's project has been given."""
        if actor.is_admin:
            return self
        seen = models.Q(is_public=True)
        if actor.project_id is not None:  # who acts on no project has been given none
            seen |= models.Q(access__project_id=actor.project_id)
        return self.filter(seen).distinct()


class Flavor(models.Model):
    """A size: memory in MiB, disks in GiB, swap in MiB. Instances keep a copy of it."""

    id = models.CharField(max_length=255, primary_key=True, default=new_flavor_id)
    name = models.CharField(max_length=255, unique=True)
    vcpus = models.PositiveIntegerField()
    memory_mb = models.PositiveIntegerField()
    disk_gb = models.PositiveIntegerField(default=0)
    ephemeral_gb = models.PositiveIntegerField(default=0)
    swap_mb = models.PositiveIntegerField(default=0)
    rxtx_factor = models.FloatField(default=1.0)
    is_public = models.BooleanField(default=True)
    disabled = models.BooleanField(default=False)
    description = models.TextField(null=True, blank=True)  # null on the wire is not ""
    extra_specs = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = FlavorQuerySet.as_manager()

    class Meta:
        ordering = ["memory_mb", "id"]

    def __str__(self) -> str:
        return self.name

    def snapshot(self) -> dict[str, Any]:
        """The copy that an instance keeps, so that later changes of the flavor do not reach it."""
        return {
            "id": self.id,
            "name": self.name,
            "vcpus": self.vcpus,
            "memory_mb": self.memory_mb,
            "disk_gb": self.disk_gb,
            "ephemeral_gb": self.ephemeral_gb,
            "swap_mb": self.swap_mb,
            "extra_specs": self.extra_specs,
        }


def disk_claim_gb(snapshot: dict[str, Any]) -> int:
    """What the disks of a flavor (``Flavor.snapshot``) take on a host: root, ephemeral and swap together, in GiB."""
    swap_gb = (snapshot["swap_mb"] + 1023) // 1024
    return int(snapshot["disk_gb"] + snapshot["ephemeral_gb"] + swap_gb)


class FlavorAccess(models.Model):
    """A project may use a private flavor."""

    flavor = models.ForeignKey(Flavor, on_delete=models.CASCADE, related_name="access")
    project = models.ForeignKey("identity.Project", on_delete=models.CASCADE, related_name="+")

    class Meta:
        verbose_name_plural = "flavor access"
        constraints = [models.UniqueConstraint(fields=["flavor", "project"], name="flavor_access_once")]

    def __str__(self) -> str:
        return f"{self.project} may use {self.flavor}"
