"""Images that are to be on a host before anybody boots from them there."""

from __future__ import annotations

from django.db import models
from django.utils import timezone


class ImageDelivery(models.Model):
    """One image for one host. The row is there until the image is, or until it was given up."""

    host = models.ForeignKey("compute.Host", on_delete=models.CASCADE, related_name="deliveries")
    image = models.ForeignKey("compute.Image", on_delete=models.CASCADE, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    next_at = models.DateTimeField(default=timezone.now, db_index=True, help_text="Nobody is at it from then on.")
    tries = models.PositiveSmallIntegerField(default=0)
    message = models.TextField(blank=True, default="", help_text="What went wrong last.")

    class Meta:
        ordering = ["id"]
        verbose_name_plural = "image deliveries"
        constraints = [models.UniqueConstraint(fields=["host", "image"], name="image_delivery_once")]

    def __str__(self) -> str:
        return f"{self.image} for {self.host}"
