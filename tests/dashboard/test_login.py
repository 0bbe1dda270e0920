"""Logging in, out, and into another project."""

import pytest
from django.contrib.sessions.models import Session
from django.test import Client

from portal.identity.models import Assignment, Project, Role, User
from tests.conftest import PASSWORD, Cloud, Persona

pytestmark = pytest.mark.django_db


def log_in(client: Client, name: str, password: str = PASSWORD, **more: str):
    return client.post("/login", {"name": name, "password": password, **more})


def test_a_right_password_leads_to_the_overview(alice: Persona) -> None:
    client = Client()
    answer = log_in(client, "alice")
    assert (answer.status_code, answer["Location"]) == (302, "/")
    assert b"demo" in client.get("/").content


@pytest.mark.parametrize(("name", "password"), [("alice", "wrong"), ("nobody", PASSWORD), ("alice", "x" * 4096)])
def test_a_wrong_login_says_one_sentence(alice: Persona, name: str, password: str) -> None:
    answer = log_in(Client(), name, password)
    assert answer.status_code == 400
    assert b"User name or password is wrong, or the user is disabled." in answer.content


def test_a_disabled_user_stays_out(alice: Persona) -> None:
    User.objects.filter(name="alice").update(enabled=False)
    assert log_in(Client(), "alice").status_code == 400


def test_empty_fields_say_what_is_missing(db: None) -> None:
    page = Client().post("/login", {}).content.decode()
    assert "Enter your user name." in page
    assert "Enter your password." in page


def test_a_password_of_a_megabyte_is_refused_before_it_is_hashed(alice: Persona) -> None:
    answer = log_in(Client(), "alice", "x" * (1 << 20))
    assert answer.status_code == 400
    assert b"too long for a password" in answer.content


def test_another_domain_has_users_of_its_own(alice: Persona) -> None:
    assert log_in(Client(), "alice", domain="Elsewhere").status_code == 400
    assert log_in(Client(), "alice", domain="Default").status_code == 302


@pytest.mark.parametrize(
    "target",
    [
        "//evil.example",
        "https://evil.example/",
        "//evil.example/%2f..",
        "/\\evil.example",
        "\\\\evil.example",
        "javascript:alert(1)",
        "///evil.example",
        "http:evil.example",
        "evil.example",
    ],
)
def test_the_login_leads_nowhere_else(alice: Persona, target: str) -> None:
    client = Client()
    assert client.get("/login", {"next": target}).context["next"] == "/"
    assert log_in(client, "alice", next=target)["Location"] == "/"


def test_the_login_leads_back(alice: Persona) -> None:
    client = Client()
    asked = client.get("/instances/?q=a b")
    assert asked["Location"] == "/login?next=/instances/%3Fq%3Da%2520b"
    assert log_in(client, "alice", next="/instances/?q=a%20b")["Location"] == "/instances/?q=a%20b"


def test_a_page_asked_without_a_login_writes_no_session(db: None) -> None:
    for path in ("/login", "/login?next=/x", "/", "/instances/"):
        Client().get(path)
    assert not Session.objects.exists()


def test_the_session_key_changes_at_the_login(alice: Persona) -> None:
    client = Client()
    log_in(client, "alice")
    before = client.session.session_key
    log_in_again = Client()
    log_in_again.cookies = client.cookies
    log_in_again.post("/logout")
    log_in(log_in_again, "alice")
    assert log_in_again.session.session_key != before
    assert not Session.objects.filter(session_key=before).exists()


def test_the_session_cookie_is_for_the_server_alone(alice: Persona) -> None:
    client = Client()
    cookie = log_in(client, "alice").cookies["sessionid"]
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"


def test_logging_out_is_a_post_and_ends_the_session_on_the_server(alice: Persona) -> None:
    client = Client()
    log_in(client, "alice")
    key = client.session.session_key
    assert client.get("/logout").status_code == 405
    assert client.post("/logout")["Location"] == "/login"
    assert not Session.objects.filter(session_key=key).exists()
    assert client.get("/").status_code == 302


def test_a_form_without_its_token_changes_nothing(alice: Persona) -> None:
    client = Client(enforce_csrf_checks=True)
    answer = log_in(client, "alice")
    assert answer.status_code == 403
    assert b"out of date" in answer.content
    assert b"req-" in answer.content


def test_who_has_no_role_is_told_so(cloud: Cloud) -> None:
    user = User.objects.create_user("lone", PASSWORD, domain=cloud.domain)
    client = Client()
    client.force_login(user)
    answer = client.get("/instances/")
    assert answer.status_code == 403
    assert b"You are in no project yet" in answer.content


def test_one_works_in_another_project_once_chosen(alice: Persona, cloud: Cloud, browse) -> None:
    Assignment.objects.create(user=alice.user, role=Role.objects.get(name="reader"), project=cloud.other)
    client = browse(alice)
    assert client.get("/").context["actor"].project_id == cloud.demo.id
    assert client.post("/project", {"project": cloud.other.id})["Location"] == "/"
    actor = client.get("/").context["actor"]
    assert (actor.project_id, actor.roles) == (cloud.other.id, frozenset({"reader"}))


@pytest.mark.parametrize("name", ["other", "admin"])
def test_nobody_chooses_a_project_without_a_role_there(alice: Persona, cloud: Cloud, browse, name: str) -> None:
    client = browse(alice)
    assert client.post("/project", {"project": Project.objects.get(name=name).id}).status_code == 404
    assert client.get("/").context["actor"].project_id == cloud.demo.id


def test_a_role_taken_away_counts_at_once(alice: Persona, cloud: Cloud, browse) -> None:
    client = browse(alice)
    assert client.get("/instances/").status_code == 200
    Assignment.objects.filter(user=alice.user).delete()
    assert client.get("/instances/").status_code == 403


def test_a_disabled_project_is_left(alice: Persona, cloud: Cloud, browse) -> None:
    client = browse(alice)
    Project.objects.filter(pk=cloud.demo.pk).update(enabled=False)
    assert client.get("/instances/").status_code == 403


def test_changing_the_password_keeps_this_session_and_ends_the_others(alice: Persona, browse) -> None:
    here, elsewhere = browse(alice), browse(alice)
    given = {"original": PASSWORD, "new": "another password", "again": "another password"}
    assert here.post("/password", given)["Location"] == "/"
    assert here.get("/").status_code == 200
    assert elsewhere.get("/").status_code == 302
    assert log_in(Client(), "alice", "another password").status_code == 302


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"original": "wrong"}, "That is not your password."),
        ({"again": "something else"}, "This is not the same."),
        ({"new": "short", "again": "short"}, "at least 8"),
    ],
)
def test_a_password_is_not_changed_by_mistake(alice: Persona, browse, changed, sentence: str) -> None:
    given = {"original": PASSWORD, "new": "another password", "again": "another password", **changed}
    answer = browse(alice).post("/password", given)
    assert answer.status_code == 400
    assert sentence in answer.content.decode()
    assert log_in(Client(), "alice").status_code == 302
