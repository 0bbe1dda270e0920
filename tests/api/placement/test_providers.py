"""Hosts as resource providers: what they have, what is claimed of it, and by whom."""

from __future__ import annotations

from typing import Any

import pytest
from django.db.models import F

from compute.models import Aggregate, Flavor, Host, Instance
from compute.operations import OPERATIONS
from compute.operations.engine import request
from tests.api.placement.conftest import at, detail, fetch
from tests.conftest import Cloud, Persona

PARTS = ("", "/inventories", "/inventories/VCPU", "/usages", "/aggregates", "/traits", "/allocations")


def names(response: Any) -> list[str]:
    assert response.status_code == 200, response.content
    return [one["name"] for one in response.json()["resource_providers"]]


def test_list_and_show(root: Persona, cloud: Cloud) -> None:
    listed = fetch(root, "/resource_providers").json()["resource_providers"]
    key = str(cloud.host.uuid)
    links = [{"rel": "self", "href": f"/placement/resource_providers/{key}"}] + [
        {"rel": part, "href": f"/placement/resource_providers/{key}/{part}"}
        for part in ("inventories", "usages", "aggregates", "traits", "allocations")
    ]
    assert listed == [
        {
            "uuid": key, "name": "host-1", "generation": listed[0]["generation"],
            "parent_provider_uuid": None, "root_provider_uuid": key, "links": links,
        }
    ]  # fmt: skip
    assert fetch(root, f"/resource_providers/{key}").json() == listed[0]


def test_the_oldest_version_has_no_trees_and_few_links(root: Persona, cloud: Cloud) -> None:
    (one,) = root.get("/placement/resource_providers").json()["resource_providers"]
    assert set(one) == {"uuid", "name", "generation", "links"}
    assert [link["rel"] for link in one["links"]] == ["self", "inventories", "usages"]


def test_inventories_are_what_the_host_has(root: Persona, small: Host) -> None:
    body = fetch(root, f"/resource_providers/{small.uuid}/inventories").json()
    common = {"min_unit": 1, "step_size": 1}
    assert body["inventories"] == {
        "VCPU": {"total": 2, "reserved": 0, "max_unit": 2, "allocation_ratio": 16.0, **common},
        "MEMORY_MB": {"total": 2048, "reserved": 512, "max_unit": 2048, "allocation_ratio": 1.0, **common},
        "DISK_GB": {"total": 20, "reserved": 0, "max_unit": 20, "allocation_ratio": 1.0, **common},
    }
    one = fetch(root, f"/resource_providers/{small.uuid}/inventories/MEMORY_MB").json()
    assert one == {
        **body["inventories"]["MEMORY_MB"],
        "resource_provider_generation": body["resource_provider_generation"],
    }
    missing = fetch(root, f"/resource_providers/{small.uuid}/inventories/VGPU")
    assert (missing.status_code, detail(missing)) == (404, f"No inventory of class VGPU for {small.uuid}")


def test_usages_and_allocations_are_the_claims(root: Persona, cloud: Cloud, active: Instance) -> None:
    held = {"VCPU": 1, "MEMORY_MB": 128, "DISK_GB": 1}
    base = f"/resource_providers/{cloud.host.uuid}"
    assert fetch(root, f"{base}/usages").json()["usages"] == held
    (entry,) = fetch(root, f"{base}/allocations").json()["allocations"].values()
    assert entry["resources"] == held
    assert set(fetch(root, f"{base}/allocations", "1.0").json()["allocations"][str(active.id)]) == {"resources"}
    of_consumer = fetch(root, f"/allocations/{active.id}").json()
    assert of_consumer["allocations"][str(cloud.host.uuid)]["resources"] == held
    assert (of_consumer["project_id"], of_consumer["consumer_type"]) == (cloud.demo.id, "INSTANCE")
    assert set(fetch(root, f"/allocations/{active.id}", "1.11").json()) == {"allocations"}
    assert set(fetch(root, f"/allocations/{active.id}", "1.28").json()) == {
        "allocations", "project_id", "user_id", "consumer_generation",
    }  # fmt: skip


def test_the_generation_grows_with_each_claim(root: Persona, cloud: Cloud, active: Instance) -> None:
    path = f"/resource_providers/{cloud.host.uuid}"
    before = fetch(root, path).json()["generation"]
    request(OPERATIONS["delete"], active, root.actor)
    from compute.operations.worker import perform

    perform(active.actions.get(operation="delete").pk, "compute")
    assert fetch(root, path).json()["generation"] > before
    assert fetch(root, f"{path}/usages").json()["usages"] == {"VCPU": 0, "MEMORY_MB": 0, "DISK_GB": 0}
    assert fetch(root, f"/allocations/{active.id}").json() == {"allocations": {}}


def test_an_instance_amid_a_resize_holds_both_flavors(
    root: Persona, alice: Persona, cloud: Cloud, active: Instance, drain: Any
) -> None:
    large = Flavor.objects.create(id="large", name="large", vcpus=2, memory_mb=512, disk_gb=3)
    request(OPERATIONS["resize"], active, alice.actor, flavor_id=large.id)
    drain()
    both = {"VCPU": 3, "MEMORY_MB": 640, "DISK_GB": 4}
    assert fetch(root, f"/resource_providers/{cloud.host.uuid}/usages").json()["usages"] == both
    (entry,) = fetch(root, f"/allocations/{active.id}").json()["allocations"].values()
    assert entry["resources"] == both


def test_traits_are_standard_names_of_the_facts(root: Persona, small: Host) -> None:
    traits = set(fetch(root, f"/resource_providers/{small.uuid}/traits").json()["traits"])
    assert {"HW_CPU_X86_AESNI", "HW_CPU_X86_SSE42", "HW_CPU_X86_VMX", "HW_CPU_X86_INTEL_VMX"} <= traits
    assert {"HW_ARCH_X86_64", "HW_CPU_HYPERTHREADING", "COMPUTE_NODE"} <= traits
    assert "COMPUTE_STATUS_DISABLED" not in traits
    Host.objects.filter(pk=small.pk).update(enabled=False)
    assert "COMPUTE_STATUS_DISABLED" in fetch(root, f"/resource_providers/{small.uuid}/traits").json()["traits"]


def test_aggregates_are_those_of_the_host(root: Persona, small: Host, cloud: Cloud) -> None:
    key = str(Aggregate.objects.get().uuid)
    body = fetch(root, f"/resource_providers/{small.uuid}/aggregates").json()
    assert (body["aggregates"], "resource_provider_generation" in body) == ([key], True)
    assert fetch(root, f"/resource_providers/{cloud.host.uuid}/aggregates", "1.1").json() == {"aggregates": []}


def test_filters(root: Persona, cloud: Cloud, small: Host) -> None:
    group = Aggregate.objects.get().uuid
    for query, found in {
        "name=host-2": ["host-2"],
        "name=none": [],
        f"uuid={cloud.host.uuid}": ["host-1"],
        f"in_tree={small.uuid}": ["host-2"],
        "resources=VCPU:2": ["host-1", "host-2"],
        "resources=VCPU:3": ["host-1"],
        "resources=VCPU:1,MEMORY_MB:1537": ["host-1"],
        "resources=VGPU:1": [],
        f"member_of={group}": ["host-2"],
        f"member_of=in:{group},{cloud.host.uuid}": ["host-2"],
        f"member_of=!{group}": ["host-1"],
        f"member_of={group}&member_of={cloud.host.uuid}": [],
        "required=HW_CPU_X86_VMX": ["host-2"],
        "required=!HW_CPU_X86_VMX": ["host-1"],
        "required=in:HW_CPU_X86_VMX,HW_CPU_X86_SVM": ["host-2"],
        "required=COMPUTE_NODE&required=HW_CPU_X86_VMX": ["host-2"],
    }.items():
        assert names(fetch(root, f"/resource_providers?{query}")) == found, query


def test_what_is_claimed_is_no_longer_there_to_be_had(root: Persona, small: Host, cloud: Cloud) -> None:
    Host.objects.filter(pk=cloud.host.pk).update(memory_mb_used=F("memory_mb") * 1.5 - 768)
    assert names(fetch(root, "/resource_providers?resources=MEMORY_MB:1")) == ["host-2"]


@pytest.mark.parametrize(
    ("version", "query"),
    [
        ("1.39", "uuid=x"), ("1.39", "in_tree=x"), ("1.39", "member_of=x"), ("1.39", "colour=red"),
        ("1.39", "resources=VCPU"), ("1.39", "resources=VCPU:0"), ("1.39", "resources=VCPU:-1"),
        ("1.39", "resources=NONE:1"), ("1.39", "resources=VCPU:1,VCPU:2"), ("1.39", "resources="),
        ("1.39", "required=NO_SUCH"), ("1.39", "required="), ("1.39", "name=a&name=b"),
        ("1.39", "required=COMPUTE_NODE,!COMPUTE_NODE"), ("1.3", "resources=VCPU:1"), ("1.2", "member_of=x"),
        ("1.17", "required=COMPUTE_NODE"), ("1.21", "required=!COMPUTE_NODE"), ("1.13", "in_tree=x"),
        ("1.38", "required=COMPUTE_NODE&required=HW_CPU_X86_VMX"), ("1.38", "required=in:COMPUTE_NODE,HW_CPU_X86_VMX"),
        ("1.39", "resources=VCPU:99999999999"), ("1.39", "resources=VCPU:²"),
    ],
)  # fmt: skip
def test_queries_that_make_no_sense(root: Persona, cloud: Cloud, version: str, query: str) -> None:
    answer = fetch(root, f"/resource_providers?{query}", version)
    assert (answer.status_code, answer.json()["errors"][0]["status"]) == (400, 400)


@pytest.mark.parametrize("part", PARTS)
def test_a_provider_that_is_not_there(root: Persona, cloud: Cloud, part: str) -> None:
    for key in (cloud.demo.id, "x"):
        answer = fetch(root, f"/resource_providers/{key}{part}")
        assert (answer.status_code, detail(answer)) == (404, f"No resource provider with uuid {key} found")


@pytest.mark.parametrize("part", [*PARTS, "list"])
def test_who_may_look(
    alice: Persona, bob: Persona, charlie: Persona, anyone: Persona, auditor: Persona, cloud: Cloud, part: str
) -> None:
    path = "/resource_providers" + ("" if part == "list" else f"/{cloud.host.uuid}{part}")
    for persona in (alice, bob, charlie):
        answer = fetch(persona, path)
        assert answer.status_code == 403
        assert "placement:resource_providers:" in detail(answer)
    assert fetch(anyone, path).status_code == 401
    assert fetch(auditor, path).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("path", ["/resource_providers", "/allocations", "/reshaper", "/traits/X", "/usages"])
def test_nothing_is_written_through_it(root: Persona, anyone: Persona, cloud: Cloud, method: str, path: str) -> None:
    answer = root.request(method, f"/placement{path}", {}, headers=at())
    assert answer.status_code == 405
    assert "Nacelle's own claims are the truth" in detail(answer)
    assert anyone.request(method, f"/placement{path}", {}, headers=at()).status_code == 401


def test_query_counts(root: Persona, cloud: Cloud, small: Host, django_assert_num_queries: Any) -> None:
    for number in range(10):
        Host.objects.create(name=f"more-{number}", uri=f"fake://more-{number}", vcpus=1, memory_mb=1024, disk_gb=9)
    group = Aggregate.objects.get().uuid
    with django_assert_num_queries(5):  # the token's three, hosts, aggregates
        fetch(root, f"/resource_providers?member_of={group}&resources=VCPU:1")
    with django_assert_num_queries(6):  # the token's three, the host, instances, migrations
        fetch(root, f"/resource_providers/{small.uuid}/allocations")
