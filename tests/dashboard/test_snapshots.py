"""Snapshots and shelving in the pages: the dialog with a name, progress, the image that is being saved."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from compute.models import Action, Image, Instance
from compute.operations import OPERATIONS
from compute.operations.engine import request
from tests.conftest import Persona
from tests.dashboard.conftest import FRAGMENT

Browse = Callable[[Persona], Client]


@pytest.fixture
def active(launch: Callable[..., Instance], alice: Persona, drain: Callable[[], int]) -> Instance:
    instance = launch(alice)
    drain()
    return Instance.objects.get(pk=instance.pk)


def url(instance: Instance, operation: str) -> str:
    return f"/instances/{instance.pk}/act/{operation}"


def test_the_menu_asks_for_a_name(browse: Browse, alice: Persona, bob: Persona, active: Instance) -> None:
    page = browse(alice).get(f"/instances/{active.pk}/").content.decode()
    assert f'formaction="{url(active, "create_image")}"' in page
    assert 'data-reason="Name of the image' in page
    assert f'formaction="{url(active, "shelve")}"' in page
    assert url(active, "shelve_offload") not in page
    assert url(active, "create_image") not in browse(bob).get(f"/instances/{active.pk}/").content.decode()


@pytest.mark.parametrize(("typed", "name"), [("nightly", "nightly"), ("", "web-snapshot"), (" a b ", "a b")])
def test_a_snapshot(browse: Browse, alice: Persona, active: Instance, typed: str, name: str) -> None:
    response = browse(alice).post(url(active, "create_image"), {"reason": typed}, headers=FRAGMENT)
    assert response.json()["messages"] == [{"level": "success", "text": "Create snapshot: web"}]
    image = Image.objects.get(name=name)
    assert (image.status, image.properties["instance_uuid"]) == ("queued", str(active.pk))


@pytest.mark.parametrize("typed", ["x" * 256, "a\x07b"])
def test_a_name_that_no_image_can_have(browse: Browse, alice: Persona, active: Instance, typed: str) -> None:
    response = browse(alice).post(url(active, "create_image"), {"reason": typed}, headers=FRAGMENT)
    assert [one["level"] for one in response.json()["messages"]] == ["error"]
    assert Instance.objects.get(pk=active.pk).task_state is None
    assert not Action.objects.filter(operation="create_image").exists()


def test_who_may(browse: Browse, bob: Persona, charlie: Persona, active: Instance) -> None:
    for operation in ("create_image", "shelve"):
        assert browse(bob).post(url(active, operation)).status_code == 403
        assert browse(charlie).post(url(active, operation)).status_code == 404
        assert Client().post(url(active, operation)).status_code == 302
    assert not Action.objects.exclude(operation="create").exists()


def test_progress_and_failure_are_shown(browse: Browse, alice: Persona, active: Instance) -> None:
    action = request(OPERATIONS["create_image"], active, alice.actor)
    Action.objects.filter(pk=action.pk).update(state="running", progress={"percent": 42})
    page = browse(alice).get(f"/instances/{active.pk}/").content.decode()
    assert 'id="under-way"' in page and "42 %" in page and 'width="42.00%"' in page
    Action.objects.filter(pk=action.pk).update(state="error", message="The disk is full.")
    page = browse(alice).get(f"/instances/{active.pk}/").content.decode()
    assert 'id="under-way"' not in page
    assert "<strong>Create snapshot failed.</strong> The disk is full." in page


def test_the_images_page_shows_one_that_is_being_saved(
    browse: Browse, alice: Persona, active: Instance, drain: Callable[[], int]
) -> None:
    image = Image.objects.get(pk=request(OPERATIONS["create_image"], active, alice.actor).params["image"])
    client = browse(alice)
    for status in ("queued", "saving"):
        Image.objects.filter(pk=image.pk).update(status=status)
        assert f">{status}</span>" in client.get("/images/").content.decode()
    Image.objects.filter(pk=image.pk).update(status="queued")
    drain()
    page = client.get("/images/").content.decode()
    assert ">queued</span>" not in page and "web-snapshot" in page


def test_shelve_and_unshelve(browse: Browse, alice: Persona, active: Instance, drain: Callable[[], int]) -> None:
    client = browse(alice)
    client.post(url(active, "shelve"))
    drain()
    page = client.get(f"/instances/{active.pk}/").content.decode()
    assert "SHELVED_OFFLOADED" in page and url(active, "unshelve") in page
    client.post(url(active, "unshelve"))
    drain()
    assert Instance.objects.get(pk=active.pk).vm_state == "active"
