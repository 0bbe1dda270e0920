"""Tokens on the wire."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import override_settings
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from portal.identity.models import Assignment, Domain, Project, RevokedToken, Role, User
from portal.identity.roles import Target, grant, take_away
from portal.identity.tokens import Scope, issue
from portal.identity.users import update_user
from tests.conftest import PASSWORD, Cloud, Persona

TOKENS = "/identity/v3/auth/tokens"
DEMO = {"project": {"name": "demo", "domain": {"id": "default"}}}


def password(name: str = "alice", secret: str = PASSWORD, scope: Any = None) -> dict[str, Any]:
    """The body of a login."""
    user = {"name": name, "domain": {"id": "default"}, "password": secret}
    auth: dict[str, Any] = {"identity": {"methods": ["password"], "password": {"user": user}}}
    return {"auth": auth if scope is None else {**auth, "scope": scope}}


def by_token(text: str, scope: Any = None) -> dict[str, Any]:
    """The body of a login with a token."""
    auth: dict[str, Any] = {"identity": {"methods": ["token"], "token": {"id": text}}}
    return {"auth": auth if scope is None else {**auth, "scope": scope}}


def works(token: str) -> bool:
    """Whether a token opens anything."""
    return bool(Persona(token=token).get("/identity/v3/auth/projects").status_code == 200)


def test_a_password_gets_a_token_with_all_that_clients_read(cloud: Cloud, anyone: Persona) -> None:
    response = anyone.post(TOKENS, password(scope=DEMO))
    assert response.status_code == 201
    assert response["Vary"] == "X-Auth-Token"
    token = response.json()["token"]
    assert set(token) == {
        "methods", "user", "audit_ids", "issued_at", "expires_at", "project", "is_domain", "roles", "catalog",
    }  # fmt: skip
    assert token["methods"] == ["password"]
    assert token["user"]["domain"] == {"id": "default", "name": "Default"}
    assert token["project"] == {"id": cloud.demo.id, "name": "demo", "domain": {"id": "default", "name": "Default"}}
    assert {role["name"] for role in token["roles"]} == {"member", "reader"}
    assert token["expires_at"].endswith(".000000Z") and token["issued_at"] < token["expires_at"]
    assert {service["type"] for service in token["catalog"]} == {"identity", "compute", "image", "network", "placement"}
    assert {one["interface"] for one in token["catalog"][0]["endpoints"]} == {"public", "internal", "admin"}
    assert works(response["X-Subject-Token"])


def test_nocatalog(cloud: Cloud, anyone: Persona) -> None:
    assert "catalog" not in anyone.post(TOKENS + "?nocatalog", password(scope=DEMO)).json()["token"]


def test_without_a_scope_the_default_project_is_it(cloud: Cloud, anyone: Persona) -> None:
    assert anyone.post(TOKENS, password()).json()["token"]["project"]["name"] == "demo"
    explicit: Any
    for explicit in ("unscoped", {"unscoped": {}}):
        token = anyone.post(TOKENS, password(scope=explicit)).json()["token"]
        assert not {"project", "roles", "catalog"} & set(token)
    Assignment.objects.filter(user__name="alice").delete()
    assert "project" not in anyone.post(TOKENS, password()).json()["token"]


def test_other_scopes(cloud: Cloud, anyone: Persona, root: Persona) -> None:
    system = anyone.post(TOKENS, password("root", scope={"system": {"all": True}})).json()["token"]
    assert system["system"] == {"all": True}
    assert root.user is not None
    grant(root.user, Role.objects.get(name="reader"), Target(domain=cloud.domain))
    domain = anyone.post(TOKENS, password("root", scope={"domain": {"name": "Default"}})).json()["token"]
    assert domain["domain"] == {"id": "default", "name": "Default"}
    assert [role["name"] for role in domain["roles"]] == ["reader"]


@pytest.mark.parametrize(
    "body",
    [
        password("nobody"),
        password(secret="wrong"),
        password(secret=PASSWORD + " "),
        password(secret="x" * 5000),
        password(scope={"project": {"id": "no-such-project"}}),
        password(scope={"project": {"name": "other", "domain": {"id": "default"}}}),
        password(scope={"domain": {"id": "default"}}),
        password(scope={"system": {"all": True}}),
    ],
)
def test_whatever_is_wrong_the_answer_is_the_same(cloud: Cloud, anyone: Persona, body: dict[str, Any]) -> None:
    response = anyone.post(TOKENS, body)
    assert response.status_code == 401
    assert response.json() == {
        "error": {
            "code": 401,
            "title": "Unauthorized",
            "message": "The request you have made requires authentication.",
        }
    }
    assert "X-Subject-Token" not in response


def test_an_unknown_user_costs_a_hash_too(cloud: Cloud, anyone: Persona, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []
    encode = "portal.identity.hashers.LoginArgon2PasswordHasher.encode"
    verify = "portal.identity.hashers.LoginArgon2PasswordHasher.verify"

    def note(hasher: object, secret: str, _: str) -> str:
        hashed.append(secret)
        return ""

    monkeypatch.setattr(encode, note)
    monkeypatch.setattr(verify, note)
    anyone.post(TOKENS, password("nobody", "one"))
    anyone.post(TOKENS, password("alice", "two"))
    assert hashed == ["one", "two"]
    anyone.post(TOKENS, password("alice", "x" * 5000))
    assert hashed == ["one", "two"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"auth": []},
        {"auth": {}},
        {"auth": {"identity": {"methods": []}}},
        {"auth": {"identity": {"methods": ["saml2"]}}},
        {"auth": {"identity": {"methods": ["password"]}}},
        {"auth": {"identity": {"methods": ["password"], "password": {"user": {"name": "alice", "password": "x"}}}}},
        {"auth": {"identity": {"methods": ["password"], "password": {"user": {"id": 7, "password": "x"}}}}},
        {"auth": {"identity": {"methods": ["token"], "token": {"id": "a"}}, "surprise": 1}},
        password(scope={"project": {"name": "demo"}}),
        password(scope={"system": {"all": False}}),
        password(scope={"system": {"all": True}, "domain": {"id": "default"}}),
        password(scope=["demo"]),
        password("ali\0ce"),
        password(secret="x" * 1_000_000),
        b"{not json",
        b"[]",
    ],
)
def test_nonsense_is_refused(cloud: Cloud, anyone: Persona, body: Any) -> None:
    response = anyone.post(TOKENS, body)
    assert response.status_code == 400
    assert response.json()["error"]["message"]


def test_show_and_check(alice: Persona, bob: Persona, charlie: Persona, root: Persona, anyone: Persona) -> None:
    own = alice.get(TOKENS, headers={"X-Subject-Token": alice.token})
    assert own.status_code == 200
    assert own["X-Subject-Token"] == alice.token
    assert own.json()["token"]["user"]["name"] == "alice"
    head = root.request("HEAD", TOKENS, headers={"X-Subject-Token": alice.token})
    assert (head.status_code, head.content) == (200, b"")
    assert bob.get(TOKENS, headers={"X-Subject-Token": alice.token}).status_code == 403
    assert charlie.get(TOKENS, headers={"X-Subject-Token": alice.token}).status_code == 403
    assert anyone.get(TOKENS, headers={"X-Subject-Token": alice.token}).status_code == 401
    assert root.get(TOKENS, headers={"X-Subject-Token": "nonsense"}).status_code == 404
    assert root.get(TOKENS).status_code == 404
    assert charlie.delete(TOKENS, headers={"X-Subject-Token": alice.token}).status_code == 403
    assert works(alice.token)


def test_a_service_may_look_at_tokens(alice: Persona, bob: Persona) -> None:
    assert bob.user and bob.project
    grant(bob.user, Role.objects.get(name="service"), Target(project=bob.project))
    assert bob.get(TOKENS, headers={"X-Subject-Token": alice.token}).status_code == 200
    assert bob.delete(TOKENS, headers={"X-Subject-Token": alice.token}).status_code == 403


def test_revoking_ends_a_token_and_those_got_from_it(alice: Persona, anyone: Persona) -> None:
    child = anyone.post(TOKENS, by_token(alice.token, DEMO))["X-Subject-Token"]
    sibling = anyone.post(TOKENS, by_token(alice.token, DEMO))["X-Subject-Token"]
    assert alice.delete(TOKENS, headers={"X-Subject-Token": child}).status_code == 204
    assert not works(child) and works(alice.token) and works(sibling)
    assert alice.delete(TOKENS, headers={"X-Subject-Token": alice.token}).status_code == 204
    assert not works(alice.token) and not works(sibling)
    assert anyone.post(TOKENS, by_token(alice.token)).status_code == 404


def test_a_token_from_a_token_ends_no_later(alice: Persona, anyone: Persona) -> None:
    assert alice.user and alice.project
    with override_settings(TOKEN_HOURS=1):
        short, old = issue(alice.user, Scope(project=alice.project), ("password",))
    new = anyone.post(TOKENS, by_token(short, DEMO)).json()["token"]
    assert new["expires_at"].startswith(f"{old.expires_at:%Y-%m-%dT%H:%M:%S}")
    assert set(new["methods"]) == {"password", "token"}
    assert new["audit_ids"][1] == old.audit_ids[0]


def test_two_methods_must_be_of_one_user(alice: Persona, bob: Persona, anyone: Persona) -> None:
    body = password(scope=DEMO)
    body["auth"]["identity"] |= {"methods": ["password", "token"], "token": {"id": alice.token}}
    assert set(anyone.post(TOKENS, body).json()["token"]["methods"]) == {"password", "token"}
    body["auth"]["identity"]["token"] = {"id": bob.token}
    assert anyone.post(TOKENS, body).status_code == 401


def _disable_user(cloud: Cloud) -> None:
    update_user(User.objects.get(name="alice"), {"enabled": False})


def _disable_and_enable(cloud: Cloud) -> None:
    update_user(User.objects.get(name="alice"), {"enabled": False})
    update_user(User.objects.get(name="alice"), {"enabled": True})


def _new_password(cloud: Cloud) -> None:
    update_user(User.objects.get(name="alice"), {"password": PASSWORD})


def _delete_user(cloud: Cloud) -> None:
    User.objects.get(name="alice").delete()


def _no_role(cloud: Cloud) -> None:
    take_away(User.objects.get(name="alice"), Role.objects.get(name="member"), Target(project=cloud.demo))


def _disable_project(cloud: Cloud) -> None:
    Project.objects.filter(pk=cloud.demo.pk).update(enabled=False)


def _disable_domain(cloud: Cloud) -> None:
    Domain.objects.update(enabled=False)


@pytest.mark.parametrize(
    "change",
    [_disable_user, _disable_and_enable, _new_password, _delete_user, _no_role, _disable_project, _disable_domain],
)
def test_tokens_die_at_once(cloud: Cloud, alice: Persona, change: Any) -> None:
    assert works(alice.token)
    change(cloud)
    assert not works(alice.token)


def test_forged_and_old_tokens(alice: Persona) -> None:
    assert alice.user and alice.project
    for text in (alice.token[:-1] + ("A" if alice.token[-1] != "A" else "B"), "x" * 5000, "a:b:c", ".eJ:1:x"):
        assert not works(text)
    with override_settings(SECRET_KEY="another-key"):
        foreign, _ = issue(alice.user, Scope(project=alice.project), ("password",))
    assert not works(foreign)
    with override_settings(TOKEN_HOURS=-1):
        with pytest.raises(Exception, match="expired"):
            from portal.identity.tokens import read

            read(issue(alice.user, Scope(project=alice.project), ("password",))[0])


def test_headers_of_a_proxy_say_nothing(cloud: Cloud, anyone: Persona) -> None:
    headers = {"X-Roles": "admin", "X-User-Id": "x", "X-Identity-Status": "Confirmed", "X-Is-Admin-Project": "True"}
    assert anyone.get("/identity/v3/users", headers=headers).status_code == 401


def test_an_old_token_does_not_hinder_a_login(cloud: Cloud, anyone: Persona) -> None:
    assert anyone.post(TOKENS, password(), headers={"X-Auth-Token": "long dead"}).status_code == 201


def test_revoked_tokens_are_forgotten_in_time(alice: Persona) -> None:
    RevokedToken.objects.create(audit_id="old", expires_at=timezone.now() - timedelta(minutes=1))
    alice.delete(TOKENS, headers={"X-Subject-Token": alice.token})
    assert RevokedToken.objects.count() == 1


def test_queries(
    cloud: Cloud, alice: Persona, anyone: Persona, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(3):  # the user, the project, the role graph
        anyone.post(TOKENS, password(scope=DEMO))
    with django_assert_num_queries(3):  # the same, and nothing for the subject, which is the caller
        alice.get(TOKENS, headers={"X-Subject-Token": alice.token})
    with django_assert_num_queries(2):  # the default project comes with the user
        anyone.post(TOKENS, password())


def test_self_views(cloud: Cloud, alice: Persona, root: Persona, anyone: Persona) -> None:
    for path in ("catalog", "projects", "domains", "system"):
        assert anyone.get(f"/identity/v3/auth/{path}").status_code == 401
    assert {one["type"] for one in alice.get("/identity/v3/auth/catalog").json()["catalog"]} >= {"identity", "compute"}
    assert [one["name"] for one in alice.get("/identity/v3/auth/projects").json()["projects"]] == ["demo"]
    assert alice.get("/identity/v3/auth/domains").json()["domains"] == []
    assert alice.get("/identity/v3/auth/system").json()["system"] == []
    assert root.get("/identity/v3/auth/system").json()["system"] == [{"all": True}]
    text, _ = issue(User.objects.get(name="root"), Scope(system=True), ("password",))
    assert Persona(token=text).get("/identity/v3/auth/catalog").status_code == 403


def test_the_log_names_the_user_and_no_secret(cloud: Cloud, anyone: Persona, caplog: pytest.LogCaptureFixture) -> None:
    anyone.post(TOKENS, password("alice", "a very secret guess"))
    assert "alice" in caplog.text
    assert "secret guess" not in caplog.text
