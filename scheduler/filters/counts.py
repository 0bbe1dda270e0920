"""How many instances a host has, and how many operations keep its disks busy."""

from __future__ import annotations

from scheduler.filters.base import Filter
from scheduler.hoststate import HostView
from scheduler.options import Option
from scheduler.request import Request
from scheduler.scene import Scene

MAX_IO = Option("max_io_ops_per_host", "integer", 8, "So many operations at a time.", minimum=1)
MAX_INSTANCES = Option("max_instances_per_host", "integer", 50, "So many instances.", minimum=1)


class IoOpsFilter(Filter):
    """The host's disks are not too busy."""

    sentence = (
        "Keeps hosts with fewer builds, resizes, snapshots, rescues and the like under way than max_io_ops_per_host."
    )
    short = "too many operations under way"
    options = (MAX_IO,)
    default = False

    def keep(self, hosts: list[HostView], request: Request, scene: Scene) -> list[HostView]:
        """Those with fewer than the limit."""
        busy, limits, most = scene.io_operations, self.limits(scene), self.chosen["max_io_ops_per_host"]
        return [host for host in hosts if busy[host.id] < limits.get(host.id, most)]

    def why(self, host: HostView, request: Request, scene: Scene) -> str:
        """Both numbers."""
        most = self.limits(scene).get(host.id, self.chosen["max_io_ops_per_host"])
        return f"has {scene.io_operations[host.id]} operations under way, {most:g} are allowed"

    def limits(self, scene: Scene) -> dict[int, float]:
        """Limits of single hosts."""
        return {}


class AggregateIoOpsFilter(IoOpsFilter):
    """The same, with limits of aggregates."""

    sentence = "As IoOpsFilter; max_io_ops_per_host in an aggregate's metadata goes before the option."

    def limits(self, scene: Scene) -> dict[int, float]:
        """The smallest of each host's aggregates."""
        return scene.aggregates.smallest("max_io_ops_per_host")


class NumInstancesFilter(Filter):
    """The host has not too many instances."""

    sentence = "Keeps hosts with fewer instances than max_instances_per_host."
    short = "too many instances"
    options = (MAX_INSTANCES,)
    default = False

    def keep(self, hosts: list[HostView], request: Request, scene: Scene) -> list[HostView]:
        """Those with fewer than the limit."""
        if not request.instances:  # it is on its host already
            return hosts
        limits, most = self.limits(scene), self.chosen["max_instances_per_host"]
        return [host for host in hosts if host.instances < limits.get(host.id, most)]

    def why(self, host: HostView, request: Request, scene: Scene) -> str:
        """Both numbers."""
        return f"has {host.instances} instances, {self._most(host, scene):g} are allowed"

    def room(self, host: HostView, request: Request, scene: Scene) -> int | None:
        """What the limit leaves."""
        return max(0, int(self._most(host, scene)) - host.instances)

    def _most(self, host: HostView, scene: Scene) -> float:
        most: float = self.limits(scene).get(host.id, self.chosen["max_instances_per_host"])
        return most

    def limits(self, scene: Scene) -> dict[int, float]:
        """Limits of single hosts."""
        return {}


class AggregateNumInstancesFilter(NumInstancesFilter):
    """The same, with limits of aggregates."""

    sentence = "As NumInstancesFilter; max_instances_per_host in an aggregate's metadata goes before the option."

    def limits(self, scene: Scene) -> dict[int, float]:
        """The smallest of each host's aggregates."""
        return scene.aggregates.smallest("max_instances_per_host")
