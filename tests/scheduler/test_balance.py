"""Evening out: for any hosts and instances no host is overfilled, it ends, and a second look finds nothing more."""

from __future__ import annotations

import dataclasses
from collections import Counter
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from compute.models import GroupPolicy
from scheduler.balance import Candidate, Plan, load, plan, spread
from scheduler.pick import Look
from scheduler.request import Request
from tests.scheduler.views import USUAL, group, host, scene

ABOVE, TO = 0.2, 0.1


def empty(number: int, memory: float = 1000, vcpus: float = 100, **more):
    """A host with nothing on it."""
    return host(
        id=number, name=f"h{number}", memory_capacity_mb=memory, memory_used_mb=0, vcpu_capacity=vcpus, vcpus_used=0,
        disk_capacity_gb=1000, disk_used_gb=0, instances=0, **more,
    )  # fmt: skip


def guest(number: int, memory: int = 100, vcpus: int = 1, **more) -> Request:
    return Request(vcpus=vcpus, memory_mb=memory, disk_gb=1, instance_id=UUID(int=number), project_id="p", **more)


class Cloud:
    """Hosts, and which instances are where."""

    def __init__(self, hosts, placed: dict[int, list[Request]]) -> None:
        self.empty = {one.id: one for one in hosts}
        self.where = {one.instance_id: host_id for host_id, guests in placed.items() for one in guests}
        self.guests = {one.instance_id: one for guests in placed.values() for one in guests}
        self.quiet: set[UUID] = set()

    def look(self) -> Look:
        views = dict(self.empty)
        for key, host_id in self.where.items():
            views[host_id] = views[host_id].after(self.guests[key])
        around = scene()
        for one in self.guests.values():
            if one.group is not None:
                around._members.setdefault(one.group.id, {})[one.instance_id] = self.where[one.instance_id]
        return Look(sorted(views.values(), key=lambda one: one.name), around, True, USUAL)

    def plan(self) -> Plan:
        here = [Candidate(one, self.where[key]) for key, one in self.guests.items() if key not in self.quiet]
        return plan(self.look(), here, above=ABOVE, to=TO)

    def apply(self, found: Plan) -> None:
        """Move by move: never is a host fuller than it may be, unless it was so before."""
        for move in found.moves:
            assert self.where[move.instance_id] == move.source.id
            self.where[move.instance_id] = move.target.id
            self.quiet.add(move.instance_id)
            target = next(one for one in self.look().hosts if one.id == move.target.id)
            assert target.memory_used_mb <= target.memory_capacity_mb
            assert target.vcpus_used <= target.vcpu_capacity and target.disk_used_gb <= target.disk_capacity_gb

    def spread(self) -> float:
        return spread(load(one) for one in self.look().hosts if one.up and one.enabled)


GROUPS = [group(GroupPolicy.ANTI_AFFINITY), group(GroupPolicy.ANTI_AFFINITY, 2), group(GroupPolicy.AFFINITY)]

MOSTLY = st.sampled_from([True, True, True, False])
ZONES = st.sampled_from(["", "", "nova", "east"])


@st.composite
def clouds(draw) -> Cloud:
    hosts = [
        empty(
            number, memory=draw(st.sampled_from([500, 1000, 2000])), vcpus=draw(st.sampled_from([4, 16, 64])),
            up=draw(MOSTLY), enabled=draw(MOSTLY),
            zone=draw(st.sampled_from(["nova", "east"])),
        )
        for number in range(1, draw(st.integers(1, 7)) + 1)
    ]  # fmt: skip
    placed: dict[int, list[Request]] = {}
    for number in range(draw(st.integers(0, 30))):
        one = guest(
            number + 1, memory=draw(st.sampled_from([10, 64, 128, 300])), vcpus=draw(st.integers(1, 4)),
            group=draw(st.sampled_from([None, None, None, *GROUPS])), zone=draw(ZONES),
        )  # fmt: skip
        placed.setdefault(draw(st.sampled_from([one.id for one in hosts[:3]])), []).append(one)
    return Cloud(hosts, placed)


@given(clouds())
@settings(max_examples=200, deadline=None)
def test_it_ends_evener_overfills_nothing_and_then_proposes_nothing(cloud: Cloud) -> None:
    before = cloud.spread()
    found = cloud.plan()
    assert len({one.instance_id for one in found.moves}) == len(found.moves), "one was moved twice"
    if before <= ABOVE:
        assert found.moves == []
    hosts = {one.id: one for one in cloud.look().hosts}
    for move in found.moves:
        assert hosts[move.target.id].up and hosts[move.target.id].enabled and hosts[move.source.id].up
        one = cloud.guests[move.instance_id]
        assert one.zone in ("", hosts[move.target.id].zone)
    cloud.apply(found)
    assert cloud.spread() <= before + 1e-9
    assert found.after == {one.id: load(one) for one in cloud.look().hosts if one.up and one.enabled}
    _groups_are_kept(cloud, {one.instance_id for one in found.moves})
    assert cloud.plan().moves == []


def _groups_are_kept(cloud: Cloud, moved: set[UUID]) -> None:
    for one in GROUPS:
        if one.policy != GroupPolicy.ANTI_AFFINITY:
            continue
        members = [key for key, guest in cloud.guests.items() if guest.group == one]
        there = Counter(cloud.where[key] for key in members)
        assert all(there[cloud.where[key]] <= one.most_on_a_host for key in members if key in moved)


def test_little_leads_to_nothing() -> None:
    cloud = Cloud([empty(1), empty(2)], {1: [guest(1, 100), guest(2, 100)]})
    found = cloud.plan()
    assert found.moves == [] and "20 % apart, and up to 20 %" in found.sentence
    cloud = Cloud([empty(1), empty(2)], {1: [guest(1, 110), guest(2, 100)]})
    assert len(cloud.plan().moves) == 1


def test_few_moves_do() -> None:
    """One of the large ones does what many of the small ones would."""
    cloud = Cloud([empty(1), empty(2)], {1: [guest(1, 300), *(guest(number, 20) for number in range(2, 17))]})
    found = cloud.plan()
    assert [one.instance_id for one in found.moves] == [UUID(int=1)]
    assert "One move narrows" in found.sentence and "from 60 % to 0 %" in found.sentence


def test_processors_count_as_memory_does() -> None:
    cloud = Cloud([empty(1, vcpus=10), empty(2, vcpus=10)], {1: [guest(number, 1, vcpus=2) for number in range(1, 5)]})
    assert len(cloud.plan().moves) == 2


def test_what_no_filter_allows_is_not_proposed() -> None:
    only = group(GroupPolicy.AFFINITY)
    cloud = Cloud([empty(1), empty(2)], {1: [guest(number, 200, group=only) for number in range(1, 4)]})
    found = cloud.plan()
    assert found.moves == [] and "no move that is allowed" in found.sentence
    alone = Cloud([empty(1), empty(2, enabled=False)], {1: [guest(1, 900)]})
    assert alone.plan().moves == [] and "Fewer than two hosts" in alone.plan().sentence


def test_the_surroundings_are_left_as_they_were() -> None:
    apart = group(GroupPolicy.ANTI_AFFINITY, 9)
    cloud = Cloud([empty(1), empty(2)], {1: [guest(number, 200, group=apart) for number in range(1, 4)]})
    look = cloud.look()
    members = {key: dict(where) for key, where in look.scene._members.items()}
    assert plan(look, [Candidate(one, 1) for one in cloud.guests.values()], above=ABOVE, to=TO).moves
    assert look.scene._members == members
    assert [dataclasses.replace(one) for one in look.hosts] == cloud.look().hosts
