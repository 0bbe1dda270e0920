"""Measurements as the watcher would have written them."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from compute.models import Host, Instance, Sample, Series
from compute.statistics import rolling
from compute.statistics.packing import WIDTH, pack_sample
from tests.conftest import Cloud, Persona

HOUR, DAY = rolling.HOUR, rolling.DAY
# Noon of some day: whole hours and days on both sides.
NOON = 1_700_000_000 // DAY * DAY + DAY // 2

Measure = Callable[..., None]


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Set the clock that samples are dated by."""

    def set_clock(moment: int) -> None:
        monkeypatch.setattr(time, "time", lambda: float(moment))

    return set_clock


@pytest.fixture
def instance(cloud: Cloud, alice: Persona) -> Instance:
    """An instance, on the cloud's host."""
    return Instance.objects.create(
        name="web", hostname="web", project=cloud.demo, user=alice.user, flavor=cloud.nano.snapshot(),
        vcpus=1, memory_mb=128, disk_gb=1, host=cloud.host, vm_state="active",
    )  # fmt: skip


def values(cpu: float) -> tuple[float, ...]:
    return (cpu, *[1.0] * (WIDTH - 1))


def measured(host: Host, moments: range, cpu: Callable[[int], float], instance: Instance | None = None) -> None:
    """Samples of a host at these moments; its instance has twice its load."""
    series = Series.objects.get_or_create(host=host, instance=instance)[0] if instance else None
    Sample.objects.bulk_create(
        Sample(
            host=host,
            at=at,
            values=pack_sample(values(cpu(at)), {series.pk: values(2 * cpu(at))} if series else {}),
        )
        for at in moments
    )
