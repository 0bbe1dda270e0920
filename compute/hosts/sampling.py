"""Measuring a host and the instances on it, for the watch: two questions, two rows."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Mapping
from uuid import UUID

from compute.hosts.calls import Call
from compute.hypervisor.interface import GuestUsage, Hypervisor, HypervisorError, Unreachable
from compute.models import Host
from compute.statistics import storing
from compute.statistics.rates import Readings, host_values, instances_values

log = logging.getLogger(__name__)

# A QEMU that stands still keeps whoever asks for its figures. libvirt leaves it out from then on.
GUESTS_SECONDS = 5.0
MOST_LEFT_BEHIND = 3


class Sampler:
    """Turns the counters of one host into loads. Forgets all when its watch ends."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._last: Readings | None = None
        self._series: dict[UUID, tuple[int, int] | None] = {}
        self._left_behind: list[Call] = []

    def look_again(self) -> None:
        """Instances may have come, or have other flavors now."""
        self._series = {}

    def take(self, hypervisor: Hypervisor) -> None:
        """Read the counters, and keep what was done since they were read last. Raises HypervisorError."""
        usage = hypervisor.usage()
        guests = self._guests(hypervisor)
        readings = Readings(time.monotonic(), usage, guests)
        if self._last is not None:
            series = self._known(guests or {})
            vcpus = {uuid: count for uuid, (_, count) in series.items()}
            instances = instances_values(self._last, readings, vcpus)
            values = host_values(self._last, readings, instances)
            by_series = {series[uuid][0]: one for uuid, one in instances.items()}
            storing.write(self._host, int(time.time()), values, by_series, readings)
        self._last = readings

    def _guests(self, hypervisor: Hypervisor) -> Mapping[UUID, GuestUsage] | None:
        """What each guest did; None when the host does not say in time."""
        self._left_behind = [call for call in self._left_behind if call.is_under_way()]
        if len(self._left_behind) >= MOST_LEFT_BEHIND:
            return None
        call = Call(functools.partial(hypervisor.guest_usage))
        try:
            found: Mapping[UUID, GuestUsage] = call.result(GUESTS_SECONDS)
        except TimeoutError:
            self._left_behind.append(call)
            log.warning("host %s: the load of its guests is not known; one of them may stand still", self._host.name)
        except Unreachable:
            raise
        except HypervisorError as error:
            log.warning("host %s: the load of its guests is not known: %s", self._host.name, error)
        else:
            return found
        return None

    def _known(self, guests: Mapping[UUID, GuestUsage]) -> dict[UUID, tuple[int, int]]:
        """The series and vCPUs of those guests that are instances."""
        if new := [uuid for uuid in guests if uuid not in self._series]:
            self._series |= dict.fromkeys(new) | storing.series_of(self._host, new)
        return {uuid: known for uuid in guests if (known := self._series[uuid]) is not None}
