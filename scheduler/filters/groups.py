"""Server groups and the hints about other instances: together, or apart."""

from __future__ import annotations

from compute.models import GroupPolicy
from scheduler.filters.base import Filter
from scheduler.hoststate import HostView
from scheduler.request import Request
from scheduler.scene import Scene


class ServerGroupAffinityFilter(Filter):
    """The host has the group already."""

    sentence = "Keeps the instances of a server group with the policy affinity on one host."
    short = "the server group is elsewhere"
    essential = True

    def keep(self, hosts: list[HostView], request: Request, scene: Scene) -> list[HostView]:
        """The hosts that have members; all while there is none."""
        if request.group is None or request.group.policy != GroupPolicy.AFFINITY:
            return hosts
        members = scene.members(request)
        return [host for host in hosts if host.id in members] if members else hosts

    def why(self, host: HostView, request: Request, scene: Scene) -> str:
        """How many are elsewhere."""
        return f"has none of the {scene.members(request).total()} members of the server group, whose policy is affinity"


class ServerGroupAntiAffinityFilter(Filter):
    """The host has fewer members of the group than it may have."""

    sentence = "Keeps the instances of a server group with the policy anti-affinity apart (max_server_per_host)."
    short = "a member of the server group is there"
    essential = True

    def keep(self, hosts: list[HostView], request: Request, scene: Scene) -> list[HostView]:
        """Those with room for another member."""
        if request.group is None or request.group.policy != GroupPolicy.ANTI_AFFINITY:
            return hosts
        members, most = scene.members(request), request.group.most_on_a_host
        return [host for host in hosts if members[host.id] < most]

    def why(self, host: HostView, request: Request, scene: Scene) -> str:
        """Both numbers."""
        assert request.group is not None
        there = scene.members(request)[host.id]
        return (
            f"has {there} of the server group's members, its policy anti-affinity allows "
            f"{request.group.most_on_a_host} on a host"
        )

    def room(self, host: HostView, request: Request, scene: Scene) -> int | None:
        """What the policy leaves."""
        if request.group is None or request.group.policy != GroupPolicy.ANTI_AFFINITY:
            return None
        return request.group.most_on_a_host - scene.members(request)[host.id]


class _HintFilter(Filter):
    """A filter about the instances that a hint names."""

    hint = ""

    def named(self, request: Request) -> list[str]:
        """The instances' ids; the hint is a text or a list of texts."""
        given = request.hints.get(self.hint)
        return [given] if isinstance(given, str) else [str(one) for one in given or ()]


class SameHostFilter(_HintFilter):
    """The host has one of the instances that the hint names."""

    sentence = "With the hint same_host: keeps hosts with at least one of the instances that it names."
    short = "none of the instances named by same_host is there"
    hint = "same_host"

    def keep(self, hosts: list[HostView], request: Request, scene: Scene) -> list[HostView]:
        """Those that have."""
        if not (named := self.named(request)):
            return hosts
        there = scene.hosts_of(request.project_id, named)
        return [host for host in hosts if host.id in there]

    def why(self, host: HostView, request: Request, scene: Scene) -> str:
        """In words."""
        return "has none of the instances that the hint same_host names"


class DifferentHostFilter(_HintFilter):
    """The host has none of the instances that the hint names."""

    sentence = "With the hint different_host: keeps hosts with none of the instances that it names."
    short = "an instance named by different_host is there"
    hint = "different_host"

    def keep(self, hosts: list[HostView], request: Request, scene: Scene) -> list[HostView]:
        """Those that have none."""
        if not (named := self.named(request)):
            return hosts
        there = scene.hosts_of(request.project_id, named)
        return [host for host in hosts if host.id not in there]

    def why(self, host: HostView, request: Request, scene: Scene) -> str:
        """In words."""
        return "has an instance that the hint different_host names"
