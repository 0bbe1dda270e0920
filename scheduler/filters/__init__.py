"""Filters: which hosts can take a request. One class each, with the field's names.

Their order here is the order in which they are asked unless an administrator says otherwise: what
costs least and refuses most comes first.
"""

from scheduler.filters.aggregates import (
    AggregateImagePropertiesIsolation,
    AggregateInstanceExtraSpecsFilter,
    AggregateMultiTenancyIsolation,
    AggregateTypeAffinityFilter,
)
from scheduler.filters.base import Filter, HostFilter
from scheduler.filters.capabilities import ComputeCapabilitiesFilter
from scheduler.filters.capacity import CoreFilter, DiskFilter, RamFilter
from scheduler.filters.counts import (
    AggregateIoOpsFilter,
    AggregateNumInstancesFilter,
    IoOpsFilter,
    NumInstancesFilter,
)
from scheduler.filters.groups import (
    DifferentHostFilter,
    SameHostFilter,
    ServerGroupAffinityFilter,
    ServerGroupAntiAffinityFilter,
)
from scheduler.filters.image import ImagePropertiesFilter, IsolatedHostsFilter
from scheduler.filters.metrics import MetricsFilter
from scheduler.filters.network import SimpleCIDRAffinityFilter
from scheduler.filters.query import JsonFilter
from scheduler.filters.state import (
    AllHostsFilter,
    AvailabilityZoneFilter,
    ComputeFilter,
    RequestedHostFilter,
    RetryFilter,
)
from scheduler.filters.topology import NUMATopologyFilter, PciPassthroughFilter

FILTERS: tuple[type[Filter], ...] = (
    RetryFilter,
    RequestedHostFilter,
    AvailabilityZoneFilter,
    ComputeFilter,
    RamFilter,
    DiskFilter,
    CoreFilter,
    AggregateMultiTenancyIsolation,
    AggregateTypeAffinityFilter,
    AggregateInstanceExtraSpecsFilter,
    AggregateImagePropertiesIsolation,
    IsolatedHostsFilter,
    ComputeCapabilitiesFilter,
    ImagePropertiesFilter,
    ServerGroupAntiAffinityFilter,
    ServerGroupAffinityFilter,
    SameHostFilter,
    DifferentHostFilter,
    SimpleCIDRAffinityFilter,
    NumInstancesFilter,
    AggregateNumInstancesFilter,
    IoOpsFilter,
    AggregateIoOpsFilter,
    MetricsFilter,
    NUMATopologyFilter,
    PciPassthroughFilter,
    JsonFilter,
    AllHostsFilter,
)

__all__ = ["FILTERS", "Filter", "HostFilter"]
