"""From counters to loads: what a host and its guests did between two readings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from compute.hypervisor.interface import GuestUsage, HostUsage
from compute.statistics.packing import Values


@dataclass(frozen=True)
class Readings:
    """All that was read of a host at one moment (monotonic seconds). ``guests`` None: they could not be asked."""

    moment: float
    host: HostUsage
    guests: Mapping[UUID, GuestUsage] | None


# The counters of a guest that become rates, in the order of their columns.
COUNTERS = (
    "disk_read_bytes",
    "disk_write_bytes",
    "disk_read_requests",
    "disk_write_requests",
    "network_receive_bytes",
    "network_transmit_bytes",
)


def cpu_percent(before: HostUsage, after: HostUsage) -> float:
    """The share of all processors that was busy between two samples, 0 to 100."""
    total = after.cpu_total_seconds - before.cpu_total_seconds
    if total <= 0:
        return 0.0
    return min(100.0, max(0.0, 100.0 * (after.cpu_busy_seconds - before.cpu_busy_seconds) / total))


def instances_values(before: Readings, after: Readings, vcpus: Mapping[UUID, int]) -> dict[UUID, Values]:
    """The loads of the guests in both readings whose number of vCPUs is known."""
    seconds = after.moment - before.moment
    if before.guests is None or after.guests is None or seconds <= 0:
        return {}
    return {
        uuid: _instance_values(before.guests[uuid], usage, seconds, vcpus[uuid])
        for uuid, usage in after.guests.items()
        if uuid in before.guests and uuid in vcpus
    }


def _instance_values(before: GuestUsage, after: GuestUsage, seconds: float, vcpus: int) -> Values:
    busy = 100.0 * _since(before.cpu_seconds, after.cpu_seconds) / seconds / max(1, vcpus)
    rates = [_since(getattr(before, name), getattr(after, name)) / seconds for name in COUNTERS]
    return [min(100.0, busy), after.memory_used_mb, *rates]


def _since(before: float, after: float) -> float:
    """What a counter counted. One that is lower than it was began anew: the guest was started again."""
    return after - before if after >= before else after


def host_values(before: Readings, after: Readings, instances: Mapping[UUID, Values]) -> Values:
    """A host's load. What goes to and from disks and networks is the sum of its instances': libvirt tells no other."""
    usage = after.host
    sums = [sum(values[column] for values in instances.values()) for column in (2, 3, 6, 7)]
    if before.guests is None or after.guests is None:
        sums = [math.nan] * len(sums)
    busy = cpu_percent(before.host, usage)
    return [busy, usage.memory_used_mb, usage.disk_used_gb, usage.guests_running, *sums]
