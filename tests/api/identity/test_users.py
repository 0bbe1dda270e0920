"""Users on the wire."""

from __future__ import annotations

from typing import Any

import pytest
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoAssertNumQueries

from compute.models import Change
from portal.identity.models import Domain, Role, User
from portal.identity.roles import Target, grant
from portal.identity.tokens import Scope, issue
from tests.conftest import PASSWORD, Cloud, Persona

USERS = "/identity/v3/users"


def _create(root: Persona, **fields: Any) -> Any:
    return root.post(USERS, {"user": {"name": "dora", **fields}})


def test_create_show_change_delete(root: Persona, anyone: Persona, cloud: Cloud) -> None:
    response = _create(
        root, password="secret", email="d@x.org", default_project_id=cloud.demo.id, enabled=True, description="of demo"
    )
    assert response.status_code == 201
    user = response.json()["user"]
    assert user["links"]["self"].endswith(f"/identity/v3/users/{user['id']}")
    assert (user["domain_id"], user["options"], user["password_expires_at"]) == ("default", {}, None)
    assert "password" not in user
    assert root.get(f"{USERS}/{user['id']}").json() == {"user": user}
    assert user in root.get(USERS).json()["users"]
    changed = root.patch(f"{USERS}/{user['id']}", {"user": {"name": "dorothy", "email": "e@x.org"}})
    assert (changed.status_code, changed.json()["user"]["name"]) == (200, "dorothy")
    assert root.delete(f"{USERS}/{user['id']}").status_code == 204
    assert root.get(f"{USERS}/{user['id']}").status_code == 404
    assert Change.objects.filter(kind="user", object_id=user["id"]).count() == 3


def test_properties_that_keystone_does_not_know_are_kept(root: Persona, cloud: Cloud) -> None:
    user = _create(root, project_id=cloud.demo.id, color=["blue"]).json()["user"]
    assert (user["project_id"], user["color"]) == (cloud.demo.id, ["blue"])
    user = root.patch(f"{USERS}/{user['id']}", {"user": {"color": "red"}}).json()["user"]
    assert (user["project_id"], user["color"]) == (cloud.demo.id, "red")
    assert _create(root, name="other", padding="x" * 20_000).status_code == 400


def test_a_password_is_kept_letter_by_letter(root: Persona, anyone: Persona, cloud: Cloud) -> None:
    user = _create(root, password="  spaces  ").json()["user"]
    body = {"methods": ["password"], "password": {"user": {"id": user["id"], "password": "  spaces  "}}}
    assert anyone.post("/identity/v3/auth/tokens", {"auth": {"identity": body}}).status_code == 201


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ""},
        {"name": "   "},
        {"name": "x" * 256},
        {"name": 7},
        {"name": None},
        {"name": "a\0b"},
        {"enabled": "yes"},
        {"password": 5},
        {"password": "x" * 4097},
        {"email": {"a": 1}},
        {"id": "mine"},
        {"options": {"multi_factor_auth_enabled": True}},
        {"options": {"lock_password": "yes"}},
        {"options": []},
    ],
)
def test_bad_users_are_refused_and_not_made(root: Persona, fields: dict[str, Any]) -> None:
    before = User.objects.count()
    response = _create(root, **fields)
    assert response.status_code == 400
    assert response.json()["error"]["title"] == "Bad Request"
    assert User.objects.count() == before


@pytest.mark.parametrize("body", [{}, {"user": []}, {"user": {"name": "x"}, "more": 1}, {"name": "x"}, b"[1]"])
def test_bodies_of_another_form(root: Persona, body: Any) -> None:
    assert root.post(USERS, body).status_code == 400


def test_names_are_taken_within_a_domain(root: Persona, cloud: Cloud) -> None:
    response = root.post(USERS, {"user": {"name": "alice"}})
    assert response.status_code == 409
    assert "alice" in response.json()["error"]["message"]
    alice = User.objects.get(name="alice")
    assert root.patch(f"{USERS}/{alice.id}", {"user": {"name": "bob"}}).status_code in (404, 409)
    domain = root.post("/identity/v3/domains", {"domain": {"name": "elsewhere"}}).json()["domain"]
    assert root.post(USERS, {"user": {"name": "alice", "domain_id": domain["id"]}}).status_code == 201


def test_unknown_references(root: Persona) -> None:
    assert _create(root, domain_id="nowhere").status_code == 404
    assert _create(root, default_project_id="nothing").status_code == 404
    assert root.patch(f"{USERS}/nobody", {"user": {"enabled": True}}).status_code == 404


def test_filters(root: Persona, cloud: Cloud) -> None:
    User.objects.filter(name="bob").update(enabled=False)

    def names(query: str) -> list[str]:
        return [user["name"] for user in root.get(f"{USERS}?{query}").json()["users"]]

    assert names("") == ["alice", "bob", "charlie", "root"]
    assert names("name=alice&enabled=None&domain_id=None") == ["alice"]
    assert names("enabled=False") == ["bob"]
    assert names("enabled=true") == ["alice", "charlie", "root"]
    assert names("domain_id=nowhere") == []
    assert names("name__contains=li&unknown=1") == ["alice", "charlie"]
    assert root.get(f"{USERS}?name=a%00").status_code == 400


def test_pages(root: Persona, cloud: Cloud) -> None:
    first = root.get(f"{USERS}?limit=3").json()
    assert len(first["users"]) == 3
    second = root.get(first["links"]["next"].split("8000", 1)[1]).json()
    assert len(second["users"]) == 1 and second["links"]["next"] is None
    ids = [user["id"] for page in (first, second) for user in page["users"]]
    assert ids == sorted(User.objects.values_list("pk", flat=True))
    assert root.get(f"{USERS}?limit=-1").status_code == 400
    assert root.get(f"{USERS}?marker=nobody").status_code == 404


def test_who_may(alice: Persona, bob: Persona, charlie: Persona, anyone: Persona, cloud: Cloud) -> None:
    assert alice.user and charlie.user
    for persona in (alice, bob, charlie):
        assert persona.get(USERS).status_code == 403
        assert persona.post(USERS, {"user": {"name": "x"}}).status_code == 403
    own, foreign = f"{USERS}/{alice.user.id}", f"{USERS}/{charlie.user.id}"
    assert alice.get(own).json()["user"]["name"] == "alice"
    assert alice.get(foreign).status_code == alice.get(f"{USERS}/nobody").status_code == 403
    assert alice.patch(own, {"user": {"enabled": True}}).status_code == 403
    assert alice.delete(own).status_code == 403
    assert anyone.get(own).status_code == 401
    refused = alice.get(USERS).json()["error"]
    assert refused == {
        "code": 403,
        "title": "Forbidden",
        "message": "You are not authorized to perform the requested action: identity:list_users.",
    }


def test_a_reader_of_the_system_sees_all_and_changes_nothing(cloud: Cloud, alice: Persona) -> None:
    assert alice.user
    grant(alice.user, Role.objects.get(name="reader"), Target())
    reader = Persona(token=issue(alice.user, Scope(system=True), ("password",))[0])
    assert reader.get(USERS).status_code == 200
    assert reader.post(USERS, {"user": {"name": "x"}}).status_code == 403


def test_roles_on_a_domain_reach_no_further(cloud: Cloud, alice: Persona, root: Persona) -> None:
    domain = root.post("/identity/v3/domains", {"domain": {"name": "elsewhere"}}).json()["domain"]
    root.post(USERS, {"user": {"name": "eve", "domain_id": domain["id"]}})
    there = Domain.objects.get(pk=domain["id"])
    assert alice.user
    grant(alice.user, Role.objects.get(name="admin"), Target(domain=there))
    admin = Persona(token=issue(alice.user, Scope(domain=there), ("password",))[0])
    assert [user["name"] for user in admin.get(USERS).json()["users"]] == ["eve"]
    assert [user["name"] for user in admin.get(f"{USERS}?domain_id=default").json()["users"]] == []
    assert admin.get(f"{USERS}/{alice.user.id}").status_code == 200  # oneself
    assert root.user and admin.get(f"{USERS}/{root.user.id}").status_code == 403
    assert admin.post(USERS, {"user": {"name": "x", "domain_id": "default"}}).status_code == 403
    assert admin.get("/identity/v3/domains").status_code == 403
    assert admin.get("/identity/v3/services").status_code == 403


def test_own_password(alice: Persona, bob: Persona, anyone: Persona) -> None:
    assert alice.user
    path = f"{USERS}/{alice.user.id}/password"
    wrong = {"user": {"original_password": "wrong", "password": "new"}}
    right = {"user": {"original_password": PASSWORD, "password": "new"}}
    assert anyone.post(path, right).status_code == 401
    assert alice.post(path, wrong).status_code == 401
    assert bob.post(f"{USERS}/nobody/password", right).status_code == 401
    assert alice.post(path, {"user": {"password": "new"}}).status_code == 400
    assert alice.post(path, right).status_code == 204
    assert alice.get(f"{USERS}/{alice.user.id}").status_code == 401  # the old token is over
    assert User.objects.get(pk=alice.user.pk).check_password("new")


def test_a_locked_password(root: Persona, alice: Persona) -> None:
    assert alice.user
    own = f"{USERS}/{alice.user.id}"
    assert root.patch(own, {"user": {"options": {"lock_password": True}}}).status_code == 200
    body = {"user": {"original_password": PASSWORD, "password": "new"}}
    assert alice.post(f"{own}/password", body).status_code == 403
    shown = root.patch(own, {"user": {"options": {"lock_password": None}}}).json()["user"]
    assert shown["options"] == {}
    assert alice.post(f"{own}/password", body).status_code == 204


def test_own_projects_and_groups(alice: Persona, bob: Persona, root: Persona, cloud: Cloud) -> None:
    assert alice.user
    path = f"{USERS}/{alice.user.id}"
    assert [one["name"] for one in alice.get(f"{path}/projects").json()["projects"]] == ["demo"]
    assert [one["name"] for one in root.get(f"{path}/projects").json()["projects"]] == ["demo"]
    assert bob.get(f"{path}/projects").status_code == 403
    assert alice.get(f"{path}/groups").json()["groups"] == []
    assert bob.get(f"{path}/groups").status_code == 403
    assert root.get("/identity/v3/groups").json()["groups"] == []
    assert root.get("/identity/v3/groups/some").status_code == 404
    assert root.get(f"{USERS}/nobody/projects").status_code == 404


def test_a_list_costs_one_query(root: Persona, cloud: Cloud, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    with django_assert_num_queries(4) as captured:  # three for the token
        assert isinstance(captured, CaptureQueriesContext)
        root.get(USERS)


def test_slashes_at_the_end(root: Persona, cloud: Cloud) -> None:
    assert root.get(f"{USERS}/").json()["users"] == root.get(USERS).json()["users"]
    assert root.get(f"{USERS}/a%00b").status_code == 404
    assert root.get("/identity/v3/nonsense").json()["error"]["code"] == 404
    assert root.put(USERS, {}).status_code == 405


def test_the_id_may_come_along_but_not_change(root: Persona, alice: Persona) -> None:
    assert alice.user
    own = f"{USERS}/{alice.user.id}"
    assert root.patch(own, {"user": {"id": alice.user.id, "description": "x"}}).status_code == 200
    assert root.patch(own, {"user": {"id": "another"}}).status_code == 400
    assert root.patch(own, {"user": {}}).status_code == 400
