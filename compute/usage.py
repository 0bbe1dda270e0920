"""What projects used in a period: the hours of their instances, and what these took by the hour."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q

from compute.models import Instance
from compute.models.instance import InstanceQuerySet

HOUR = 3600.0


@dataclass(frozen=True)
class Period:
    """From ``begin`` to ``end``, both with their zone."""

    begin: datetime
    end: datetime


@dataclass(frozen=True)
class InstanceUsage:
    """An instance with the hours that it was there within a period, and its age in seconds."""

    instance: Instance
    hours: float
    age: int

    @property
    def disk_gb(self) -> int:
        """Its root and ephemeral disks, as Nova counts them."""
        return int(self.instance.flavor["disk_gb"]) + int(self.instance.flavor["ephemeral_gb"])


@dataclass(frozen=True)
class Totals:
    """The sums of a project: hours of instances, of virtual CPUs, of MiB of memory and of GiB of disk."""

    hours: float
    vcpu_hours: float
    memory_mb_hours: float
    disk_gb_hours: float


def instances_in(period: Period) -> InstanceQuerySet:
    """The instances, deleted ones too, that were there at some time within a period."""
    not_over = Q(terminated_at=None) | Q(terminated_at__gt=period.begin)
    return Instance.objects.filter(not_over, launched_at__lt=period.end)


def usage_of(instance: Instance, period: Period, now: datetime) -> InstanceUsage:
    """What an instance of that period used of it. What is still to come has not been used."""
    launched = instance.launched_at or now
    ended = instance.terminated_at or now
    seconds = (min(ended, period.end) - max(launched, period.begin)).total_seconds()
    return InstanceUsage(instance, max(0.0, seconds) / HOUR, max(0, int((ended - launched).total_seconds())))


def totals(usages: Iterable[InstanceUsage]) -> Totals:
    """The sums of a project's instances."""
    rows = list(usages)
    return Totals(
        hours=sum(row.hours for row in rows),
        vcpu_hours=sum(row.hours * row.instance.vcpus for row in rows),
        memory_mb_hours=sum(row.hours * row.instance.memory_mb for row in rows),
        disk_gb_hours=sum(row.hours * row.disk_gb for row in rows),
    )
