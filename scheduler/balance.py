"""Evening out: which moves between hosts make a load that is uneven even, each allowed by the filters.

A host's load is the larger share of what may be claimed of it: of its memory, or of its virtual CPUs. The hosts that
are up and enabled are compared; what parts the fullest from the emptiest is the spread. Nothing is proposed until the
spread is above one threshold, and then moves until it is down at another, so that little changes lead to nothing.

Each move goes from a host to one that is left less loaded than the first was. So the loads, the largest first, go down
in the order of a dictionary with each move: there is no circle, and an end. No instance is moved twice. A second look
at what all the moves have led to finds nothing more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from scheduler.decide import Deciding
from scheduler.hoststate import HostView
from scheduler.pick import Look
from scheduler.request import Request
from scheduler.scene import Scene

# A move must make at least so much of a difference to the fuller of its two hosts.
LEAST_GAIN = 0.01


@dataclass(frozen=True, slots=True)
class Candidate:
    """An instance that may be moved, and where it is."""

    request: Request
    host_id: int

    @property
    def id(self) -> UUID:
        """The instance's."""
        assert self.request.instance_id is not None
        return self.request.instance_id


@dataclass(frozen=True, slots=True)
class Move:
    """One instance from a host to another."""

    instance_id: UUID
    source: HostView  # as they are before it
    target: HostView


@dataclass
class Plan:
    """The moves in their order, the loads by the host's id before and after all of them, and what it comes to."""

    moves: list[Move] = field(default_factory=list)
    before: dict[int, float] = field(default_factory=dict)
    after: dict[int, float] = field(default_factory=dict)
    sentence: str = ""


def load(host: HostView) -> float:
    """How full a host is: 1 is all that may be claimed."""
    memory = host.memory_used_mb / host.memory_capacity_mb if host.memory_capacity_mb else 1.0
    vcpus = host.vcpus_used / host.vcpu_capacity if host.vcpu_capacity else 1.0
    return max(memory, vcpus)


def spread(loads: Iterable[float]) -> float:
    """What parts the fullest from the emptiest."""
    found = list(loads)
    return max(found) - min(found) if found else 0.0


class Moved(Scene):
    """The surroundings, with some instances on other hosts than they are."""

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene.aggregates)
        self.__dict__.update(scene.__dict__)
        self._members = {key: dict(where) for key, where in scene._members.items()}
        self._where: dict[UUID, tuple[str, int]] = {}

    def move(self, request: Request, host_id: int) -> None:
        """From now on it is there."""
        assert request.instance_id is not None
        self._where[request.instance_id] = request.project_id, host_id
        if request.group is not None:
            self._members_of(request.group)[request.instance_id] = host_id

    def hosts_of(self, project_id: str, instance_ids: Iterable[str]) -> frozenset[int]:
        """See ``Scene``."""
        wanted = set(instance_ids)
        moved = {str(key): where for key, where in self._where.items() if str(key) in wanted}
        there = frozenset(host_id for owner, host_id in moved.values() if owner == project_id)
        return super().hosts_of(project_id, wanted - set(moved)) | there


def plan(look: Look, candidates: Iterable[Candidate], *, above: float, to: float) -> Plan:
    """The moves that bring a spread above ``above`` down to ``to``, or as far as the filters allow."""
    planning = _Planning(look, list(candidates))
    made = Plan(before=planning.loads())
    made.after = dict(made.before)
    now = spread(made.before.values())
    if len(made.before) < 2:
        made.sentence = "Fewer than two hosts take instances."
    elif now <= above:
        made.sentence = f"The load is even enough: {_apart(now)}, and up to {_percent(above)} is allowed."
    else:
        made.moves = list(planning.moves(to))
        made.after = planning.loads()
        left = spread(made.after.values())
        made.sentence = (
            f"{_counted(len(made.moves))} the gap between the fullest host and the emptiest from {_percent(now)} to "
            f"{_percent(left)}."
            if made.moves
            else f"{_apart(now).capitalize()}, and no move that is allowed would change it."
        )
    return made


def _counted(moves: int) -> str:
    return "One move narrows" if moves == 1 else f"{moves} moves narrow"


def _percent(share: float) -> str:
    """As the pages write it."""
    return f"{share * 100:.0f} %"


def _apart(gap: float) -> str:
    """Half a sentence."""
    return f"the fullest host and the emptiest are {_percent(gap)} apart"


class _Planning:
    """The hosts and the instances on them, as the moves so far have them."""

    def __init__(self, look: Look, candidates: list[Candidate]) -> None:
        self._pipeline = look.pipeline
        self._hosts = {host.id: host for host in look.hosts if host.up and host.enabled}
        self._scene = Moved(look.scene)
        self._on: dict[int, dict[UUID, Candidate]] = {key: {} for key in self._hosts}
        for one in candidates:
            if one.host_id in self._on:
                self._on[one.host_id][one.id] = one

    def loads(self) -> dict[int, float]:
        """By the host's id."""
        return {key: load(host) for key, host in self._hosts.items()}

    def moves(self, to: float) -> Iterator[Move]:
        """One after the other, the one that helps most first."""
        while spread(self.loads().values()) > to:
            found = self._best()
            if found is None:
                return
            candidate, target = found
            yield Move(candidate.id, self._hosts[candidate.host_id], self._hosts[target])
            self._take(candidate, target)

    def _best(self) -> tuple[Candidate, int] | None:
        """The best move off the fullest host that has one; those no fuller than the mean keep what they have."""
        loads = self.loads()
        mean = sum(loads.values()) / len(loads)
        for source in sorted((key for key in loads if loads[key] > mean), key=lambda key: (-loads[key], key)):
            if (found := self._off(source, loads)) is not None:
                return found
        return None

    def _off(self, source: int, loads: dict[int, float]) -> tuple[Candidate, int] | None:
        """The best allowed move off a host. The filters are asked only about moves that would help."""
        allowed: dict[object, frozenset[int]] = {}
        for _, _, _, candidate, target in sorted(self._helping(source, loads), key=lambda one: one[:3]):
            key = _alike(candidate)
            if key not in allowed:
                allowed[key] = self._allowed(candidate)
            if target in allowed[key]:
                return candidate, target
        return None

    def _helping(self, source: int, loads: dict[int, float]) -> Iterator[tuple[float, int, str, Candidate, int]]:
        """Moves off a host that make the fuller of the two emptier, with how full it is then: the best is the least.

        None that would leave the host emptier than the emptiest is now: the spread never grows.
        """
        host, emptiest = self._hosts[source], min(loads.values())
        seen: dict[tuple[int, int], float] = {}
        for candidate in self._on[source].values():
            size = candidate.request.memory_mb, candidate.request.vcpus
            if size not in seen:
                seen[size] = load(_without(host, candidate.request))
            left = seen[size]
            if left < emptiest:
                continue
            for target in self._hosts:
                if target == source or loads[target] >= loads[source]:
                    continue
                then = max(left, load(self._hosts[target].after(candidate.request)))
                if then <= loads[source] - LEAST_GAIN:
                    yield then, candidate.request.memory_mb, f"{candidate.id} {target:020}", candidate, target

    def _allowed(self, candidate: Candidate) -> frozenset[int]:
        """The hosts that the filters let it go to."""
        request = replace(candidate.request, leaves=candidate.host_id, host="", forced=False)
        deciding = Deciding(self._pipeline, request, self._scene)
        return frozenset(host.id for host in deciding.filtered(list(self._hosts.values())))

    def _take(self, candidate: Candidate, target: int) -> None:
        source = candidate.host_id
        self._hosts[source] = _without(self._hosts[source], candidate.request)
        self._hosts[target] = self._hosts[target].after(candidate.request)
        del self._on[source][candidate.id]  # and it is not moved again
        self._scene.move(candidate.request, target)


def _without(host: HostView, request: Request) -> HostView:
    """The host once the instance has left it."""
    return replace(
        host,
        memory_used_mb=max(0, host.memory_used_mb - request.memory_mb),
        disk_used_gb=max(0, host.disk_used_gb - request.disk_gb),
        vcpus_used=max(0, host.vcpus_used - request.vcpus),
        instances=max(0, host.instances - request.instances),
    )


def _alike(candidate: Candidate) -> object:
    """What two instances have in common for which the filters have the same answer, whichever of them asks."""
    request = candidate.request
    if request.group is not None or request.hints:
        return candidate.id
    named: Sequence[object] = (
        candidate.host_id, request.vcpus, request.memory_mb, request.disk_gb, request.zone, request.project_id,
        request.flavor_name, request.image_id, tuple(sorted(request.extra_specs.items())),
        repr(sorted(request.image_properties.items())),
    )  # fmt: skip
    return tuple(named)
