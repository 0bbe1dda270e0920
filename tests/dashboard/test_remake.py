"""The pages where a flavor or an image is chosen for an instance that is there."""

from __future__ import annotations

import re

import pytest
from django.test import Client

from compute.hosts.fencing import confirm_off
from compute.hosts.registration import mark_down
from compute.models import Action, Flavor, Host, Instance, QuotaLimit
from tests.conftest import Cloud, Persona

pytestmark = pytest.mark.django_db
PAGES = ("resize", "rebuild", "rescue")


@pytest.fixture
def larger(cloud: Cloud) -> Flavor:
    return Flavor.objects.create(id="84", name="larger", vcpus=1, memory_mb=256, disk_gb=2)


def menu_of(client: Client, instance: Instance) -> dict[str, str]:
    return {entry.name: entry.page for entry in client.get(f"/instances/{instance.pk}/").context["menu"]}


def test_the_menu_leads_to_the_pages(web: Instance, alice: Persona, browse) -> None:
    client = browse(alice)
    menu = menu_of(client, web)
    for name in PAGES:
        assert menu[name] == f"instance_{name}"
    page = client.get(f"/instances/{web.pk}/").content.decode()
    for name in PAGES:
        assert f'href="/instances/{web.pk}/{name}"' in page
        assert client.get(f"/instances/{web.pk}/{name}").status_code == 200


def test_a_resize_is_chosen_and_confirmed(web: Instance, larger: Flavor, alice: Persona, browse, drain) -> None:
    client = browse(alice)
    offered = {flavor.id: why for flavor, why, _ in client.get(f"/instances/{web.pk}/resize").context["flavors"]}
    assert "42" not in offered and offered["84"] == ""
    answer = client.post(f"/instances/{web.pk}/resize", {"flavor": "84"})
    assert (answer.status_code, answer["Location"]) == (302, f"/instances/{web.pk}/")
    drain()
    assert list(menu_of(client, web))[:2] == ["confirmResize", "revertResize"]
    client.post(f"/instances/{web.pk}/act/confirmResize")
    drain()
    web.refresh_from_db()
    assert (web.vm_state, web.flavor["id"]) == ("active", "84")
    offered = {flavor.id: why for flavor, why, _ in client.get(f"/instances/{web.pk}/resize").context["flavors"]}
    assert offered["42"] == "its disk is smaller"


def test_flavors_over_the_quota_are_shown_as_such(
    web: Instance, larger: Flavor, cloud: Cloud, alice: Persona, browse
) -> None:
    QuotaLimit.objects.create(project=cloud.demo, resource="memory_mb", limit=255)
    client = browse(alice)
    offered = {flavor.id: why for flavor, why, _ in client.get(f"/instances/{web.pk}/resize").context["flavors"]}
    assert offered["84"] == "over the quota of memory"
    answer = client.post(f"/instances/{web.pk}/resize", {"flavor": "84"})
    assert answer.status_code == 400 and b"Quota exceeded for ram" in answer.content


@pytest.mark.parametrize(("name", "state"), [("rebuild", "active"), ("rescue", "rescued")])
def test_an_image_is_chosen(web: Instance, cloud: Cloud, alice: Persona, browse, drain, name: str, state: str) -> None:
    client = browse(alice)
    page = client.get(f"/instances/{web.pk}/{name}")
    assert re.search(rf'value="{cloud.image.id}"[^>]* checked', page.content.decode())
    assert client.post(f"/instances/{web.pk}/{name}", {"image": str(cloud.image.id)}).status_code == 302
    drain()
    web.refresh_from_db()
    assert (web.vm_state, Action.objects.first().operation) == (state, name)


def test_bad_choices_come_back_with_the_reason(web: Instance, alice: Persona, browse) -> None:
    client = browse(alice)
    for name, field in (("resize", "flavor"), ("rebuild", "image"), ("rescue", "image")):
        for value in ("", "nonsense", "00000000-0000-0000-0000-000000000000"):
            assert client.post(f"/instances/{web.pk}/{name}", {field: value}).status_code == 400, (name, value)
    assert not Action.objects.exclude(operation="create").exists()


def test_the_wrong_state_is_said(web: Instance, larger: Flavor, alice: Persona, browse) -> None:
    Instance.objects.update(vm_state="paused")
    client = browse(alice)
    for name in PAGES:
        page = client.get(f"/instances/{web.pk}/{name}")
        assert page.status_code == 200 and b"vm_state paused" in page.content
    assert client.post(f"/instances/{web.pk}/resize", {"flavor": "84"}).status_code == 400


def test_whose_it_is_not(
    web: Instance, cloud: Cloud, larger: Flavor, bob: Persona, charlie: Persona, browse, client: Client
) -> None:
    choice = {"flavor": "84", "image": str(cloud.image.id)}
    for name in PAGES:
        path = f"/instances/{web.pk}/{name}"
        assert browse(bob).get(path).status_code == browse(bob).post(path, choice).status_code == 403
        assert browse(charlie).get(path).status_code == browse(charlie).post(path, choice).status_code == 404
        assert client.get(path).status_code == 302
    assert not Action.objects.exclude(operation="create").exists()


def test_it_grows_while_it_runs_where_it_can(cloud: Cloud, alice: Persona, launch, browse, drain) -> None:
    specs = {"nacelle:max_vcpus": "2", "nacelle:max_memory_mb": "512"}
    Flavor.objects.create(id="roomy", name="roomy", vcpus=1, memory_mb=128, disk_gb=1, extra_specs=specs)
    Flavor.objects.create(id="more", name="more", vcpus=2, memory_mb=256, disk_gb=1)
    launch(alice, "web", flavor_id="roomy")
    drain()
    web, client = Instance.objects.get(), browse(alice)
    page = client.get(f"/instances/{web.pk}/resize")
    assert {flavor.id for flavor, why, live in page.context["flavors"] if live} == {"1", "more"}
    assert b"Resize while it runs" in page.content
    path = f"/instances/{web.pk}/resize"
    refused = client.post(path, {"flavor": "2", "how": "live"})
    assert refused.status_code == 400 and b"A resize is needed." in refused.content
    assert client.post(path, {"flavor": "more", "how": "live"}).status_code == 302
    drain()
    web.refresh_from_db()
    assert (web.vm_state, web.flavor["id"], web.memory_mb) == ("active", "more", 256)
    assert b"Resize while it runs" not in client.get(path).content


def test_without_headroom_it_is_not_offered(web: Instance, larger: Flavor, alice: Persona, browse) -> None:
    assert b"Resize while it runs" not in browse(alice).get(f"/instances/{web.pk}/resize").content


def test_the_page_says_what_becomes_of_the_disks(root: Persona, alice: Persona, cloud: Cloud, web, browse) -> None:
    client, path = browse(root), f"/instances/{web.pk}/evacuate"
    assert "is still in use" in client.get(path).content.decode()
    assert "Evacuate" not in client.get(f"/instances/{web.pk}/").content.decode()
    Host.objects.create(name="spare", uri="fake://spare", state="up", vcpus=8, memory_mb=32_768, disk_gb=500)
    Host.objects.create(name="resting", uri="fake://resting", state="up", enabled=False, vcpus=8, memory_mb=4096)
    mark_down(cloud.host.pk, "gone")
    page = client.get(path).content.decode()
    assert "resting" not in page
    assert "Fence it first" in page and "spare. It is made anew of its image; its disks are lost." in page
    assert client.post(path, {"host": "spare"}).status_code == 400
    confirm_off(root.actor, cloud.host)
    assert path in client.get(f"/instances/{web.pk}/").content.decode()
    assert path not in browse(alice).get(f"/instances/{web.pk}/").content.decode()
    assert browse(alice).get(path).status_code == browse(alice).post(path).status_code == 403
    assert client.post(path, {"host": "nowhere"}).status_code == 400
    assert client.post(path, {"host": "spare"}).status_code == 302
    assert Instance.objects.get().status == "REBUILD"
