"""Whether a host is measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scheduler import metrics
from scheduler.filters.base import Filter
from scheduler.hoststate import HostView
from scheduler.options import Option
from scheduler.request import Request
from scheduler.scene import METRICS, Scene


class MetricsFilter(Filter):
    """The host reports every metric that counts."""

    sentence = "Keeps hosts that have lately reported every metric of weight_setting."
    short = "metrics are missing"
    options = (Option("weight_setting", "list", [], f"Entries name=ratio; the names are {', '.join(METRICS)}."),)

    def __init__(self, given: Mapping[str, Any] | None = None) -> None:
        super().__init__(given)
        self.names = list(metrics.weights(self.chosen["weight_setting"]))

    def keep(self, hosts: list[HostView], request: Request, scene: Scene) -> list[HostView]:
        """Those that do."""
        if not self.names:
            return hosts
        samples = scene.samples
        return [host for host in hosts if host.id in samples]

    def why(self, host: HostView, request: Request, scene: Scene) -> str:
        """Which are missing: a host is measured as a whole."""
        return f"has not reported {', '.join(self.names)} lately"
