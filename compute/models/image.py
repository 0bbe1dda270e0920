"""Images: what instances boot from."""

from __future__ import annotations

import hashlib
import uuid
from typing import TYPE_CHECKING

from django.db import models
from django.utils import timezone

if TYPE_CHECKING:
    from portal.identity.actor import Actor


class ImageStatus(models.TextChoices):
    """Glance's states of an image."""

    QUEUED = "queued"
    SAVING = "saving"
    ACTIVE = "active"
    KILLED = "killed"
    DEACTIVATED = "deactivated"
    DELETED = "deleted"
    PENDING_DELETE = "pending_delete"


class ImageVisibility(models.TextChoices):
    """Who sees an image."""

    PUBLIC = "public"
    PRIVATE = "private"
    SHARED = "shared"
    COMMUNITY = "community"


class ImageQuerySet(models.QuerySet["Image"]):
    """Reads of images."""

    def visible_to(self, actor: Actor) -> ImageQuerySet:
        """Public and community images and the project's own; all for an administrator."""
        if actor.is_admin:
            return self
        return self.filter(
            models.Q(visibility__in=[ImageVisibility.PUBLIC, ImageVisibility.COMMUNITY])
            | models.Q(project_id=actor.project_id)
        )


class Image(models.Model):
    """An image: what it is, who sees it, and the digests of its bytes. The bytes lie in a store."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    name = models.CharField(max_length=255, null=True, blank=True)  # null on the wire
    project = models.ForeignKey("identity.Project", on_delete=models.PROTECT, related_name="images")
    status = models.CharField(max_length=16, choices=ImageStatus.choices, default=ImageStatus.QUEUED)
    visibility = models.CharField(max_length=16, choices=ImageVisibility.choices, default=ImageVisibility.SHARED)
    disk_format = models.CharField(max_length=16, null=True, blank=True)
    container_format = models.CharField(max_length=16, null=True, blank=True)
    size = models.BigIntegerField(null=True, blank=True)
    virtual_size = models.BigIntegerField(null=True, blank=True)
    checksum = models.CharField(max_length=32, null=True, blank=True)  # MD5, as Glance shows it
    hash_algorithm = models.CharField(max_length=16, null=True, blank=True)
    hash_value = models.CharField(max_length=128, null=True, blank=True)
    min_disk_gb = models.PositiveIntegerField(default=0)
    min_memory_mb = models.PositiveIntegerField(default=0)
    protected = models.BooleanField(default=False)
    hidden = models.BooleanField(default=False)
    properties = models.JSONField(default=dict, blank=True)
    tags = models.JSONField(default=list, blank=True)
    message = models.TextField(blank=True, default="")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(default=timezone.now)

    objects = ImageQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]

    def __str__(self) -> str:
        return self.name or str(self.id)

    @property
    def base_volume(self) -> str:
        """The name of its raw base volume on hosts: a digest of the id, so no name reaches a path."""
        return f"base-{hashlib.sha256(str(self.id).encode()).hexdigest()[:40]}"
