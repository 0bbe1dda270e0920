"""Soft policies of server groups."""

from __future__ import annotations

from compute.models import GroupPolicy
from scheduler.hoststate import HostView
from scheduler.request import Request
from scheduler.scene import Scene
from scheduler.weighers.base import Weigher

# The field's 1.0 loses against free memory, vCPUs and disk space together, which all speak for the emptiest host.
OUTWEIGHS_THE_REST = 10.0


class ServerGroupSoftAffinityWeigher(Weigher):
    """Together, if it can be."""

    sentence = "Prefers hosts with most members of a server group with the policy soft-affinity."
    multiplier_key = "soft_affinity_weight_multiplier"
    multiplier = OUTWEIGHS_THE_REST
    least_multiplier = 0.0

    def matters(self, request: Request) -> bool:
        """Only for such a group."""
        return request.group is not None and request.group.policy == GroupPolicy.SOFT_AFFINITY

    def weigh(self, hosts: list[HostView], request: Request, scene: Scene) -> list[float]:
        """The members there."""
        members = scene.members(request)
        return [float(members[host.id]) for host in hosts]


class ServerGroupSoftAntiAffinityWeigher(Weigher):
    """Apart, if it can be."""

    sentence = "Prefers hosts with fewest members of a server group with the policy soft-anti-affinity."
    multiplier_key = "soft_anti_affinity_weight_multiplier"
    multiplier = OUTWEIGHS_THE_REST
    least_multiplier = 0.0

    def matters(self, request: Request) -> bool:
        """Only for such a group."""
        return request.group is not None and request.group.policy == GroupPolicy.SOFT_ANTI_AFFINITY

    def weigh(self, hosts: list[HostView], request: Request, scene: Scene) -> list[float]:
        """The members there, counted against it."""
        members = scene.members(request)
        return [-float(members[host.id]) for host in hosts]
