"""Writing what was measured: two rows for each sample of a host, whatever runs there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from uuid import UUID

from django.db import transaction

from compute.models import Host, Instance, Reading, Sample, Series
from compute.statistics.packing import Values, pack_sample
from compute.statistics.rates import Readings
from portal.compiled import Rows, given, insert

_READING = Rows(lambda: Reading.objects.filter(**given(Reading, "host")))


def series_of(host: Host, guests: Iterable[UUID]) -> dict[UUID, tuple[int, int]]:
    """The series of each guest that is an instance, made where it is missing, and its number of vCPUs."""
    vcpus = dict(Instance.objects.alive().filter(pk__in=list(guests)).values_list("pk", "vcpus"))
    known = _known(host, vcpus)
    if missing := vcpus.keys() - known.keys():
        made = [Series(host=host, instance_id=uuid) for uuid in sorted(missing)]
        Series.objects.bulk_create(made, ignore_conflicts=True)
        known = _known(host, vcpus)
    return {uuid: (known[uuid], vcpus[uuid]) for uuid in vcpus if uuid in known}


def _known(host: Host, instances: Iterable[UUID]) -> dict[UUID, int]:
    rows = Series.objects.filter(host=host, instance__in=list(instances))
    return {uuid: pk for uuid, pk in rows.values_list("instance_id", "pk") if uuid is not None}


def write(host: Host, at: int, values: Values, instances: Mapping[int, Values], readings: Readings) -> None:
    """Keep a sample, and the counters as they stand. Raises IntegrityError when the host was removed."""
    counters = _plain(readings)
    with transaction.atomic():
        insert(Sample(host=host, at=at, values=pack_sample(values, instances)))
        if not _READING.update({"at": at, "counters": counters}, host=host):
            now = Reading(host=host, at=at, counters=counters)
            Reading.objects.bulk_create(
                [now], update_conflicts=True, unique_fields=["host"], update_fields=["at", "counters"]
            )


def _plain(readings: Readings) -> dict[str, object]:
    guests = readings.guests or {}
    return {"host": asdict(readings.host), "guests": {str(uuid): asdict(usage) for uuid, usage in guests.items()}}
