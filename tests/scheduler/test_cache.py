"""What a process remembers of the hosts, and how little it reads again."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from compute.models import Aggregate, Host
from scheduler import cache, claims
from scheduler.pick import Look, evaluate, place
from tests.scheduler.views import SMALL, request


@pytest.fixture
def kept(cloud, monkeypatch):
    """A cache that also keeps small clouds."""
    monkeypatch.setattr(cache, "CACHED_FROM", 1)
    monkeypatch.setattr(cache, "hosts", cache.HostCache())
    Look.now()
    return cloud.host


def reads_of_hosts() -> list[str]:
    with CaptureQueriesContext(
        connection,
    ) as queries:
        Look.now()
    return [one["sql"] for one in queries if "build_failures" in one["sql"]]


def seen() -> object:
    (view,) = Look.now().hosts
    return view


def test_hosts_that_have_not_changed_are_not_read_again(kept):
    assert reads_of_hosts() == []
    assert not Look.now().whole


def test_a_small_cloud_is_read_whole(cloud):
    assert Look.now().whole
    assert Look.now().whole


def test_a_claim_is_seen_and_only_its_host_is_read(kept):
    Host.objects.create(name="other", uri="fake://other")
    Look.now()
    claims.take(kept.pk, vcpus=1, memory_mb=100, disk_gb=1)
    (read,) = reads_of_hosts()
    assert "IN" in read
    assert next(one for one in Look.now().hosts if one.id == kept.pk).memory_used_mb == 100


@pytest.mark.parametrize(
    ("change", "field", "value"),
    [
        ({"enabled": False}, "enabled", False),
        ({"forced_down": True}, "up", False),
        ({"memory_ratio": 3.0}, "memory_ratio", 3.0),
        ({"name": "b"}, "name", "b"),
        ({"facts": {"architecture": "aarch64"}}, "hypervisor_version", 0),
    ],
)
def test_a_change_is_seen(kept, change, field, value):
    Host.objects.filter(pk=kept.pk).update(updated_at=timezone.now(), **change)
    assert getattr(seen(), field) == value


def test_hosts_that_come_and_go_are_seen(kept):
    Host.objects.create(name="another", uri="fake://another")
    assert [one.name for one in Look.now().hosts] == ["another", "host-1"]
    Host.objects.filter(name="another").delete()
    assert [one.name for one in Look.now().hosts] == ["host-1"]


def test_aggregates_are_seen_and_their_ratios_count(kept):
    rack = Aggregate.objects.create(name="rack", metadata={"ram_allocation_ratio": "1.0", "cpu_allocation_ratio": "2"})
    assert seen().memory_ratio == 1.5
    rack.hosts.add(kept)
    assert (seen().memory_ratio, seen().memory_capacity_mb, seen().vcpu_capacity) == (1.0, 32_768 - 512, 16.0)
    other = Aggregate.objects.create(name="other", metadata={"ram_allocation_ratio": "0.5"})
    other.hosts.add(kept)
    assert seen().memory_ratio == 0.5
    Aggregate.objects.filter(pk=other.pk).update(metadata={})
    assert seen().memory_ratio == 1.0


def test_the_claim_holds_the_ratio_of_the_aggregate(kept):
    rack = Aggregate.objects.create(name="rack", metadata={"ram_allocation_ratio": "1.0"})
    rack.hosts.add(kept)
    assert place(request(memory_mb=32_768 - 512)).host == kept
    placement = place(request(memory_mb=1))
    assert placement.host is None
    assert "wants 1 MB, 0 of 32256 MB free at ratio 1" in placement.explanation.sentence()


def test_nobody_is_refused_for_what_is_only_remembered(kept):
    """A change that left no mark (no new ``updated_at``): the host looks full, and has room."""
    Host.objects.filter(pk=kept.pk).update(memory_mb_used=48_384, updated_at=timezone.now())
    assert seen().free_memory_mb == 0
    Host.objects.filter(pk=kept.pk).update(memory_mb_used=0)
    assert seen().free_memory_mb == 0
    assert place(SMALL).host == kept
    assert evaluate(SMALL).hosts


def test_nobody_is_placed_where_room_is_only_remembered(kept):
    Host.objects.filter(pk=kept.pk).update(memory_mb_used=48_384)
    assert seen().memory_used_mb == 0
    placement = place(SMALL)
    assert placement.host is None
    assert "wants 512 MB, 0 of 48384 MB free at ratio 1.5" in placement.explanation.sentence()


def test_what_left_no_mark_is_noticed_in_the_end(kept, monkeypatch):
    Host.objects.filter(pk=kept.pk).update(zone="east")
    assert seen().zone == "nova"
    monkeypatch.setattr(cache, "READ_AGAIN_SECONDS", 0.0)
    assert seen().zone == "east"


def test_a_decision_asks_a_fixed_number_of_queries(kept):
    def asked() -> int:
        with CaptureQueriesContext(connection) as queries:
            evaluate(SMALL)
        return len(queries)

    few = asked()
    Host.objects.bulk_create(
        Host(name=f"more-{number}", uri=f"fake://more-{number}", state="up", vcpus=8, memory_mb=8192, disk_gb=100)
        for number in range(30)
    )
    evaluate(SMALL)
    assert asked() == few
    assert few <= 8
