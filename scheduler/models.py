"""The scheduler's settings, where an administrator has said something else than the defaults."""

from __future__ import annotations

from uuid import uuid4

from django.db import models


class PartKind(models.TextChoices):
    """What a part is."""

    FILTER = "filter"
    WEIGHER = "weigher"


class Part(models.Model):
    """One filter or weigher as an administrator wants it. A kind without rows is as the code says."""

    kind = models.CharField(max_length=8, choices=PartKind.choices)
    name = models.CharField(max_length=255, help_text="The field's name, or the dotted path of a site's own.")
    enabled = models.BooleanField(default=True)
    position = models.PositiveIntegerField(default=0)
    multiplier = models.FloatField(null=True, blank=True, help_text="Of a weigher; empty: its default.")
    options = models.JSONField(default=dict, blank=True, help_text="Those that are not as usual.")

    class Meta:
        ordering = ["kind", "position", "id"]
        constraints = [models.UniqueConstraint(fields=["kind", "name"], name="one_part_of_a_name")]

    def __str__(self) -> str:
        return self.name


class Revision(models.Model):
    """One row that changes with every change of the settings: how processes notice."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    token = models.UUIDField(default=uuid4)

    def __str__(self) -> str:
        return str(self.token)
