"""Cancelling from the pages, backing up, and noting things about an instance."""

from __future__ import annotations

from typing import Any

import pytest

from compute.models import Action, Image, Instance
from compute.operations import OPERATIONS
from compute.operations.engine import request
from portal.requestid import new_request_id, working_on
from tests.conftest import Cloud, Persona

pytestmark = pytest.mark.django_db


def ask(persona: Persona, instance: Instance, name: str, **params: Any) -> Action:
    with working_on(new_request_id()):
        return request(OPERATIONS[name], instance, persona.actor, **params)


def test_a_button_while_it_is_under_way(web: Instance, alice: Persona, bob: Persona, browse: Any, drain: Any) -> None:
    action = ask(alice, web, "rebuild")
    client, path = browse(alice), f"/instances/{web.pk}/cancel/{action.request_id}"
    for page in ("", "actions"):
        assert path in client.get(f"/instances/{web.pk}/{page}").content.decode()
        assert path not in browse(bob).get(f"/instances/{web.pk}/{page}").content.decode()
    assert client.post(path)["Location"] == f"/instances/{web.pk}/"
    shown = client.get(f"/instances/{web.pk}/").content.decode()
    assert "is being cancelled by alice" in shown and path not in shown
    client.post(path)
    assert "being cancelled already" in client.get(f"/instances/{web.pk}/").content.decode().replace("&#x27;", "'")
    drain()
    action.refresh_from_db()
    assert (action.state, action.message) == ("cancelled", "cancelled by alice")
    assert path not in client.get(f"/instances/{web.pk}/actions").content.decode()


def test_who_may_not_cancel(web: Instance, alice: Persona, bob: Persona, charlie: Persona, browse: Any) -> None:
    action = ask(alice, web, "rebuild")
    path = f"/instances/{web.pk}/cancel/{action.request_id}"
    assert browse(bob).post(path).status_code == 403
    assert browse(charlie).post(path).status_code == 404
    assert browse(alice).get(path).status_code == 405
    action.refresh_from_db()
    assert action.cancelled_by == ""


def test_a_backup_with_rotation(cloud: Cloud, web: Instance, alice: Persona, browse: Any, drain: Any) -> None:
    client, path = browse(alice), f"/instances/{web.pk}/backup"
    assert path in client.get(f"/instances/{web.pk}/").content.decode()
    assert 'value="web-backup"' in client.get(path).content.decode()
    for number in (1, 2, 3):
        given = {"name": f"backup {number}", "backup_type": "daily", "rotation": 2}
        assert client.post(path, given).status_code == 302
        drain()
    assert sorted(Image.objects.exclude(pk=cloud.image.pk).values_list("name", flat=True)) == ["backup 2", "backup 3"]
    page = client.get(path).content.decode()
    assert "backup 3" in page and "daily" in page and "backup 1" not in page


def test_a_backup_that_makes_no_sense(
    web: Instance, alice: Persona, bob: Persona, charlie: Persona, browse: Any
) -> None:
    client, path = browse(alice), f"/instances/{web.pk}/backup"
    good = {"name": "x", "backup_type": "daily", "rotation": 2}
    for wrong in ({"name": ""}, {"backup_type": ""}, {"rotation": -1}, {"rotation": "x"}, {"rotation": ""}):
        assert client.post(path, {**good, **wrong}).status_code == 400, wrong
    assert client.post(f"/instances/{web.pk}/act/create_backup").status_code == 302
    assert browse(bob).post(path, good).status_code == 403
    assert browse(charlie).post(path, good).status_code == 404
    Instance.objects.update(vm_state="error")
    refused = client.post(path, good)
    assert refused.status_code == 400 and b"vm_state error" in refused.content
    assert Action.objects.count() == 1


def test_metadata_and_tags(web: Instance, alice: Persona, browse: Any) -> None:
    client, path = browse(alice), f"/instances/{web.pk}/labels"
    assert path in client.get(f"/instances/{web.pk}/").content.decode()
    given = {"metadata": "tier = web\r\n\r\nurl = http://a/?b=c\n", "tags": "web, nightly,web"}
    assert client.post(path, given).status_code == 302
    web.refresh_from_db()
    assert (web.metadata, web.tags) == ({"tier": "web", "url": "http://a/?b=c"}, ["nightly", "web"])
    page = client.get(path).content.decode()
    assert "tier = web" in page and 'value="nightly, web"' in page
    client.post(path, {"metadata": "", "tags": ""})
    web.refresh_from_db()
    assert (web.metadata, web.tags) == ({}, [])


def test_metadata_that_make_no_sense(
    web: Instance, alice: Persona, bob: Persona, charlie: Persona, browse: Any
) -> None:
    client, path = browse(alice), f"/instances/{web.pk}/labels"
    for metadata, tags in (
        ("no equals", ""), ("a/b = c", ""), ("a = b\na = c", ""), (f"a = {'x' * 256}", ""), ("", "a/b"), ("", "x" * 61),
        ("", ",".join(str(n) for n in range(51))), ("\n".join(f"k{n} = v" for n in range(129)), ""),
    ):  # fmt: skip
        assert client.post(path, {"metadata": metadata, "tags": tags}).status_code == 400, (metadata[:20], tags[:20])
    assert browse(bob).post(path, {}).status_code == 403
    assert browse(charlie).post(path, {}).status_code == 404
    Instance.objects.update(locked=True)
    assert client.post(path, {"metadata": "a = b", "tags": "x"}).status_code == 400
    web.refresh_from_db()
    assert (web.metadata, web.tags) == ({}, [])


def test_a_password_that_no_agent_sets_fails_for_all_to_see(
    cloud: Cloud, web: Instance, alice: Persona, browse: Any, drain: Any
) -> None:
    client, path = browse(alice), f"/instances/{web.pk}/act/change_password"
    client.post(path, {"reason": "hunter2", "from": "instance"})
    assert "QEMU guest agent is not enabled" in client.get(f"/instances/{web.pk}/").content.decode()
    cloud.image.properties = {"hw_qemu_guest_agent": "yes"}
    cloud.image.save()
    cloud.host.uri += "?agent=0"
    cloud.host.save()
    ask_again = client.post(path, {"reason": "hunter2", "from": "instance"})
    assert ask_again.status_code == 302
    drain()
    shown = client.get(f"/instances/{web.pk}/").content.decode()
    assert "Set password failed." in shown and "hunter2" not in shown
    action = Action.objects.get(operation="change_password")
    assert (action.state, action.secret) == ("error", "") and action.message
    assert (Instance.objects.get().vm_state, Instance.objects.get().task_state) == ("active", None)
