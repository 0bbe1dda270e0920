"""Filters, weighers, claims and their explanation."""

from __future__ import annotations

import threading

import pytest
from django.db import connections
from hypothesis import given
from hypothesis import strategies as st

from compute.models import Host
from scheduler import claims
from scheduler.explain import Explanation
from scheduler.filters.capacity import CoreFilter, DiskFilter, RamFilter
from scheduler.filters.state import AvailabilityZoneFilter, ComputeFilter, RetryFilter
from scheduler.pick import place
from scheduler.scene import Scene
from tests.scheduler.views import SMALL, host, rank, request


@pytest.mark.parametrize(
    ("one", "view", "wanted", "passes", "why"),
    [
        (RamFilter(), host(), request(), True, ""),
        (RamFilter(), host(), request(memory_mb=513), False, "wants 513 MB, 512 of 1536 MB free at ratio 1.5"),
        (DiskFilter(), host(), request(), True, ""),
        (DiskFilter(), host(), request(disk_gb=2), False, "wants 2 GB of disk, 1 of 100 GB free at ratio 1"),
        (CoreFilter(), host(), request(), True, ""),
        (CoreFilter(), host(), request(vcpus=2), False, "wants 2 vCPUs, 1 of 16 free at ratio 16"),
        (ComputeFilter(), host(), request(), True, ""),
        (ComputeFilter(), host(up=False, down_reason="no route"), request(), False, "is down: no route"),
        (ComputeFilter(), host(enabled=False, down_reason="repair"), request(), False, "is disabled: repair"),
        (AvailabilityZoneFilter(), host(), request(zone="nova"), True, ""),
        (AvailabilityZoneFilter(), host(), request(zone="east"), False, "is in zone nova, zone east was asked for"),
        (RetryFilter(), host(), request(tried=frozenset({2})), True, ""),
        (RetryFilter(), host(), request(tried=frozenset({1})), False, "was tried for this request and failed"),
    ],
)
def test_a_filter_says_yes_or_why_not(one, view, wanted, passes, why):
    assert one.keep([view], wanted, Scene()) == ([view] if passes else [])
    if not passes:
        assert one.why(view, wanted, Scene()) == why


def test_the_host_with_the_most_free_memory_is_first():
    hosts = [host(id=1, name="a", memory_used_mb=900), host(id=2, name="b", memory_used_mb=100)]
    explanation = Explanation()
    assert [one.name for one in rank(hosts, request(), explanation)] == ["b", "a"]
    assert [entry["host"] for entry in explanation.weights] == ["b", "a"]


views = st.builds(
    lambda number, used, up: host(id=number, name=f"h{number}", memory_used_mb=used, up=up),
    st.integers(1, 30),
    st.integers(0, 2000),
    st.booleans(),
)


@given(st.lists(views, max_size=12, unique_by=lambda one: one.id), st.randoms())
def test_the_order_of_hosts_changes_nothing(hosts, random):
    shuffled = list(hosts)
    random.shuffle(shuffled)
    first, second = rank(hosts, request(), Explanation()), rank(shuffled, request(), Explanation())
    assert first == second


@given(st.lists(views, max_size=12, unique_by=lambda one: one.id))
def test_every_host_is_either_ranked_or_explained(hosts):
    explanation = Explanation()
    ranked = rank(hosts, request(), explanation)
    assert {one.name for one in ranked} | {entry["host"] for entry in explanation.rejected} == {
        one.name for one in hosts
    }
    assert all(one.up and one.memory_used_mb + 512 <= one.memory_capacity_mb for one in ranked)


def test_no_host_at_all_is_said(db):
    placement = place(SMALL)
    assert placement.host is None
    assert "there is no host yet" in placement.explanation.sentence()


def test_several_hosts_are_summed_up(cloud):
    Host.objects.create(name="host-2", uri="fake://2", state="down", state_reason="no route")
    sentence = place(request(memory_mb=10**6)).explanation.sentence()
    assert sentence == (
        "No valid host was found: of 2 hosts, down or disabled on 1, not enough memory on 1 "
        "(wants 1000000 MB, 48384 of 48384 MB free at ratio 1.5)."
    )


@pytest.mark.django_db(transaction=True)
def test_claims_by_many_at_once_never_exceed_the_capacity(cloud):
    Host.objects.update(memory_mb=512 + 1000, memory_ratio=1.0)
    won: list[bool] = []

    def claim() -> None:
        try:
            for _ in range(5):
                won.append(claims.take(cloud.host.pk, vcpus=1, memory_mb=100, disk_gb=1))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(won) == 10
    assert Host.objects.get().memory_mb_used == 1000
