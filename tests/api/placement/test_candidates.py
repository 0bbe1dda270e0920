"""Allocation candidates: the hosts that could take so much, in the shape of each version."""

from __future__ import annotations

from typing import Any

import pytest

from compute.models import Aggregate, Host
from tests.api.placement.conftest import detail, fetch
from tests.conftest import Cloud, Persona

PATH = "/allocation_candidates"


def hosts(response: Any) -> list[str]:
    """The names of the hosts that requests are made to."""
    assert response.status_code == 200, response.content
    keys = [key for one in response.json()["allocation_requests"] for key in one["allocations"]]
    assert set(keys) == set(response.json()["provider_summaries"])
    return [Host.objects.get(uuid=key).name for key in keys]


def test_the_newest_shape(root: Persona, cloud: Cloud) -> None:
    key = str(cloud.host.uuid)
    body = fetch(root, f"{PATH}?resources=VCPU:2,MEMORY_MB:512").json()
    held = {"VCPU": 2, "MEMORY_MB": 512}
    assert body["allocation_requests"] == [{"allocations": {key: {"resources": held}}, "mappings": {"": [key]}}]
    summary = body["provider_summaries"][key]
    assert summary["resources"] == {
        "VCPU": {"capacity": 128, "used": 0},
        "MEMORY_MB": {"capacity": 48384, "used": 0},
        "DISK_GB": {"capacity": 500, "used": 0},
    }
    assert (summary["root_provider_uuid"], summary["parent_provider_uuid"]) == (key, None)
    assert "COMPUTE_NODE" in summary["traits"]


def test_older_shapes(root: Persona, cloud: Cloud) -> None:
    key = str(cloud.host.uuid)
    oldest = fetch(root, f"{PATH}?resources=VCPU:1", "1.10").json()
    provider = {"resource_provider": {"uuid": key}, "resources": {"VCPU": 1}}
    assert oldest["allocation_requests"] == [{"allocations": [provider]}]
    assert oldest["provider_summaries"][key] == {"resources": {"VCPU": {"capacity": 128, "used": 0}}}
    old = fetch(root, f"{PATH}?resources=VCPU:1", "1.12").json()
    assert old["allocation_requests"] == [{"allocations": {key: {"resources": {"VCPU": 1}}}}]
    assert set(fetch(root, f"{PATH}?resources=VCPU:1", "1.17").json()["provider_summaries"][key]) == {
        "resources",
        "traits",
    }


def test_conditions(root: Persona, cloud: Cloud, small: Host) -> None:
    group = Aggregate.objects.get().uuid
    for query, found in {
        "resources=VCPU:1": ["host-1", "host-2"],
        "resources=VCPU:1&limit=1": ["host-1"],
        "resources=VCPU:3": ["host-1"],
        "resources=DISK_GB:501": [],
        "resources=VCPU:1&required=HW_CPU_X86_VMX": ["host-2"],
        f"resources=VCPU:1&member_of=in:{group}": ["host-2"],
        f"resources=VCPU:1&in_tree={cloud.host.uuid}": ["host-1"],
        "resources=VCPU:1&root_required=!HW_CPU_X86_VMX": ["host-1"],
        "resources1=VCPU:1&resources2=VCPU:2&group_policy=none": ["host-1"],
        "resources1=VCPU:1&resources2=VCPU:1&group_policy=isolate": [],
        "resources=VCPU:1&resources_A=MEMORY_MB:9000&same_subtree=_A": ["host-1"],
    }.items():
        assert hosts(fetch(root, f"{PATH}?{query}")) == found, query


def test_groups_are_mapped_to_the_provider_that_serves_them(root: Persona, cloud: Cloud) -> None:
    key = str(cloud.host.uuid)
    (one,) = fetch(root, f"{PATH}?resources=DISK_GB:1&resources1=VCPU:1").json()["allocation_requests"]
    assert one == {"allocations": {key: {"resources": {"DISK_GB": 1, "VCPU": 1}}}, "mappings": {"": [key], "1": [key]}}


@pytest.mark.parametrize(
    ("version", "query"),
    [
        ("1.39", ""), ("1.39", "limit=1"), ("1.39", "resources=VCPU:x"), ("1.39", "resources=VCPU:1&limit=0"),
        ("1.39", "resources=VCPU:1&limit=x"), ("1.39", "resources=VCPU:1&colour=red"),
        ("1.15", "resources=VCPU:1&limit=1"), ("1.16", "resources=VCPU:1&required=COMPUTE_NODE"),
        ("1.24", "resources1=VCPU:1"), ("1.32", "resources_A=VCPU:1"),
        ("1.39", "resources1=VCPU:1&resources2=VCPU:1"), ("1.39", "resources1=VCPU:1&group_policy=some"),
        ("1.35", "resources=VCPU:1&required1=COMPUTE_NODE"), ("1.30", "resources=VCPU:1&in_tree=x"),
    ],
)  # fmt: skip
def test_requests_that_make_no_sense(root: Persona, cloud: Cloud, version: str, query: str) -> None:
    answer = fetch(root, f"{PATH}?{query}", version)
    assert answer.status_code == 400, query
    assert detail(answer)


def test_who_may_ask(alice: Persona, bob: Persona, charlie: Persona, anyone: Persona, auditor: Persona) -> None:
    for persona in (alice, bob, charlie):
        assert fetch(persona, f"{PATH}?resources=VCPU:1").status_code == 403
    assert fetch(anyone, f"{PATH}?resources=VCPU:1").status_code == 401
    assert fetch(auditor, f"{PATH}?resources=VCPU:1").status_code == 200


def test_query_counts(root: Persona, small: Host, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(5):  # the token's three, hosts, aggregates
        fetch(root, f"{PATH}?resources=VCPU:1")
