"""What projects used in a period, over the wire."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from compute.models import Flavor, Instance
from compute.operations.create import BootRequest, create
from tests.api.compute.conftest import NEWEST, at, message
from tests.conftest import Cloud, Persona

USAGES = "/compute/v2.1/os-simple-tenant-usage"
TOTALS = {"tenant_id", "start", "stop", "total_hours", "total_vcpus_usage", "total_memory_mb_usage"} | {
    "total_local_gb_usage"
}
ITEM = {
    "instance_id", "name", "tenant_id", "flavor", "vcpus", "memory_mb", "local_gb", "state", "started_at", "ended_at",
    "hours", "uptime",
}  # fmt: skip


def period(days: int = 1) -> str:
    now = timezone.now()
    begin, end = now - timedelta(days=days), now + timedelta(days=days)
    return f"start={begin:%Y-%m-%dT%H:%M:%S.%f}&end={end:%Y-%m-%d %H:%M:%S.%f}"


@pytest.fixture
def old(cloud: Cloud, alice: Persona, active: Instance, drain: Any) -> Instance:
    """Another server of alice's, that was there for two hours, three hours ago."""
    tiny = Flavor.objects.get(name="m1.tiny").pk
    instance = create(alice.actor, BootRequest(name="old", flavor_id=tiny, image_id=str(cloud.image.id)))[0]
    drain()
    now = timezone.now()
    Instance.objects.filter(pk=active.pk).update(launched_at=now)
    over = {"terminated_at": now - timedelta(hours=1), "deleted_at": now - timedelta(hours=1)}
    Instance.objects.filter(pk=instance.pk).update(launched_at=now - timedelta(hours=3), **over)
    return instance


@pytest.mark.parametrize("version", ["2.1", "2.40", NEWEST])
def test_usage_of_a_project(old: Instance, cloud: Cloud, alice: Persona, bob: Persona, version: str) -> None:
    path = f"{USAGES}/{cloud.demo.id}?{period()}"
    shown = alice.get(path, headers=at(version)).json()["tenant_usage"]
    assert set(shown) == TOTALS | {"server_usages"}
    assert (round(shown["total_hours"], 2), round(shown["total_memory_mb_usage"])) == (2.0, 1024)
    by_name = {one["name"]: one for one in shown["server_usages"]}
    assert {frozenset(one) for one in by_name.values()} == {frozenset(ITEM)}
    assert (by_name["old"]["state"], by_name["old"]["uptime"], by_name["old"]["flavor"]) == (
        "terminated", 7200, "m1.tiny",
    )  # fmt: skip
    assert by_name["web"]["state"] == "active" and by_name["web"]["ended_at"] is None
    assert bob.get(path, headers=at(version)).status_code == 200


def test_only_what_lies_in_the_period_counts(old: Instance, cloud: Cloud, root: Persona) -> None:
    now = timezone.now()
    half = f"start={now - timedelta(hours=2):%Y-%m-%dT%H:%M:%S}&end={now - timedelta(minutes=90):%Y-%m-%dT%H:%M:%S}"
    shown = root.get(f"{USAGES}/{cloud.demo.id}?{half}").json()["tenant_usage"]
    assert round(shown["total_hours"], 3) == 0.5 and [one["name"] for one in shown["server_usages"]] == ["old"]
    before = f"start={now - timedelta(hours=9):%Y-%m-%dT%H:%M:%S}&end={now - timedelta(hours=8):%Y-%m-%dT%H:%M:%S}"
    nothing = root.get(f"{USAGES}/{cloud.demo.id}?{before}").json()["tenant_usage"]
    assert set(nothing) == TOTALS | {"server_usages"} and nothing["server_usages"] == [] and nothing["total_hours"] == 0


def test_usage_of_all_projects(old: Instance, cloud: Cloud, root: Persona, charlie: Persona, drain: Any) -> None:
    create(charlie.actor, BootRequest(name="theirs", flavor_id=cloud.nano.id, image_id=str(cloud.image.id)))
    drain()
    brief = root.get(f"{USAGES}?{period()}").json()["tenant_usages"]
    assert {one["tenant_id"] for one in brief} == {cloud.demo.id, cloud.other.id}
    assert {frozenset(one) for one in brief} == {frozenset(TOTALS)}
    for yes in ("1", "True"):
        detailed = root.get(f"{USAGES}?{period()}&detailed={yes}").json()["tenant_usages"]
        assert sorted(len(one["server_usages"]) for one in detailed) == [1, 2]


def test_pages(old: Instance, cloud: Cloud, root: Persona) -> None:
    path = f"{USAGES}/{cloud.demo.id}?{period()}&limit=1"
    page = root.get(path, headers=at("2.40")).json()
    (first,) = page["tenant_usage"]["server_usages"]
    assert f"marker={first['instance_id']}" in page["tenant_usage_links"][0]["href"]
    page = root.get(f"{path}&marker={first['instance_id']}", headers=at("2.40")).json()
    (second,) = page["tenant_usage"]["server_usages"]
    assert first["instance_id"] < second["instance_id"]
    last = root.get(f"{path}&marker={second['instance_id']}", headers=at("2.40")).json()
    assert last["tenant_usage"]["server_usages"] == [] and "tenant_usage_links" not in last
    assert len(root.get(path).json()["tenant_usage"]["server_usages"]) == 2
    assert root.get(f"{path}&marker=nobody", headers=at("2.40")).status_code == 400


def test_who_sees_usages(old: Instance, cloud: Cloud, alice: Persona, charlie: Persona, anyone: Persona) -> None:
    for path in (USAGES, f"{USAGES}/{cloud.demo.id}"):
        assert charlie.get(f"{path}?{period()}").status_code == 403
        assert anyone.get(f"{path}?{period()}").status_code == 401
    assert alice.get(f"{USAGES}?{period()}").status_code == 403


@pytest.mark.parametrize("query", ["start=yesterday", "start=2026-11-28T10:00:00&end=2026-11-27T10:00:00", "start="])
def test_periods_that_are_none(cloud: Cloud, root: Persona, query: str) -> None:
    answer = root.get(f"{USAGES}?{query}")
    assert answer.status_code == 400 and "time" in message(answer)
    assert root.get(f"{USAGES}?{period()}&colour=red", headers=at(NEWEST)).status_code == 400
