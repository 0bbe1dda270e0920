"""Weighers of what is on a host and what happens there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from scheduler.hoststate import HostView
from scheduler.options import BadOption, Option
from scheduler.request import Request
from scheduler.scene import Scene
from scheduler.weighers.base import Weigher


class IoOpsWeigher(Weigher):
    """Busy disks."""

    sentence = (
        "Prefers hosts with fewest builds, resizes, snapshots and the like under way (its multiplier is negative)."
    )
    multiplier_key = "io_ops_weight_multiplier"
    multiplier = -1.0

    def weigh(self, hosts: list[HostView], request: Request, scene: Scene) -> list[float]:
        """The operations under way."""
        busy = scene.io_operations
        if not busy:
            return [0.0] * len(hosts)
        return [float(busy[host.id]) for host in hosts]


class NumInstancesWeigher(Weigher):
    """How many instances are there."""

    sentence = "Prefers hosts with most instances; a negative multiplier spreads them. Without one it does nothing."
    multiplier_key = "num_instances_weight_multiplier"
    multiplier = 0.0

    def weigh(self, hosts: list[HostView], request: Request, scene: Scene) -> list[float]:
        """The instances."""
        return [float(host.instances) for host in hosts]


class BuildFailureWeigher(Weigher):
    """Hosts that failed lately."""

    sentence = "Puts hosts last whose latest builds have failed, until one goes well."
    multiplier_key = "build_failure_weight_multiplier"
    multiplier = 1_000_000.0

    def weigh(self, hosts: list[HostView], request: Request, scene: Scene) -> list[float]:
        """The failures since the last build that went well, counted against it."""
        return [-float(host.build_failures) for host in hosts]


class ImagePropertiesWeigher(Weigher):
    """Company of the same kind."""

    sentence = (
        "Prefers hosts that run instances whose images have the same properties. Without a multiplier it does nothing."
    )
    multiplier_key = "image_props_weight_multiplier"
    multiplier = 0.0
    options = (
        Option(
            "image_props_weight_setting", "list", [], "Entries property=weight, such as os_distro=2. Empty: all alike."
        ),
    )

    def __init__(self, given: Mapping[str, Any] | None = None, multiplier: float | None = None) -> None:
        super().__init__(given, multiplier)
        self.weights: dict[str, float] = {}
        for entry in self.chosen["image_props_weight_setting"]:
            name, _, weight = (part.strip() for part in entry.partition("="))
            try:
                self.weights[name] = float(weight or 1)
            except ValueError as error:
                raise BadOption(f"image_props_weight_setting: {weight} is no number.") from error

    def matters(self, request: Request) -> bool:
        """Only for an image with properties that count."""
        return bool(self._counting(request))

    def weigh(self, hosts: list[HostView], request: Request, scene: Scene) -> list[float]:
        """For each instance there: the weights of the properties that are the same."""
        counting = self._counting(request)
        totals: Counter[int] = Counter()
        for host_id, properties, count in scene.images_on_hosts:
            same = sum(weight for name, (value, weight) in counting.items() if properties.get(name) == value)
            totals[host_id] += count * same  # type: ignore[assignment]  # a Counter adds fractions just as well
        return [float(totals[host.id]) for host in hosts]

    def _counting(self, request: Request) -> dict[str, tuple[Any, float]]:
        every = not self.weights
        return {
            name: (value, self.weights.get(name, 1.0))
            for name, value in request.image_properties.items()
            if every or name in self.weights
        }
