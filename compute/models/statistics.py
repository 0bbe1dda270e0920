"""Measurements as they are kept. ``compute.statistics`` writes and reads them; times are seconds of the epoch."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from compute.models.host import Host
from compute.models.instance import Instance


class Series(models.Model):
    """What is measured: a host, or an instance on a host. An instance that has moved has several."""

    id = models.BigAutoField(primary_key=True)
    host = models.ForeignKey(Host, on_delete=models.SET_NULL, null=True, related_name="series")
    instance = models.ForeignKey(Instance, on_delete=models.CASCADE, null=True, related_name="series")

    class Meta:
        verbose_name_plural = "series"
        constraints = [
            models.UniqueConstraint(fields=["host", "instance"], name="one_series_of_an_instance"),
            models.UniqueConstraint(fields=["host"], condition=Q(instance=None), name="one_series_of_a_host"),
        ]

    def __str__(self) -> str:
        return f"instance {self.instance_id} on host {self.host_id}" if self.instance_id else f"host {self.host_id}"


class Sample(models.Model):
    """One measurement of a host and of every instance on it (``compute.statistics.packing``)."""

    host = models.ForeignKey(Host, on_delete=models.CASCADE, related_name="samples", db_index=False)
    at = models.BigIntegerField()
    values = models.BinaryField()

    class Meta:
        indexes = [
            models.Index(fields=["host", "at"], name="samples_of_a_host"),
            models.Index(fields=["at"], name="samples_by_age"),
        ]

    def __str__(self) -> str:
        return f"host {self.host_id} at {self.at}"


class Level(models.IntegerChoices):
    """How fine averages are."""

    MINUTES = 1
    HALF_HOURS = 2


class Block(models.Model):
    """The averages of a series over an hour (by the minute) or a day (by the half-hour), from ``start`` on."""

    series = models.ForeignKey(Series, on_delete=models.CASCADE, related_name="blocks", db_index=False)
    level = models.SmallIntegerField(choices=Level.choices)
    start = models.BigIntegerField()
    values = models.BinaryField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["series", "level", "start"], name="one_block_of_a_time")]
        indexes = [models.Index(fields=["level", "start"], name="blocks_by_age")]

    def __str__(self) -> str:
        return f"series {self.series_id} from {self.start}"


class Reading(models.Model):
    """The counters of a host and its instances at its last sample, as they were read; for monitoring."""

    host = models.OneToOneField(Host, on_delete=models.CASCADE, primary_key=True, related_name="reading")
    at = models.BigIntegerField()
    counters = models.JSONField(default=dict)

    def __str__(self) -> str:
        return f"host {self.host_id} at {self.at}"
