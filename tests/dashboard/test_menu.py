"""The menu of an instance: what it offers in each state and to whom, and what its buttons do."""

from __future__ import annotations

from typing import Any

import pytest

from compute.models import Action, Image, Instance
from portal.dashboard import menus
from tests.conftest import Persona
from tests.dashboard.conftest import FRAGMENT

pytestmark = pytest.mark.django_db


def press(browse: Any, persona: Persona, name: str, **more: str) -> Any:
    return browse(persona).post(f"/instances/{Instance.objects.get().pk}/act/{name}", more, headers=FRAGMENT)


def offered(persona: Persona, **states: Any) -> list[str]:
    Instance.objects.update(**{"task_state": None, "locked": False, "locked_by_admin": False, **states})
    return [one.name for one in menus.entries(Instance.objects.get(), persona.actor)]


def test_what_is_offered(web: Instance, alice: Persona, bob: Persona, charlie: Persona, root: Persona) -> None:
    assert {"stop", "pause", "suspend", "lock", "change_password", "delete"} <= set(offered(alice))
    assert not {"reset_error", "force_delete", "unlock", "unpause"} & set(offered(alice))
    assert "unpause" in offered(alice, vm_state="paused") and "resume" in offered(alice, vm_state="suspended")
    assert offered(alice, vm_state="soft-delete") == ["restore", "lock", "force_delete"]
    assert offered(alice, vm_state="active", locked=True)[-1:] == ["unlock"]
    assert not {"stop", "delete", "lock"} & set(offered(alice, locked=True))
    assert not {"stop", "unlock"} & set(offered(alice, locked=True, locked_by_admin=True))
    assert {"unlock", "stop", "reset_error"} <= set(offered(root, locked=True, locked_by_admin=True))
    assert "reset_active" in offered(root, vm_state="error")
    assert offered(bob, vm_state="active") == [] == offered(charlie)


def test_a_deletion_says_what_it_is(web: Instance, alice: Persona, settings: Any) -> None:
    sentence = {one.name: one.sentence for one in menus.entries(web, alice.actor)}["delete"]
    assert sentence == "Delete the instance and everything that belongs to it."
    settings.RECLAIM_SECONDS = 10
    sentence = {one.name: one.sentence for one in menus.entries(web, alice.actor)}["delete"]
    assert sentence == "Switch the instance off and hide it; until it is reclaimed it can be restored."


def test_the_lock_with_its_reason(web: Instance, alice: Persona, root: Persona, browse: Any) -> None:
    page = browse(alice).get("/instances/").content.decode()
    assert 'data-reason="Why (for others to read)"' in page
    assert press(browse, alice, "lock", reason="<em>audit</em>").json()["messages"][0]["text"] == "Lock: web"
    assert Instance.objects.get().locked_reason == "<em>audit</em>"
    for path in ("/instances/", f"/instances/{web.pk}/"):
        page = browse(alice).get(path).content.decode()
        assert "ocked: &lt;em&gt;audit&lt;/em&gt;" in page and "<em>audit" not in page
    assert press(browse, alice, "stop").json()["messages"][0]["text"].endswith("is locked")
    press(browse, alice, "unlock")
    assert not Instance.objects.get().locked
    page = browse(alice).get(f"/instances/{web.pk}/actions").content.decode()
    assert "<strong>Unlock</strong>" in page and "<strong>Lock</strong>" in page
    press(browse, root, "lock")
    assert "by an administrator" in browse(alice).get(f"/instances/{web.pk}/").content.decode()
    assert browse(alice).post(f"/instances/{web.pk}/act/unlock").status_code == 403
    assert Instance.objects.get().locked


def test_a_password(web: Instance, alice: Persona, browse: Any) -> None:
    assert "data-secret" in browse(alice).get("/instances/").content.decode()
    assert press(browse, alice, "change_password").json()["messages"][0]["text"] == "Type the new password."
    answer = press(browse, alice, "change_password", reason="hunter2")
    assert answer.json()["messages"][0]["text"] == "QEMU guest agent is not enabled"
    Image.objects.update(properties={"hw_qemu_guest_agent": "yes"})
    press(browse, alice, "change_password", reason="hunter2")
    assert Action.objects.get(operation="change_password").state == "queued"
    page = browse(alice).get(f"/instances/{web.pk}/actions").content.decode()
    assert "hunter2" not in page and Action.objects.get(operation="change_password").secret not in page


def test_a_state_set_by_hand(web: Instance, alice: Persona, root: Persona, browse: Any) -> None:
    assert press(browse, root, "reset_error").status_code == 200
    assert Instance.objects.get().vm_state == "error"
    assert browse(alice).post(f"/instances/{web.pk}/act/reset_active").status_code == 403
    press(browse, root, "reset_active")
    assert Instance.objects.get().vm_state == "active"


@pytest.mark.parametrize("name", [*menus.DOINGS, "pause", "force_delete"])
def test_who_may_press(web: Instance, bob: Persona, charlie: Persona, anyone: Persona, browse: Any, name: str) -> None:
    before = Instance.objects.values().get(), Action.objects.count()
    path = f"/instances/{web.pk}/act/{name}"
    assert browse(bob).post(path, {"reason": "x"}).status_code == 403
    assert browse(charlie).post(path, {"reason": "x"}).status_code == 404
    assert anyone.client.post(path).status_code == 302
    assert (Instance.objects.values().get(), Action.objects.count()) == before
