"""Filters: which hosts can take a request. One class each, with the field's names."""

from scheduler.filters.base import Filter
from scheduler.filters.capacity import CoreFilter, DiskFilter, RamFilter
from scheduler.filters.state import AvailabilityZoneFilter, ComputeFilter, RequestedHostFilter, RetryFilter

FILTERS: tuple[Filter, ...] = (
    RetryFilter(),
    RequestedHostFilter(),
    AvailabilityZoneFilter(),
    ComputeFilter(),
    RamFilter(),
    DiskFilter(),
    CoreFilter(),
)

__all__ = ["FILTERS", "Filter"]
