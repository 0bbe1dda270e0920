"""The pages of a flavor: shown to who may use it, changed by administrators."""

from __future__ import annotations

from typing import Any

import pytest

from compute.models import Flavor, FlavorAccess
from tests.conftest import Cloud, Persona

pytestmark = pytest.mark.django_db


@pytest.fixture
def private(cloud: Cloud) -> Flavor:
    return Flavor.objects.create(
        id="p 1", name="private", vcpus=1, memory_mb=64, swap_mb=16, ephemeral_gb=2, is_public=False
    )


def test_it_is_shown_whole(cloud: Cloud, private: Flavor, alice: Persona, charlie: Persona, root: Persona, browse: Any):
    private.extra_specs = {"hw:cpu_policy": "shared"}
    private.save()
    path = "/flavors/p%201/"
    FlavorAccess.objects.create(flavor=private, project=cloud.demo)
    page = browse(alice).get(path).content.decode()
    assert "hw:cpu_policy" in page and "16 MiB" in page and "2 GiB" in page and "RX/TX" in page
    assert "Projects that may use it" not in page and "/specs/set" not in page and "/describe" not in page
    assert browse(charlie).get(path).status_code == 404
    admins = browse(root).get(path).content.decode()
    assert "Projects that may use it" in admins and "demo" in admins
    assert 'href="/flavors/p%201/"' in browse(root).get("/flavors/").content.decode()


def test_a_flavor_is_made_with_all_its_disks(cloud: Cloud, root: Persona, browse: Any) -> None:
    client = browse(root)
    given = {
        "name": "big", "flavor_id": "b1", "vcpus": 2, "memory_mb": 64, "disk_gb": 3, "ephemeral_gb": 1, "swap_mb": 8,
        "rxtx_factor": 2.5, "description": "",
    }  # fmt: skip
    for wrong in ({"flavor_id": "create"}, {"flavor_id": "a/b"}, {"swap_mb": -1}, {"rxtx_factor": 0}, {"vcpus": "x"}):
        assert client.post("/flavors/create", {**given, **wrong}).status_code == 400, wrong
    assert client.post("/flavors/create", given)["Location"] == "/flavors/b1/"
    made = Flavor.objects.get(pk="b1")
    assert (made.ephemeral_gb, made.swap_mb, made.rxtx_factor, made.is_public, made.description) == (
        1, 8, 2.5, False, None,
    )  # fmt: skip


def test_its_description_changes(cloud: Cloud, root: Persona, browse: Any) -> None:
    client = browse(root)
    assert client.post("/flavors/42/describe", {"description": "small <b>"}).status_code == 302
    assert Flavor.objects.get(pk="42").description == "small <b>"
    client.post("/flavors/42/describe", {"description": ""})
    assert Flavor.objects.get(pk="42").description is None


def test_extra_specs_are_set_and_removed(cloud: Cloud, root: Persona, browse: Any) -> None:
    client, path = browse(root), "/flavors/42/specs/"
    assert client.post(path + "set", {"key": "nacelle:max_vcpus", "value": "4"}).status_code == 302
    assert client.post(path + "set", {"key": "my own", "value": "x"}).status_code == 302
    for key, value, said in (
        ("nacelle:max_vcpus", "many", "at least 1"),
        ("hw:cpu_policy", "x", "one of dedicated, shared, mixed"),
        ("hw:none", "x", "does not appear to be a valid extra spec"),
        ("a/b", "x", "Letters, digits"),
        ("my own", "", "Give it a value"),
    ):
        answer = client.post(path + "set", {"key": key, "value": value})
        assert answer.status_code == 400 and said in answer.content.decode(), key
    assert Flavor.objects.get(pk="42").extra_specs == {"nacelle:max_vcpus": "4", "my own": "x"}
    client.post(path + "remove?key=my%20own")
    client.post(path + "remove?key=none")
    assert Flavor.objects.get(pk="42").extra_specs == {"nacelle:max_vcpus": "4"}


def test_access_is_given_and_taken(cloud: Cloud, private: Flavor, root: Persona, browse: Any) -> None:
    client, path = browse(root), "/flavors/p%201/access/"
    assert client.post(path + "give", {"project": cloud.other.pk}).status_code == 302
    assert [one.project_id for one in private.access.all()] == [cloud.other.pk]
    for project in (cloud.other.pk, "none", ""):
        assert client.post(path + "give", {"project": project}).status_code == 400
    client.post(f"{path}{cloud.other.pk}/take")
    assert client.post(f"{path}{cloud.other.pk}/take").status_code == 302
    assert not private.access.exists()


def test_others_change_nothing(cloud: Cloud, private: Flavor, alice: Persona, browse: Any) -> None:
    FlavorAccess.objects.create(flavor=private, project=cloud.demo)
    client = browse(alice)
    for path in ("describe", "specs/set", "specs/remove", "access/give", f"access/{cloud.demo.pk}/take", "delete"):
        assert client.post(f"/flavors/p%201/{path}", {"project": cloud.other.pk}).status_code == 403, path
    assert private.access.count() == 1 and Flavor.objects.filter(pk="p 1").exists()


def test_an_address_with_nul_asks_the_database_nothing(
    cloud: Cloud, alice: Persona, browse: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def as_postgresql_does(*_: Any) -> None:
        raise ValueError("A string literal cannot contain NUL (0x00) characters.")

    monkeypatch.setattr("portal.dashboard.views.flavors._flavor", as_postgresql_does)
    assert browse(alice).get("/flavors/a%00b/").status_code == 404
