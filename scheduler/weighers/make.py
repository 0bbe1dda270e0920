"""Weighers of what a host is, and of what it measures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scheduler import metrics
from scheduler.hoststate import HostView
from scheduler.options import Option
from scheduler.request import Request
from scheduler.scene import METRICS, Scene
from scheduler.weighers.base import Weigher

MOST_DEVICES = 100


class HypervisorVersionWeigher(Weigher):
    """New hypervisors."""

    sentence = "Prefers the newest hypervisor version."
    multiplier_key = "hypervisor_version_weight_multiplier"

    def weigh(self, hosts: list[HostView], request: Request, scene: Scene) -> list[float]:
        """The version as a number."""
        return [float(host.hypervisor_version) for host in hosts]


class PCIWeigher(Weigher):
    """PCI devices for those that ask for them."""

    sentence = "Keeps instances that ask for no PCI device away from hosts that have some free."
    multiplier_key = "pci_weight_multiplier"
    least_multiplier = 0.0
    span = (0.0, float(MOST_DEVICES))

    def weigh(self, hosts: list[HostView], request: Request, scene: Scene) -> list[float]:
        """Few free devices are better: for those that ask, it saves the larger lots."""
        return [float(MOST_DEVICES - min(len(host.facts.pci_devices), MOST_DEVICES - 1)) for host in hosts]


class MetricsWeigher(Weigher):
    """What a host measures."""

    sentence = "Adds up a host's measurements, each times its ratio in weight_setting. Without one it does nothing."
    multiplier_key = "metrics_weight_multiplier"
    options = (
        Option("weight_setting", "list", [], f"Entries name=ratio; the names are {', '.join(METRICS)}."),
        Option("required", "flag", True, "A host without measurements weighs weight_of_unavailable, or else nothing."),
        Option("weight_of_unavailable", "number", -10_000.0, "What a host without measurements weighs."),
    )

    def __init__(self, given: Mapping[str, Any] | None = None, multiplier: float | None = None) -> None:
        super().__init__(given, multiplier)
        self.ratios = metrics.weights(self.chosen["weight_setting"])

    def matters(self, request: Request) -> bool:
        """Only with metrics that count."""
        return bool(self.ratios)

    def weigh(self, hosts: list[HostView], request: Request, scene: Scene) -> list[float]:
        """The sum."""
        absent = self.chosen["weight_of_unavailable"] if self.chosen["required"] else 0.0
        sums = {
            host_id: sum(ratio * measured[name] for name, ratio in self.ratios.items())
            for host_id, measured in scene.samples.items()
        }
        return [sums.get(host.id, absent) for host in hosts]
