"""Weighers: which of the hosts that can is best. Higher is better. One class each, with the field's names."""

from scheduler.weighers.base import HostWeigher, Weigher
from scheduler.weighers.counts import BuildFailureWeigher, ImagePropertiesWeigher, IoOpsWeigher, NumInstancesWeigher
from scheduler.weighers.groups import ServerGroupSoftAffinityWeigher, ServerGroupSoftAntiAffinityWeigher
from scheduler.weighers.make import HypervisorVersionWeigher, MetricsWeigher, PCIWeigher
from scheduler.weighers.resources import CPUWeigher, DiskWeigher, RAMWeigher

WEIGHERS: tuple[type[Weigher], ...] = (
    RAMWeigher,
    CPUWeigher,
    DiskWeigher,
    IoOpsWeigher,
    MetricsWeigher,
    ServerGroupSoftAffinityWeigher,
    ServerGroupSoftAntiAffinityWeigher,
    BuildFailureWeigher,
    NumInstancesWeigher,
    HypervisorVersionWeigher,
    ImagePropertiesWeigher,
    PCIWeigher,
)

__all__ = ["WEIGHERS", "HostWeigher", "Weigher"]
