"""What holds for any hosts and any request."""

from __future__ import annotations

import dataclasses
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from compute.models import GroupPolicy
from scheduler.explain import HOSTS_EXPLAINED, Explanation
from scheduler.filters import FILTERS
from scheduler.pick import Look
from scheduler.pipeline import Pipeline
from scheduler.request import Request
from scheduler.weighers import WEIGHERS
from tests.scheduler.site_parts import AddingFilter, RackFilter
from tests.scheduler.views import USUAL, group, host, rank, scene

EVERY = {one.__name__: one for one in FILTERS}
GROUPS = {policy: group(policy) for policy in GroupPolicy.values}

views = st.builds(
    lambda number, memory, disk, vcpus, up, enabled, zone, failures, count: host(
        id=number,
        name=f"h{number:02}",
        memory_used_mb=memory,
        disk_used_gb=disk,
        vcpus_used=vcpus,
        up=up,
        enabled=enabled,
        zone=zone,
        build_failures=failures,
        instances=count,
    ),
    st.integers(1, 30),
    st.integers(0, 1600),
    st.integers(0, 101),
    st.integers(0, 17),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["nova", "east"]),
    st.integers(0, 3),
    st.integers(0, 60),
)
clouds = st.lists(views, max_size=12, unique_by=lambda one: one.id)
requests = st.builds(
    Request,
    vcpus=st.integers(0, 8),
    memory_mb=st.integers(0, 1024),
    disk_gb=st.integers(0, 50),
    zone=st.sampled_from(["", "east"]),
    tried=st.frozensets(st.integers(1, 30), max_size=3),
    group=st.sampled_from([None, *GROUPS.values()]),
    project_id=st.sampled_from(["p", "q"]),
    hints=st.sampled_from([{}, {"query": [">", "$free_ram_mb", 300]}]),
)


def around_them(tenant, ratio, on, there):
    """Aggregates with these hosts, and every group with members on the others."""
    found = scene(({"filter_tenant_id": tenant, "ram_weight_multiplier": ratio}, on))
    for one in GROUPS.values():
        found._members[one.id] = {UUID(int=index): host_id for index, host_id in enumerate(there)}
    return found


surroundings = st.builds(
    around_them,
    st.sampled_from(["p", "q"]),
    st.sampled_from(["2", "-1", "x"]),
    st.lists(st.integers(1, 30), max_size=5),
    st.lists(st.integers(1, 30), max_size=5),
)


@given(clouds, requests, surroundings, st.randoms())
def test_the_order_of_hosts_changes_nothing(hosts, wanted, around, random):
    shuffled = list(hosts)
    random.shuffle(shuffled)
    assert rank(hosts, wanted, around=around) == rank(shuffled, wanted, around=around)


@given(clouds, requests, surroundings)
def test_every_host_is_either_ranked_or_explained(hosts, wanted, around):
    explanation = Explanation()
    ranked = rank(hosts, wanted, explanation, around=around)
    named = [entry["host"] for entry in explanation.rejected]
    assert sorted([one.name for one in ranked] + named) == sorted(one.name for one in hosts)
    assert all(entry["why"] for entry in explanation.rejected)


@given(clouds, requests, surroundings)
def test_nothing_that_is_chosen_is_above_its_capacity(hosts, wanted, around):
    for one in rank(hosts, wanted, around=around):
        after = one.after(wanted)
        assert after.memory_used_mb <= one.memory_capacity_mb
        assert after.disk_used_gb <= one.disk_capacity_gb
        assert after.vcpus_used <= one.vcpu_capacity
        assert one.up
        assert one.enabled


@given(
    clouds,
    requests,
    surroundings,
    st.lists(st.sampled_from(list(EVERY)), unique=True),
    st.sampled_from([*EVERY.values(), RackFilter, AddingFilter]),
    st.integers(0, 30),
)
@settings(max_examples=300)
def test_adding_a_filter_never_adds_hosts(hosts, wanted, around, on, added, place):
    some = [EVERY[name]() for name in on]
    more = [*some[:place], added(), *some[place:]]
    before = {one.id for one in rank(hosts, wanted, around=around, filters=tuple(some))}
    after = {one.id for one in rank(hosts, wanted, around=around, filters=tuple(more))}
    assert after <= before


@given(clouds, requests, surroundings, st.randoms())
def test_the_order_of_filters_changes_nothing(hosts, wanted, around, random):
    filters = list(USUAL.filters)
    random.shuffle(filters)
    assert rank(hosts, wanted, around=around, filters=tuple(filters)) == rank(hosts, wanted, around=around)


@given(clouds, requests, surroundings, st.integers(1, 12))
def test_a_pass_for_several_never_plans_above_a_capacity(hosts, wanted, around, count):
    """What ``place_many`` does before it claims."""
    look = Look(sorted(hosts, key=lambda one: one.name), around, True, Pipeline(USUAL.filters, USUAL.weighers))
    members = around.members(wanted).copy()
    for _ in range(count):
        one = dataclasses.replace(wanted)
        ranked, _explanation = look.decide(one)
        if not ranked:
            break
        look.took(ranked[0], one)
        members[ranked[0].id] += 1
    before = {one.id: one for one in hosts}
    for one in look.hosts:
        if one != before[one.id]:
            assert one.memory_used_mb <= one.memory_capacity_mb
            assert one.disk_used_gb <= one.disk_capacity_gb
            assert one.vcpus_used <= one.vcpu_capacity
            if wanted.group == GROUPS[GroupPolicy.ANTI_AFFINITY]:
                assert members[one.id] == 1


@given(st.integers(1, 400), requests)
def test_an_explanation_is_bounded_whatever_the_number_of_hosts(count, wanted):
    explanation = Explanation()
    hosts = [host(id=number, name=f"h{number}", up=bool(number % 3), memory_used_mb=0) for number in range(count)]
    rank(hosts, wanted, explanation, around=around_them("p", "2", [], []))
    filters = len(explanation.filters)
    assert len(explanation.rejected) <= HOSTS_EXPLAINED + 5 * filters
    assert len(explanation.weights) <= HOSTS_EXPLAINED
    refused = sum(entry["into"] - entry["out"] for entry in explanation.filters)
    assert refused >= len(explanation.rejected)


def test_every_weigher_is_in_the_properties():
    assert {type(one) for one in USUAL.weighers} == set(WEIGHERS)
