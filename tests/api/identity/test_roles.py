"""Roles, grants and assignments on the wire."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_django import DjangoAssertNumQueries

from portal.identity.models import Assignment, Domain, Role, User
from tests.conftest import Cloud, Persona

ROLES = "/identity/v3/roles"
ASSIGNMENTS = "/identity/v3/role_assignments"


def _role(root: Persona, name: str = "operator", **fields: Any) -> dict[str, Any]:
    response = root.post(ROLES, {"role": {"name": name, **fields}})
    assert response.status_code == 201, response.json()
    role: dict[str, Any] = response.json()["role"]
    return role


def _id(name: str) -> str:
    return Role.objects.get(name=name).id


def test_create_show_change_delete(root: Persona, alice: Persona, anyone: Persona) -> None:
    role = _role(root, description="d")
    path = f"{ROLES}/{role['id']}"
    assert set(role) == {"id", "name", "domain_id", "description", "options", "links"}
    assert root.get(path).json() == {"role": role}
    assert [one["name"] for one in root.get(f"{ROLES}?name=operator&domain_id=None").json()["roles"]] == ["operator"]
    assert root.patch(path, {"role": {"name": "o2"}}).json()["role"]["name"] == "o2"
    assert root.patch(path, {"role": {"domain_id": "default"}}).status_code == 400
    assert root.post(ROLES, {"role": {"name": "reader"}}).status_code == 409
    for bad in ({}, {"name": ""}, {"name": "x" * 256}, {"name": "x", "surprise": 1}, {"name": "x", "domain_id": 3}):
        assert root.post(ROLES, {"role": bad}).status_code == 400
    assert root.post(ROLES, {"role": {"name": "x", "domain_id": "nowhere"}}).status_code == 404
    for request in (alice.get(ROLES), alice.get(path), alice.post(ROLES, {"role": {"name": "x"}}), alice.delete(path)):
        assert request.status_code == 403
    assert anyone.get(ROLES).status_code == 401
    assert root.delete(path).status_code == 204
    assert root.delete(path).status_code == 404


def test_an_immutable_role(root: Persona) -> None:
    path = f"{ROLES}/{_role(root, options={'immutable': True})['id']}"
    assert root.delete(path).status_code == root.patch(path, {"role": {"name": "x"}}).status_code == 403
    assert root.patch(path, {"role": {"options": {"immutable": None}}}).status_code == 200
    assert root.delete(path).status_code == 204


def test_roles_imply_roles(root: Persona, alice: Persona) -> None:
    one, two = _role(root, "one")["id"], _role(root, "two")["id"]
    path = f"{ROLES}/{one}/implies/{two}"
    assert root.get(path).status_code == root.delete(path).status_code == 404
    assert alice.put(path).status_code == alice.get(path).status_code == 403
    made = root.put(path)
    assert made.status_code == 201
    assert made.json()["role_inference"]["implies"]["name"] == "two"
    assert root.request("HEAD", path).status_code == 204
    assert root.get(path).json() == made.json()
    assert [role["name"] for role in root.get(f"{ROLES}/{one}/implies").json()["role_inference"]["implies"]] == ["two"]
    assert root.put(f"{ROLES}/{two}/implies/{one}").status_code == 400  # no circles
    assert root.put(f"{ROLES}/{one}/implies/{one}").status_code == 400
    rules = root.get("/identity/v3/role_inferences").json()["role_inferences"]
    assert {rule["prior_role"]["name"] for rule in rules} == {"admin", "manager", "member", "one"}
    assert root.delete(path).status_code == 204
    assert root.get(path).status_code == 404


def test_roles_of_a_domain(root: Persona, cloud: Cloud) -> None:
    local = _role(root, "local", domain_id="default")
    assert local["domain_id"] == "default"
    assert "local" not in [role["name"] for role in root.get(ROLES).json()["roles"]]
    assert [role["name"] for role in root.get(f"{ROLES}?domain_id=default").json()["roles"]] == ["local"]
    assert root.put(f"{ROLES}/{local['id']}/implies/{_id('reader')}").status_code == 201
    assert root.put(f"{ROLES}/{_id('manager')}/implies/{local['id']}").status_code == 403
    charlie = User.objects.get(name="charlie")
    grant = f"/identity/v3/projects/{cloud.demo.id}/users/{charlie.id}/roles/{local['id']}"
    assert root.put(grant).status_code == 204
    shown = root.get(f"{ASSIGNMENTS}?user.id={charlie.id}&scope.project.id={cloud.demo.id}&effective")
    assert [one["role"]["id"] for one in shown.json()["role_assignments"]] == [_id("reader")]
    elsewhere = Domain.objects.create(name="elsewhere")
    assert root.put(f"/identity/v3/domains/{elsewhere.id}/users/{charlie.id}/roles/{local['id']}").status_code == 403
    assert root.put(f"/identity/v3/system/users/{charlie.id}/roles/{local['id']}").status_code == 403


@pytest.mark.parametrize("where", ["projects/{demo}", "domains/default", "system"])
def test_grants(root: Persona, alice: Persona, anyone: Persona, cloud: Cloud, where: str) -> None:
    charlie = User.objects.get(name="charlie")
    base = f"/identity/v3/{where.format(demo=cloud.demo.id)}/users/{charlie.id}/roles"
    path = f"{base}/{_id('member')}"
    assert root.get(base).json()["roles"] == []
    assert root.request("HEAD", path).status_code == root.delete(path).status_code == 404
    for method in ("PUT", "GET", "HEAD", "DELETE"):
        assert alice.request(method, path).status_code == 403
        assert anyone.request(method, path).status_code == 401
    assert alice.get(base).status_code == 403
    assert Assignment.objects.filter(user=charlie).count() == 1
    for _ in range(2):
        assert root.put(path).status_code == 204
    assert Assignment.objects.filter(user=charlie).count() == 2
    assert root.request("HEAD", path).status_code == root.get(path).status_code == 204
    assert [role["name"] for role in root.get(base).json()["roles"]] == ["member"]
    assert root.delete(path).status_code == 204
    assert root.get(base).json()["roles"] == []


@pytest.mark.parametrize(
    "path",
    ["projects/nothing/users/{user}/roles/{role}", "domains/nowhere/users/{user}/roles/{role}",
     "projects/{demo}/users/nobody/roles/{role}", "system/users/{user}/roles/none"],
)  # fmt: skip
def test_grants_of_what_is_not_there(root: Persona, alice: Persona, cloud: Cloud, path: str) -> None:
    user = User.objects.get(name="charlie").id
    full = "/identity/v3/" + path.format(user=user, role=_id("member"), demo=cloud.demo.id)
    assert root.put(full).status_code == 404
    assert alice.put(full).status_code == 403


def test_deleting_a_role_takes_it_from_everybody(root: Persona, alice: Persona) -> None:
    root.delete(f"{ROLES}/{_id('member')}")
    assert alice.get("/identity/v3/auth/projects").status_code == 401


def test_assignments(
    root: Persona, alice: Persona, bob: Persona, cloud: Cloud, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    assert alice.user

    def listed(query: str = "") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = root.get(f"{ASSIGNMENTS}?{query}").json()["role_assignments"]
        return found

    assert alice.get(ASSIGNMENTS).status_code == bob.get(ASSIGNMENTS).status_code == 403
    assert len(listed()) == 5
    assert len(listed(f"scope.project.id={cloud.demo.id}&user.id=None")) == 2
    assert [one["scope"] for one in listed("scope.system=all")] == [{"system": {"all": True}}]
    assert listed("scope.domain.id=default") == listed("group.id=x") == []
    named = listed(f"user.id={alice.user.id}&include_names=True")
    assert named == [
        {
            "role": {"id": _id("member"), "name": "member"},
            "user": {"id": alice.user.id, "name": "alice", "domain": {"id": "default", "name": "Default"}},
            "scope": {"project": {"id": cloud.demo.id, "name": "demo", "domain": {"id": "default", "name": "Default"}}},
            "links": named[0]["links"],
        }
    ]
    effective = listed(f"user.id={alice.user.id}&effective=True")
    assert {one["role"]["id"] for one in effective} == {_id("member"), _id("reader")}
    assert "prior_role" in next(one for one in effective if one["role"]["id"] == _id("reader"))["links"]
    assert len(listed(f"role.id={_id('reader')}")) == 1
    assert len(listed(f"role.id={_id('reader')}&effective")) == 5
    assert len(listed(f"role.id={_id('reader')}&effective=false")) == 1
    child = root.post("/identity/v3/projects", {"project": {"name": "c", "parent_id": cloud.demo.id}}).json()["project"]
    root.put(f"/identity/v3/projects/{child['id']}/users/{alice.user.id}/roles/{_id('member')}")
    assert len(listed(f"scope.project.id={cloud.demo.id}&include_subtree=True")) == 3
    with django_assert_num_queries(4):
        listed("include_names")
    with django_assert_num_queries(5):
        listed("include_names&effective")
