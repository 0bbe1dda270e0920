"""Filters: which hosts can take a request. One class each, with the field's names.

Their order here is the order in which they are asked unless an administrator says otherwise: what
costs least and refuses most comes first.
"""

from scheduler.filters.base import Filter, HostFilter
from scheduler.filters.capacity import CoreFilter, DiskFilter, RamFilter
from scheduler.filters.groups import (
    DifferentHostFilter,
    SameHostFilter,
    ServerGroupAffinityFilter,
    ServerGroupAntiAffinityFilter,
)
from scheduler.filters.state import (
    AllHostsFilter,
    AvailabilityZoneFilter,
    ComputeFilter,
    RequestedHostFilter,
    RetryFilter,
)

FILTERS: tuple[type[Filter], ...] = (
    RetryFilter,
    RequestedHostFilter,
    AvailabilityZoneFilter,
    ComputeFilter,
    RamFilter,
    DiskFilter,
    CoreFilter,
    ServerGroupAntiAffinityFilter,
    ServerGroupAffinityFilter,
    SameHostFilter,
    DifferentHostFilter,
    AllHostsFilter,
)

__all__ = ["FILTERS", "Filter", "HostFilter"]
