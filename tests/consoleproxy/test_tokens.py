"""Console tokens: whom they let in, to what, and for how long."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from django.utils import timezone

from compute.errors import Conflict
from compute.models import Host, HostState, Instance, PowerState
from consoleproxy import tokens
from consoleproxy.models import ConsoleToken
from consoleproxy.tokens import Refused, authorise, issue, websocket_url
from portal.identity.actor import Actor, actor_on_system
from portal.identity.models import ApplicationCredential, Assignment, Project
from portal.identity.policy import Forbidden
from tests.consoleproxy.conftest import new_token, token_of


def set_instance(server, **fields):
    Instance.objects.filter(pk=server.pk).update(**fields)
    server.refresh_from_db()


def test_the_owner_gets_a_url_and_only_a_digest_is_stored(server, alice, settings):
    url = issue(server, alice.actor, "novnc")
    assert url.startswith(f"{settings.PUBLIC_URL}/console/?kind=novnc&token=")
    token = token_of(url)
    assert len(token) == 43  # 256 bits in base64
    row = ConsoleToken.objects.get()
    assert row.digest == hashlib.sha256(token.encode()).hexdigest()
    assert token not in str(ConsoleToken.objects.values().get())
    assert timedelta(seconds=595) < row.expires_at - timezone.now() <= timedelta(seconds=600)
    assert row.request_id.startswith("req-")


def test_a_token_stands_for_user_project_instance_and_host(server, alice, cloud):
    grant = authorise(new_token(server, alice), "novnc")
    assert (grant.instance_id, grant.host, grant.kind) == (server.pk, cloud.host, "novnc")
    assert (grant.user_id, grant.user_name) == (alice.user.id, "alice")
    assert (grant.project_id, grant.project_name) == (cloud.demo.id, "demo")


def test_tokens_differ_and_one_may_be_used_again_within_its_time(server, alice):
    first, second = new_token(server, alice), new_token(server, alice)
    assert first != second
    assert authorise(first, "novnc") == authorise(first, "novnc")


def test_where_the_page_connects_to(settings):
    settings.PUBLIC_URL, settings.CONSOLE_PUBLIC_URL = "https://cloud.example", "wss://cloud.example/vnc"
    assert websocket_url("a-b_c", "novnc") == "wss://cloud.example/vnc/?token=a-b_c"
    assert websocket_url("a-b_c", "serial") == "wss://cloud.example/ws/serial?token=a-b_c"
    settings.PUBLIC_URL = "http://127.0.0.1:8000"
    assert websocket_url("x", "serial") == "ws://127.0.0.1:8000/ws/serial?token=x"
    assert urlsplit(websocket_url("x&y=1", "serial")).query == "token=x%26y%3D1"


def test_stranger_and_reader_get_none(server, bob, charlie):
    for persona in (bob, charlie):
        with pytest.raises(Forbidden):
            issue(server, persona.actor, "novnc")
    assert not ConsoleToken.objects.exists()


def test_an_administrator_may_open_any_console_also_by_the_system_role(server, root):
    assert authorise(new_token(server, root), "novnc").project_name == "admin"
    system = actor_on_system(root.user)
    assert system is not None and system.system
    token = token_of(issue(server, system, "serial"))
    assert authorise(token, "serial").project_id == ""
    Assignment.objects.filter(user=root.user, system=True).delete()
    with pytest.raises(Refused, match="may not use this console"):
        authorise(token, "serial")


def test_a_locked_server_has_its_console(server, alice):
    set_instance(server, locked=True)
    assert authorise(new_token(server, alice), "novnc").instance_id == server.pk


def test_a_paused_server_has_its_console(server, alice):
    set_instance(server, power_state=PowerState.PAUSED)
    assert authorise(new_token(server, alice), "novnc").instance_id == server.pk


@pytest.mark.parametrize(
    "fields",
    [
        {"power_state": PowerState.SHUTDOWN},
        {"power_state": PowerState.NOSTATE},
        {"host": None},
        {"deleted_at": timezone.now()},
    ],
)
def test_a_server_that_does_not_run_gives_no_token(server, alice, fields):
    set_instance(server, **fields)
    with pytest.raises(Conflict, match=f"Instance {server.pk} is not ready"):
        issue(server, alice.actor, "novnc")
    assert not ConsoleToken.objects.exists()


def test_a_host_that_is_down_gives_no_token_and_lets_none_in(server, alice):
    token = new_token(server, alice)
    Host.objects.update(state=HostState.DOWN)
    server.host.refresh_from_db()
    with pytest.raises(Conflict, match="its host is down"):
        issue(server, alice.actor, "novnc")
    with pytest.raises(Refused, match="host of the instance is down"):
        authorise(token, "novnc")


@pytest.mark.parametrize("token", ["", "x", "x" * 43, "x" * 100_000, "\ud800", "é\0"])
def test_unknown_tokens_are_refused(server, alice, token):
    new_token(server, alice)
    with pytest.raises(Refused, match="not known here or has expired"):
        authorise(token, "novnc")


def test_the_wrong_kind_is_refused(server, alice):
    with pytest.raises(Refused, match="not known here"):
        authorise(new_token(server, alice, "novnc"), "serial")
    with pytest.raises(Refused, match="not known here"):
        authorise(new_token(server, alice, "serial"), "novnc")


def test_an_expired_token_is_refused_and_purged_by_the_next_one(server, alice):
    token = new_token(server, alice)
    ConsoleToken.objects.update(expires_at=timezone.now())
    with pytest.raises(Refused, match="expired"):
        authorise(token, "novnc")
    new_token(server, alice)
    assert ConsoleToken.objects.count() == 1


def test_each_kind_of_loss_ends_the_grant(server, alice, cloud):
    """What is refused at a connect is what ends a session: both ask ``ended``."""
    token = new_token(server, alice)
    grant = authorise(token, "novnc")
    assert tokens.ended([grant]) == {}
    elsewhere = Host.objects.create(name="host-2", uri="fake://elsewhere", state=HostState.UP)
    losses = [
        (server, {"deleted_at": timezone.now()}, "deleted"),
        (server, {"host": elsewhere}, "on another host"),
        (server, {"power_state": PowerState.SHUTDOWN}, "not running"),
        (alice.user, {"enabled": False}, "may not use"),
        (alice.user, {"token_stamp": "another"}, "may not use"),
        (cloud.demo, {"enabled": False}, "may not use"),
        (cloud.domain, {"enabled": False}, "may not use"),
        (server, {"project": cloud.other}, "may not use"),
    ]
    for row, fields, sentence in losses:
        before = {name: getattr(row, name) for name in fields}
        type(row).objects.filter(pk=row.pk).update(**fields)
        assert sentence in tokens.ended([grant])[grant], fields
        with pytest.raises(Refused, match=sentence):
            authorise(token, "novnc")
        type(row).objects.filter(pk=row.pk).update(**before)
        assert tokens.ended([grant]) == {}, fields


def test_a_role_taken_away_ends_the_grant_and_a_lesser_one_does_not_keep_it(server, alice, cloud):
    token = new_token(server, alice)
    grant = authorise(token, "novnc")
    Assignment.objects.filter(user=alice.user).delete()
    assert "may not use" in tokens.ended([grant])[grant]
    reader = cloud.demo.assignments.model.role.field.related_model.objects.get(name="reader")
    Assignment.objects.create(user=alice.user, project=cloud.demo, role=reader)
    assert "may not use" in tokens.ended([grant])[grant]
    with pytest.raises(Refused):
        authorise(token, "novnc")


def test_an_application_credential_taken_back_ends_what_it_opened(server, alice):
    credential = ApplicationCredential.objects.create(
        user=alice.user, project=alice.project, name="robot", secret_hash="x"
    )
    actor = Actor(**{**vars(alice.actor), "application_credential_id": credential.id})
    token = token_of(issue(server, actor, "novnc"))
    grant = authorise(token, "novnc")
    ApplicationCredential.objects.update(expires_at=timezone.now())
    assert grant in tokens.ended([grant])
    ApplicationCredential.objects.update(expires_at=None)
    assert tokens.ended([grant]) == {}
    credential.delete()
    with pytest.raises(Refused):
        authorise(token, "novnc")


def test_one_check_of_many_sessions_costs_few_queries(server, alice, root, django_assert_num_queries):
    grants = [authorise(new_token(server, alice), "novnc") for _ in range(10)]
    grants += [authorise(new_token(server, root), "novnc") for _ in range(10)]
    with django_assert_num_queries(1 + 2 * 3):
        assert tokens.ended(grants) == {}


def test_a_project_that_is_gone_lets_nobody_in(server, root, cloud):
    token = new_token(server, root)
    Assignment.objects.filter(project=cloud.admin_project).delete()
    ConsoleToken.objects.update(project_id="gone")
    assert not Project.objects.filter(pk="gone").exists()
    with pytest.raises(Refused, match="may not use"):
        authorise(token, "novnc")
