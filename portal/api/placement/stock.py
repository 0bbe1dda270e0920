"""A host in placement's words: inventories of what it has, usages of what is claimed."""

from __future__ import annotations

from dataclasses import dataclass

import os_resource_classes

from compute.allocations import Amounts
from compute.models import Host
from scheduler.aggregates import ratios_of

STANDARD_CLASSES: tuple[str, ...] = tuple(os_resource_classes.STANDARDS)
VCPU, MEMORY_MB, DISK_GB = os_resource_classes.VCPU, os_resource_classes.MEMORY_MB, os_resource_classes.DISK_GB


@dataclass(frozen=True, slots=True)
class Stock:
    """One class of resource on one host."""

    total: int
    reserved: int
    ratio: float
    used: int

    @property
    def capacity(self) -> int:
        """How much may be claimed."""
        return int((self.total - self.reserved) * self.ratio)

    def has(self, amount: int) -> bool:
        """Whether so much more may be claimed by one consumer, which never gets more than there really is."""
        return amount <= self.total and self.used + amount <= self.capacity

    def inventory(self) -> dict[str, float]:
        """On the wire."""
        return {
            "total": self.total,
            "reserved": self.reserved,
            "min_unit": 1,
            "max_unit": self.total,
            "step_size": 1,
            "allocation_ratio": self.ratio,
        }


def stocks(host: Host) -> dict[str, Stock]:
    """What a host has, by class; a class of which it has nothing is left out, as placement has it.

    The ratios are those of its aggregates where they have some: reads ``host.aggregates``.
    """
    ratio = ratios_of(host)
    found = {
        VCPU: Stock(host.vcpus, 0, ratio["cpu_ratio"], host.vcpus_used),
        MEMORY_MB: Stock(host.memory_mb, host.reserved_memory_mb, ratio["memory_ratio"], host.memory_mb_used),
        DISK_GB: Stock(host.disk_gb, host.reserved_disk_gb, ratio["disk_ratio"], host.disk_gb_used),
    }
    return {name: stock for name, stock in found.items() if stock.total > 0}


def resources(amounts: Amounts) -> dict[str, int]:
    """An allocation's resources; nothing of a class is no allocation of it."""
    found = {VCPU: amounts.vcpus, MEMORY_MB: amounts.memory_mb, DISK_GB: amounts.disk_gb}
    return {name: amount for name, amount in found.items() if amount}
