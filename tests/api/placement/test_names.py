"""Resource classes, traits, and what a project holds."""

from __future__ import annotations

from typing import Any

import pytest

from compute.models import Host, Instance
from tests.api.placement.conftest import detail, fetch
from tests.conftest import Cloud, Persona


def test_resource_classes(root: Persona, cloud: Cloud) -> None:
    classes = fetch(root, "/resource_classes").json()["resource_classes"]
    assert {"VCPU", "MEMORY_MB", "DISK_GB", "PCPU"} <= {one["name"] for one in classes}
    link = {"rel": "self", "href": "/placement/resource_classes/VCPU"}
    assert fetch(root, "/resource_classes/VCPU").json() == {"name": "VCPU", "links": [link]}
    assert fetch(root, "/resource_classes/CUSTOM_X").status_code == 404


def test_traits(root: Persona, small: Host) -> None:
    def traits(query: str) -> set[str]:
        return set(fetch(root, f"/traits{query}").json()["traits"])

    assert len(traits("")) > 300
    assert traits("?name=in:COMPUTE_NODE,HW_CPU_X86_VMX,NONE") == {"COMPUTE_NODE", "HW_CPU_X86_VMX"}
    assert traits("?name=startswith:HW_CPU_X86_AVX2") == {"HW_CPU_X86_AVX2"}
    assert "HW_CPU_X86_VMX" in traits("?associated=true")
    assert "HW_CPU_X86_SVM" not in traits("?associated=true")
    assert "HW_CPU_X86_SVM" in traits("?associated=False")
    assert fetch(root, "/traits/COMPUTE_NODE").status_code == 204
    assert fetch(root, "/traits/CUSTOM_X").status_code == 404


@pytest.mark.parametrize("query", ["name=COMPUTE_NODE", "name=like:X", "associated=maybe", "colour=red"])
def test_trait_queries_that_make_no_sense(root: Persona, query: str) -> None:
    assert fetch(root, f"/traits?{query}").status_code == 400


def test_a_projects_usages(bob: Persona, root: Persona, cloud: Cloud, active: Instance) -> None:
    path = f"/usages?project_id={cloud.demo.id}"
    held = {"VCPU": 1, "MEMORY_MB": 128, "DISK_GB": 1}
    assert fetch(bob, path, "1.9").json() == {"usages": held}
    assert fetch(bob, path).json() == {"usages": {"INSTANCE": {"consumer_count": 1, **held}}}
    assert fetch(bob, f"{path}&consumer_type=all").json() == {"usages": {"all": {"consumer_count": 1, **held}}}
    assert fetch(bob, f"{path}&consumer_type=unknown").json() == {"usages": {}}
    assert fetch(bob, f"{path}&user_id={active.user_id}", "1.9").json() == {"usages": held}
    assert fetch(bob, f"{path}&user_id={bob.user.id}", "1.9").json() == {"usages": {}}
    assert fetch(root, path, "1.9").json() == {"usages": held}
    assert fetch(root, "/usages?project_id=none", "1.9").json() == {"usages": {}}


def test_a_projects_usages_are_its_own(charlie: Persona, anyone: Persona, auditor: Persona, cloud: Cloud) -> None:
    path = f"/usages?project_id={cloud.demo.id}"
    refused = fetch(charlie, path)
    assert (refused.status_code, "placement:usages" in detail(refused)) == (403, True)
    assert fetch(anyone, path).status_code == 401
    assert fetch(auditor, path).status_code == 200


@pytest.mark.parametrize("query", ["", "?user_id=x", "?project_id=a&project_id=b", "?project_id=a&consumer_type=X"])
def test_usages_of_nobody(root: Persona, query: str) -> None:
    assert fetch(root, f"/usages{query}").status_code == 400


@pytest.mark.parametrize(
    "path", ["/resource_classes", "/resource_classes/VCPU", "/traits", "/traits/COMPUTE_NODE", "/allocations/x"]
)
def test_who_may_look(alice: Persona, bob: Persona, anyone: Persona, auditor: Persona, path: str) -> None:
    for persona in (alice, bob):
        assert fetch(persona, path).status_code == 403
    assert fetch(anyone, path).status_code == 401
    assert fetch(auditor, path).status_code in (200, 204)


def test_query_counts(bob: Persona, cloud: Cloud, active: Instance, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(5):  # the token's three, instances, migrations
        fetch(bob, f"/usages?project_id={cloud.demo.id}")
