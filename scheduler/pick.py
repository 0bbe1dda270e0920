"""Placing: the decision, then the claim; the next best host when a claim is lost to somebody else.

``place`` and ``place_many`` claim. ``evaluate`` only looks: where would this go, and how many more fit?
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from compute.models import GroupPolicy, Host
from portal.compiled import Rows, given
from scheduler import cache, claims, pipeline
from scheduler.decide import Deciding, room_on
from scheduler.explain import Explanation
from scheduler.filters.capacity import CoreFilter, DiskFilter, RamFilter
from scheduler.filters.groups import ServerGroupAffinityFilter, ServerGroupAntiAffinityFilter
from scheduler.filters.state import ComputeFilter
from scheduler.hoststate import HostView
from scheduler.request import Group, Request
from scheduler.scene import Scene

__all__ = ["Evaluation", "Group", "Placement", "Request", "evaluate", "place", "place_many"]

# A request whose claims were lost to others so often looks at all hosts afresh.
ALTERNATES = 3
# Each round that places nothing was lost to placements of others, so this is never reached but by a mistake.
MOST_ROUNDS = 20
# What a claim asks for besides being first.
CLAIMED = (ComputeFilter(), RamFilter(), DiskFilter(), CoreFilter())
BY_GROUP = (ServerGroupAffinityFilter(), ServerGroupAntiAffinityFilter())
OVERTAKEN = "its room was taken by another request meanwhile"


_HOST = Rows(lambda: Host.objects.defer("facts").filter(**given(Host, "pk")))


@dataclass(frozen=True)
class Placement:
    """The host whose room is now claimed, or None; and why."""

    host: Host | None
    explanation: Explanation


@dataclass(frozen=True)
class Evaluation:
    """What a dry run found: the hosts that can take the request, the best first, and how many such each takes."""

    hosts: list[HostView]
    rooms: dict[int, int]  # by the host's id
    explanation: Explanation
    together: bool = False  # a group with the policy affinity: all on one host

    @property
    def total(self) -> int:
        """How many such instances fit now."""
        return max(self.rooms.values(), default=0) if self.together else sum(self.rooms.values())


@dataclass
class Look:
    """Hosts and surroundings, as they were at one moment, and as placements of this pass have changed them since."""

    hosts: list[HostView]
    scene: Scene
    whole: bool  # every host was read for this look
    pipeline: pipeline.Pipeline = field(default_factory=pipeline.current)

    @classmethod
    def now(cls, fresh: bool = False) -> Look:
        """Read what there is. ``fresh``: without what this process remembers."""
        hosts, aggregates, whole = cache.hosts.current(fresh)
        return cls(list(hosts), Scene(aggregates), whole)

    def decide(self, request: Request) -> tuple[list[HostView], Explanation]:
        """The hosts for a request, the best first."""
        deciding = Deciding(self.pipeline, request, self.scene)
        return deciding.rank(self.hosts), deciding.explanation

    def took(self, host: HostView, request: Request) -> None:
        """From now on the request is there."""
        place = next(place for place, one in enumerate(self.hosts) if one.id == host.id)
        self.hosts[place] = self.hosts[place].after(request)
        self.scene.took(host.id, request)


def place(request: Request) -> Placement:
    """Choose a host and claim the room. Call it inside the transaction that records the choice."""
    return place_many([request])[0]


def place_many(requests: Sequence[Request]) -> list[Placement]:
    """Choose hosts for several requests in one pass and claim their rooms; a placement for each, in their order.

    All are decided on one look at the hosts, each seeing what those before it take. Call it inside
    the transaction that records the choices. Those that fit nowhere have no host.
    """
    placed: dict[int, Placement] = {}
    waiting = list(range(len(requests)))
    look = Look.now()
    for _ in range(MOST_ROUNDS):
        waiting = _round(look, requests, waiting, placed)
        if not waiting:
            break
        look = Look.now(fresh=True)
        for index, placement in placed.items():
            if placement.host is not None:
                look.scene.took(placement.host.id, requests[index])
    return [placed[index] for index in range(len(requests))]


@dataclass
class _Plan:
    """One request with the hosts that it may go to, the best first."""

    index: int
    ranked: list[HostView]
    explanation: Explanation


def _round(look: Look, requests: Sequence[Request], waiting: list[int], placed: dict[int, Placement]) -> list[int]:
    """Plan and claim for those that wait. Returns those that were overtaken, for whom to look afresh."""
    plans, undecided = [], []
    for index in waiting:
        ranked, explanation = look.decide(requests[index])
        placed[index] = Placement(None, explanation)
        if ranked:
            plans.append(_Plan(index, ranked[: ALTERNATES + 1], explanation))
            look.took(ranked[0], requests[index])
        elif not look.whole:
            undecided.append(index)
    _lock_groups(look.scene, [requests[plan.index] for plan in plans])
    if found := _claimed_together(plans, requests, look.scene):
        for plan in plans:
            plan.explanation.chosen = plan.ranked[0].name
            placed[plan.index] = Placement(found[plan.ranked[0].id], plan.explanation)
        return undecided
    for plan in sorted(plans, key=lambda plan: plan.ranked[0].id):  # two passes claim in one order, and in no circle
        host = _claimed(plan, requests[plan.index], look.scene)
        if host is None:
            undecided.append(plan.index)
            continue
        placed[plan.index] = Placement(host, plan.explanation)
    return sorted(undecided)


def _lock_groups(scene: Scene, planned: Iterable[Request]) -> None:
    """The late check's lock. Members are counted again from here on, as the claims of this pass go."""
    groups = {request.group.id: request.group for request in planned if request.group and request.group.is_hard}
    if groups:
        claims.lock_groups(groups)
        for group in groups.values():
            scene.forget_members(group)


def _claimed_together(plans: Sequence[_Plan], requests: Sequence[Request], scene: Scene) -> dict[int, Host] | None:
    """Claim the best host of each of several at once. None: each is to be claimed alone, by what it says of itself."""
    wanted = [(plan.ranked[0], requests[plan.index]) for plan in plans]
    if len(plans) < 2 or any(request.group and request.group.is_hard for _, request in wanted):
        return None
    found = claims.take_together([_claim_of(view, request, scene) for view, request in wanted])
    if found:
        for view, request in wanted:
            scene.took(view.id, request)
    return found


def _claim_of(view: HostView, wanted: Request, scene: Scene) -> claims.Claim:
    ratios = tuple(sorted(scene.aggregates.ratios(view.id).items()))
    return claims.Claim(view.id, wanted.vcpus, wanted.memory_mb, wanted.disk_gb, wanted.instances, ratios)


def _claimed(plan: _Plan, request: Request, scene: Scene) -> Host | None:
    """Claim the best host that is still to be had."""
    for view in plan.ranked:
        if broken := _breaks_group(view, request, scene):
            plan.explanation.reject(view.name, "Claim", broken)
        elif _claim(view, request, scene):
            scene.took(view.id, request)
            plan.explanation.chosen = view.name
            return _HOST.all(pk=view.id)[0]
        else:
            plan.explanation.reject(view.name, "Claim", _why_not_claimed(view, request, scene))
    return None


def _breaks_group(view: HostView, request: Request, scene: Scene) -> str:
    """The late check: what the group's policy says now that the group is locked. As in Nova, not of a forced host."""
    if request.forced:
        return ""
    return next((one.why(view, request, scene) for one in BY_GROUP if not one.keep([view], request, scene)), "")


def _why_not_claimed(view: HostView, request: Request, scene: Scene) -> str:
    """What a forced host lacks, as no filter has said it; else that somebody was faster."""
    if not request.forced:
        return OVERTAKEN
    missing = [one.why(view, request, scene) for one in CLAIMED if not one.keep([view], request, scene)]
    return ", ".join(missing) or OVERTAKEN


def _claim(view: HostView, wanted: Request, scene: Scene) -> bool:
    return claims.take(
        view.id,
        vcpus=wanted.vcpus,
        memory_mb=wanted.memory_mb,
        disk_gb=wanted.disk_gb,
        instances=wanted.instances,
        ratios=scene.aggregates.ratios(view.id),
    )


def evaluate(request: Request, look: Look | None = None) -> Evaluation:
    """Where a request would go, and how many such fit, without claiming anything.

    ``look``: one look (``Look.now()``) for several questions at once.
    """
    look = look or Look.now()
    deciding = Deciding(look.pipeline, request, look.scene)
    ranked = deciding.rank(look.hosts)
    if not ranked and not look.whole:
        return evaluate(request, Look.now(fresh=True))
    together = request.group is not None and request.group.policy == GroupPolicy.AFFINITY
    return Evaluation(ranked, {host.id: room_on(host, deciding) for host in ranked}, deciding.explanation, together)
