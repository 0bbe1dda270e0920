"""Flavors over the wire."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from compute.models import Change, Flavor
from portal.identity.models import Assignment, Role
from tests.api.compute.conftest import NEWEST, at, body_of, message
from tests.conftest import PASSWORD, Cloud, Persona

ROOT = "/compute/v2.1/flavors"
OLDEST = {
    "id",
    "name",
    "ram",
    "vcpus",
    "disk",
    "swap",
    "links",
    "rxtx_factor",
    "OS-FLV-DISABLED:disabled",
    "OS-FLV-EXT-DATA:ephemeral",
    "os-flavor-access:is_public",
}


def flavor(**more: Any) -> dict[str, Any]:
    return {"flavor": {"name": "c1", "ram": 512, "vcpus": 1, "disk": 1, **more}}


def ids(persona: Persona, query: str = "", detail: bool = False) -> list[str]:
    response = persona.get(f"{ROOT}{'/detail' if detail else ''}?{query}")
    assert response.status_code == 200, response.content
    return [one["id"] for one in response.json()["flavors"]]


@pytest.mark.parametrize(
    ("version", "more"), [("2.1", set()), ("2.55", {"description"}), (NEWEST, {"description", "extra_specs"})]
)
def test_the_keys_of_each_version(cloud: Cloud, alice: Persona, version: str, more: set[str]) -> None:
    shown = alice.get(f"{ROOT}/42", headers=at(version)).json()["flavor"]
    assert set(shown) == OLDEST | more
    listed = alice.get(f"{ROOT}/detail", headers=at(version)).json()["flavors"]
    assert shown in listed
    brief = alice.get(ROOT, headers=at(version)).json()["flavors"][0]
    assert set(brief) == {"id", "name", "links"} | (more & {"description"})


def test_no_swap_is_empty_and_later_zero(cloud: Cloud, alice: Persona) -> None:
    assert alice.get(f"{ROOT}/42", headers=at("2.74")).json()["flavor"]["swap"] == ""
    assert alice.get(f"{ROOT}/42", headers=at("2.75")).json()["flavor"]["swap"] == 0


def test_filters_and_pages(cloud: Cloud, alice: Persona) -> None:
    assert ids(alice) == ["1", "2", "3", "4", "42", "5"] == ids(alice, detail=True)
    assert ids(alice, "minRam=8192") == ["4", "5"] and ids(alice, "minDisk=40&minRam=8192") == ["4", "5"]
    assert ids(alice, "limit=2") == ["1", "2"] and ids(alice, "limit=2&marker=2") == ["3", "4"]
    assert ids(alice, "sort_key=memory_mb&sort_dir=desc")[0] == "5"
    body = alice.get(f"{ROOT}?limit=2").json()
    assert body["flavors_links"][0]["href"].endswith("limit=2&marker=2")
    for query in ("minRam=x", "minDisk=-1", "limit=x", "marker=none-such", "sort_key=secret", "sort_dir=up"):
        assert alice.get(f"{ROOT}?{query}").status_code == 400, query
    assert alice.get(f"{ROOT}?colour=red").status_code == 200
    assert alice.get(f"{ROOT}?colour=red", headers=at("2.75")).status_code == 400


def test_lists_cost_the_same_for_any_number(cloud: Cloud, alice: Persona, django_assert_max_num_queries: Any) -> None:
    Flavor.objects.bulk_create(Flavor(name=f"f{n}", vcpus=1, memory_mb=64) for n in range(50))
    with django_assert_max_num_queries(7):
        assert len(ids(alice, detail=True)) == 56


def test_create_show_delete(cloud: Cloud, root: Persona, alice: Persona) -> None:
    more = {"swap": 64, "rxtx_factor": 2, "id": "c1", "OS-FLV-EXT-DATA:ephemeral": 3, "description": "small"}
    response = root.post(ROOT, flavor(**more), headers=at(NEWEST))
    assert response.status_code == 200, response.content
    made = response.json()["flavor"]
    assert (made["id"], made["swap"], made["rxtx_factor"], made["OS-FLV-EXT-DATA:ephemeral"]) == ("c1", 64, 2.0, 3)
    assert made["description"] == "small" and made["extra_specs"] == {}
    assert Change.objects.filter(kind="flavor", object_id="c1").exists()
    assert alice.get(f"{ROOT}/c1").status_code == 200
    assert root.delete(f"{ROOT}/c1").status_code == 202
    response = alice.get(f"{ROOT}/c1")
    assert response.status_code == 404 and message(response) == "Flavor c1 could not be found."
    assert root.delete(f"{ROOT}/c1").status_code == 404


@pytest.mark.parametrize("key", [None, "auto"])
def test_an_id_is_made_up(cloud: Cloud, root: Persona, key: Any) -> None:
    made = root.post(ROOT, flavor(id=key, ram="1024")).json()["flavor"]
    assert str(uuid.UUID(made["id"])) == made["id"] and made["ram"] == 1024


def test_a_number_is_an_id(cloud: Cloud, root: Persona) -> None:
    assert root.post(ROOT, flavor(id=1234)).json()["flavor"]["id"] == "1234"


@pytest.mark.parametrize(
    ("more", "version"),
    [
        ({"name": ""}, "2.1"),
        ({"name": "a" * 256}, "2.1"),
        ({"name": " c1"}, "2.1"),
        ({"ram": 0}, "2.1"),
        ({"ram": "x"}, "2.1"),
        ({"ram": True}, "2.1"),
        ({"ram": 1.5}, "2.1"),
        ({"vcpus": 0}, "2.1"),
        ({"vcpus": 2**31}, "2.1"),
        ({"disk": -1}, "2.1"),
        ({"swap": -1}, "2.1"),
        ({"rxtx_factor": 0}, "2.1"),
        ({"rxtx_factor": "much"}, "2.1"),
        ({"id": "a/b"}, "2.1"),
        ({"id": ""}, "2.1"),
        ({"id": " x"}, "2.1"),
        ({"id": True}, "2.1"),
        ({"id": "a" * 256}, "2.1"),
        ({"os-flavor-access:is_public": "perhaps"}, "2.1"),
        ({"description": "x"}, "2.54"),
        ({"description": 1}, "2.55"),
        ({"description": "x" * 65_536}, "2.55"),
        ({"extra_specs": {}}, NEWEST),
        ({"OS-FLV-EXT-DATA:ephemeral": -1}, "2.1"),
    ],
)
def test_bad_flavors(cloud: Cloud, root: Persona, more: dict[str, Any], version: str) -> None:
    response = root.post(ROOT, flavor(**more), headers=at(version))
    assert response.status_code == 400 and message(response), response.content
    assert Flavor.objects.count() == 6


def test_names_and_ids_are_used_once(cloud: Cloud, root: Persona) -> None:
    response = root.post(ROOT, flavor(name="m1.tiny"))
    assert response.status_code == 409 and message(response) == "Flavor with name m1.tiny already exists."
    response = root.post(ROOT, flavor(id="42"))
    assert response.status_code == 409 and message(response) == "Flavor with ID 42 already exists."


def test_the_description_changes_from_2_55_on(cloud: Cloud, root: Persona, alice: Persona) -> None:
    body = {"flavor": {"description": "tiny"}}
    assert root.put(f"{ROOT}/42", body, headers=at("2.54")).status_code == 404
    assert alice.put(f"{ROOT}/42", body, headers=at("2.55")).status_code == 403
    assert root.put(f"{ROOT}/42", body, headers=at("2.55")).json()["flavor"]["description"] == "tiny"
    for bad in ({}, {"flavor": {}}, {"flavor": {"ram": 1}}, {"flavor": {"description": 1}}):
        assert root.put(f"{ROOT}/42", bad, headers=at("2.55")).status_code == 400


def test_extra_specs(cloud: Cloud, root: Persona, alice: Persona) -> None:
    specs = f"{ROOT}/42/os-extra_specs"
    assert root.post(specs, {"extra_specs": {"hw:cpu": "2", "n": 3}}).json() == {
        "extra_specs": {"hw:cpu": "2", "n": "3"}
    }
    assert alice.get(specs).json() == {"extra_specs": {"hw:cpu": "2", "n": "3"}}
    assert root.put(f"{specs}/n", {"n": "4"}).json() == {"n": "4"} == alice.get(f"{specs}/n").json()
    assert root.put(f"{specs}/n", {"m": "4"}).status_code == 400
    assert root.delete(f"{specs}/n").status_code == 200
    for answer in (root.delete(f"{specs}/n"), alice.get(f"{specs}/n")):
        assert answer.status_code == 404 and message(answer) == "Flavor 42 has no extra specs with key n."
    for bad in (
        {},
        {"extra_specs": {}},
        {"extra_specs": {"a/b": "1"}},
        {"extra_specs": {"a": None}},
        {"extra_specs": {"a": "x" * 256}},
    ):
        assert root.post(specs, bad).status_code == 400, bad
    assert alice.post(specs, {"extra_specs": {"a": "1"}}).status_code == 403
    assert alice.get(f"{ROOT}/none/os-extra_specs").status_code == 404


def test_who_acts_on_no_project_has_been_given_no_private_flavor(cloud: Cloud, root: Persona, bob: Persona) -> None:
    root.post(ROOT, flavor(id="p", **{"os-flavor-access:is_public": "False"}))
    Assignment.objects.create(user=bob.user, role=Role.objects.get(name="reader", domain=None), system=True)
    who = {"user": {"id": bob.user.pk, "password": PASSWORD}}
    asked = {"identity": {"methods": ["password"], "password": who}, "scope": {"system": {"all": True}}}
    answer = bob.post("/identity/v3/auth/tokens", {"auth": asked})
    system = Persona(user=bob.user, token=answer["X-Subject-Token"])
    assert cloud.nano.id in ids(system)
    assert "p" not in ids(system, "is_public=None")
    assert system.get(f"{ROOT}/p").status_code == 404


def test_private_flavors(cloud: Cloud, root: Persona, alice: Persona, charlie: Persona) -> None:
    root.post(ROOT, flavor(id="p", **{"os-flavor-access:is_public": "False"}))
    assert "p" not in ids(root) and "p" in ids(root, "is_public=None") and ids(root, "is_public=false") == ["p"]
    assert (
        "p" not in ids(alice) and "p" not in ids(alice, "is_public=None") and alice.get(f"{ROOT}/p").status_code == 404
    )
    response = alice.post("/compute/v2.1/servers", body_of(cloud, flavorRef="p"))
    assert response.status_code == 400 and message(response) == "Flavor p could not be found."
    access = {"flavor_access": [{"flavor_id": "p", "tenant_id": cloud.demo.id}]}
    assert root.post(f"{ROOT}/p/action", {"addTenantAccess": {"tenant": cloud.demo.id}}).json() == access
    assert root.get(f"{ROOT}/p/os-flavor-access").json() == access
    assert "p" in ids(alice) and alice.get(f"{ROOT}/p").status_code == 200 and "p" not in ids(charlie)
    assert root.post(f"{ROOT}/p/action", {"addTenantAccess": {"tenant": cloud.demo.id}}).status_code == 409
    assert root.post(f"{ROOT}/p/action", {"removeTenantAccess": {"tenant": cloud.demo.id}}).json() == {
        "flavor_access": []
    }
    assert root.post(f"{ROOT}/p/action", {"removeTenantAccess": {"tenant": cloud.demo.id}}).status_code == 404
    assert "p" not in ids(alice)
    for bad in (
        {},
        {"addTenantAccess": {}},
        {"addTenantAccess": {"tenant": 1}},
        {"addTenantAccess": {"tenant": "none-such"}},
        {"sell": {"tenant": cloud.demo.id}},
    ):
        assert root.post(f"{ROOT}/p/action", bad).status_code == 400, bad
    assert alice.post(f"{ROOT}/p/action", {"addTenantAccess": {"tenant": cloud.demo.id}}).status_code == 403
    assert root.get(f"{ROOT}/42/os-flavor-access").status_code == 404
    assert (
        root.post(f"{ROOT}/42/action", {"addTenantAccess": {"tenant": cloud.demo.id}}, headers=at("2.7")).status_code
        == 409
    )


@pytest.mark.parametrize(
    ("specs", "older", "newer"),
    [
        ({"hw:numa_nodes": "1", "hw:cpu_policy": "shared"}, 200, 200),
        ({"resources1:CUSTOM_GPU": "1", "trait:HW_CPU_X86_AVX2": "required", "mine:own": "x", "own": "x"}, 200, 200),
        ({"hw:numa_cpus.0": "0-3,^1", "quota:cpu_shares": "5", "capabilities:vcpus": ">= 2"}, 200, 200),
        ({"hw:cpu_policy": "sharrred"}, 200, 400),
        ({"hw:cpu_polixy": "shared"}, 200, 400),
        ({"hw:numa_nodes": "0"}, 200, 400),
        ({"trait:HW_CPU_X86_AVX2": "maybe"}, 200, 400),
        ({"nacelle:max_vcpus": "4", "nacelle:max_memory_mb": "1024"}, 200, 200),
        ({"nacelle:max_vcpus": "many"}, 400, 400),
        ({"nacelle:max_vcpu": "4"}, 400, 400),
    ],
)
def test_extra_specs_of_known_namespaces_are_checked(
    cloud: Cloud, root: Persona, specs: dict[str, str], older: int, newer: int
) -> None:
    for version, status in (("2.85", older), ("2.86", newer)):
        Flavor.objects.filter(pk="42").update(extra_specs={})
        answer = root.post(f"{ROOT}/42/os-extra_specs", {"extra_specs": specs}, headers=at(version))
        assert answer.status_code == status, (version, answer.content)
        assert Flavor.objects.get(pk="42").extra_specs == (specs if status == 200 else {})
        key, value = next(iter(specs.items()))
        answer = root.put(f"{ROOT}/42/os-extra_specs/{key}", {key: value}, headers=at(version))
        assert answer.status_code == status, (version, answer.content)
