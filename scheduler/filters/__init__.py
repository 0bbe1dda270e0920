"""Filters: which hosts can take a request. One class each, with the field's names."""

from scheduler.filters.base import Filter
from scheduler.filters.capacity import CoreFilter, DiskFilter, RamFilter
from scheduler.filters.state import AvailabilityZoneFilter, ComputeFilter, RetryFilter

FILTERS: tuple[Filter, ...] = (
    RetryFilter(),
    AvailabilityZoneFilter(),
    ComputeFilter(),
    RamFilter(),
    DiskFilter(),
    CoreFilter(),
)

__all__ = ["FILTERS", "Filter"]
