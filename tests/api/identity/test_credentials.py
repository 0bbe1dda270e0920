"""Application credentials on the wire."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from portal.identity.models import AccessRule, ApplicationCredential, Role
from portal.identity.roles import Target, grant, take_away
from portal.identity.tokens import Scope, issue
from tests.conftest import Cloud, Persona

TOKENS = "/identity/v3/auth/tokens"


def _path(persona: Persona) -> str:
    assert persona.user
    return f"/identity/v3/users/{persona.user.id}/application_credentials"


def _create(persona: Persona, name: str = "robot", **fields: Any) -> dict[str, Any]:
    response = persona.post(_path(persona), {"application_credential": {"name": name, **fields}})
    assert response.status_code == 201, response.json()
    credential: dict[str, Any] = response.json()["application_credential"]
    return credential


def _body(credential: dict[str, Any], **fields: Any) -> dict[str, Any]:
    proof = {"id": credential["id"], "secret": credential["secret"], **fields}
    return {"auth": {"identity": {"methods": ["application_credential"], "application_credential": proof}}}


def _token(credential: dict[str, Any]) -> Persona:
    response = Persona().post(TOKENS, _body(credential))
    assert response.status_code == 201, response.json()
    return Persona(token=response["X-Subject-Token"])


def test_a_made_up_secret_is_shown_once(alice: Persona, cloud: Cloud) -> None:
    credential = _create(alice, description="d")
    assert len(credential["secret"]) > 40
    assert (credential["project_id"], credential["unrestricted"]) == (cloud.demo.id, False)
    assert {role["name"] for role in credential["roles"]} == {"member", "reader"}
    shown = alice.get(f"{_path(alice)}/{credential['id']}").json()["application_credential"]
    assert shown == {key: value for key, value in credential.items() if key != "secret"}
    assert alice.get(_path(alice)).json()["application_credentials"] == [shown]
    assert alice.get(f"{_path(alice)}?name=other").json()["application_credentials"] == []
    assert credential["secret"] not in ApplicationCredential.objects.get().secret_hash


def test_it_gets_a_token_for_its_project(alice: Persona, cloud: Cloud, anyone: Persona) -> None:
    credential = _create(alice, secret="chosen", roles=[{"name": "reader"}])
    token = anyone.post(TOKENS, _body(credential)).json()["token"]
    assert token["project"]["id"] == cloud.demo.id
    assert [role["name"] for role in token["roles"]] == ["reader"]
    assert token["application_credential"] == {"id": credential["id"], "name": "robot", "restricted": True}
    assert token["methods"] == ["application_credential"]
    by_name = {"name": "robot", "secret": "chosen", "user": {"name": "alice", "domain": {"id": "default"}}}
    body = {"identity": {"methods": ["application_credential"], "application_credential": by_name}}
    assert anyone.post(TOKENS, {"auth": body}).status_code == 201


@pytest.mark.parametrize("fields", [{"secret": "wrong"}, {"id": "nothing"}, {"secret": "x" * 5000}])
def test_wrong_secrets(alice: Persona, anyone: Persona, fields: dict[str, str]) -> None:
    assert anyone.post(TOKENS, _body(_create(alice), **fields)).status_code == 401


def test_it_asks_for_no_scope(alice: Persona, anyone: Persona, cloud: Cloud) -> None:
    assert alice.user
    grant(alice.user, Role.objects.get(name="member"), Target(project=cloud.other))
    credential = _create(alice)
    body = _body(credential)
    body["auth"]["scope"] = {"project": {"id": cloud.other.id}}
    assert anyone.post(TOKENS, body).status_code == 400
    robot = _token(credential)
    again = {"identity": {"methods": ["token"], "token": {"id": robot.token}}}
    token = anyone.post(TOKENS, {"auth": again}).json()["token"]
    assert token["application_credential"]["restricted"] is True
    for scope in ({"project": {"id": cloud.other.id}}, "unscoped", {"system": {"all": True}}):
        assert anyone.post(TOKENS, {"auth": {**again, "scope": scope}}).status_code == 403
    assert [one["name"] for one in robot.get("/identity/v3/auth/projects").json()["projects"]] == ["demo"]


def test_a_restricted_one_makes_no_others(alice: Persona) -> None:
    credential = _create(alice)
    robot = _token(credential)
    new = {"application_credential": {"name": "child"}}
    assert robot.post(_path(alice), new).status_code == 403
    assert robot.delete(f"{_path(alice)}/{credential['id']}").status_code == 403
    assert robot.get(_path(alice)).status_code == 200
    assert ApplicationCredential.objects.count() == 1


def test_an_unrestricted_one_makes_none_with_more_roles(alice: Persona) -> None:
    robot = _token(_create(alice, unrestricted=True, roles=[{"name": "reader"}]))
    more = {"application_credential": {"name": "child", "roles": [{"name": "member"}]}}
    assert robot.post(_path(alice), more).status_code == 404
    same = robot.post(_path(alice), {"application_credential": {"name": "child"}})
    assert same.status_code == 201
    assert [role["name"] for role in same.json()["application_credential"]["roles"]] == ["reader"]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"name": ""}, 400),
        ({"name": "x" * 256}, 400),
        ({"surprise": 1}, 400),
        ({"roles": [{}]}, 400),
        ({"roles": [{"name": "admin"}]}, 404),
        ({"roles": [{"id": "none"}]}, 404),
        ({"expires_at": "tomorrow"}, 400),
        ({"expires_at": "2001-01-01T00:00:00"}, 400),
        ({"secret": "x" * 4097}, 400),
        ({"unrestricted": "yes"}, 400),
        ({"project_id": "another"}, 400),
        ({"access_rules": [{"service": "compute"}]}, 400),
        ({"access_rules": [{"service": "compute", "method": "STEAL", "path": "/"}]}, 400),
        ({"access_rules": [{"service": "compute", "method": "GET", "path": "no slash"}]}, 400),
        ({"access_rules": [{"id": "none"}]}, 404),
    ],
)
def test_bad_credentials(alice: Persona, fields: dict[str, Any], status: int) -> None:
    response = alice.post(_path(alice), {"application_credential": {"name": "robot", **fields}})
    assert response.status_code == status
    assert not ApplicationCredential.objects.exists()


def test_names_are_a_users_own(alice: Persona, bob: Persona) -> None:
    _create(alice)
    assert alice.post(_path(alice), {"application_credential": {"name": "robot"}}).status_code == 409
    _create(bob)


def test_who_may(alice: Persona, bob: Persona, charlie: Persona, root: Persona, anyone: Persona) -> None:
    one = f"{_path(alice)}/{_create(alice)['id']}"
    for stranger in (bob, charlie):
        assert stranger.get(_path(alice)).status_code == stranger.get(one).status_code == 403
        assert stranger.delete(one).status_code == 403
        assert stranger.get(one.replace(_path(alice), _path(stranger))).status_code == 404
    assert root.get(one).status_code == 200
    assert root.post(_path(alice), {"application_credential": {"name": "x"}}).status_code == 403
    assert anyone.get(one).status_code == 401
    assert alice.delete(one).status_code == 204
    assert alice.get(one).status_code == 404


def test_it_needs_a_project(alice: Persona) -> None:
    assert alice.user
    unscoped = Persona(alice.user, token=issue(alice.user, Scope(), ("password",))[0])
    assert unscoped.post(_path(alice), {"application_credential": {"name": "x"}}).status_code == 400


def test_its_tokens_end_with_it(alice: Persona, cloud: Cloud) -> None:
    assert alice.user
    credential = _create(alice)
    robot = _token(credential)
    assert robot.get("/identity/v3/auth/projects").status_code == 200
    take_away(alice.user, Role.objects.get(name="member"), Target(project=cloud.demo))
    assert robot.get("/identity/v3/auth/projects").status_code == 401
    grant(alice.user, Role.objects.get(name="member"), Target(project=cloud.demo))
    ApplicationCredential.objects.all().delete()
    assert robot.get("/identity/v3/auth/projects").status_code == 401


def test_it_expires(alice: Persona, anyone: Persona) -> None:
    soon = timezone.now() + timedelta(minutes=10)
    credential = _create(alice, expires_at=soon.replace(tzinfo=None).isoformat())
    assert credential["expires_at"] == soon.strftime("%Y-%m-%dT%H:%M:%S.%f")
    token = anyone.post(TOKENS, _body(credential)).json()["token"]
    assert token["expires_at"] == soon.strftime("%Y-%m-%dT%H:%M:%S.000000Z")
    ApplicationCredential.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert anyone.post(TOKENS, _body(credential)).status_code == 401


def test_access_rules_narrow_what_it_may(alice: Persona, bob: Persona) -> None:
    rules = [
        {"service": "identity", "method": "GET", "path": "/v3/auth/**"},
        {"service": "identity", "method": "GET", "path": "/v3/users/*/access_rules"},
    ]
    credential = _create(alice, access_rules=rules, unrestricted=True)
    assert [{key: rule[key] for key in ("service", "method", "path")} for rule in credential["access_rules"]] == rules
    robot = _token(credential)
    assert alice.user
    own = f"/identity/v3/users/{alice.user.id}"
    assert robot.get("/identity/v3/auth/projects").status_code == 200
    assert robot.get(TOKENS, headers={"X-Subject-Token": robot.token}).json()["token"]["application_credential"][
        "access_rules"
    ]
    for refused in (robot.get(own), robot.post(_path(alice), {}), robot.get("/compute/v2.1/servers")):
        assert refused.status_code == 401
    listed = robot.get(f"{own}/access_rules").json()["access_rules"]
    assert len(listed) == 2
    one = f"{own}/access_rules/{listed[0]['id']}"
    assert alice.get(one).json()["access_rule"] == listed[0]
    assert bob.get(one).status_code == bob.delete(one).status_code == bob.get(f"{own}/access_rules").status_code == 403
    assert alice.delete(one).status_code == 403  # still in use
    alice.delete(f"{_path(alice)}/{credential['id']}")
    assert alice.delete(one).status_code == 204
    assert alice.delete(one).status_code == 404
    again = _create(alice, access_rules=[{"id": listed[1]["id"]}])
    assert again["access_rules"][0]["path"] == listed[1]["path"]
    assert AccessRule.objects.count() == 1


def test_queries(alice: Persona, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    for name in ("a", "b", "c"):
        _create(alice, name)
    with django_assert_num_queries(6):  # three for the token; credentials, roles, rules
        alice.get(_path(alice))
