"""Adopting a guest on the pages."""

import uuid

import pytest

from compute.hosts.checks import check_host
from compute.hosts.connections import hypervisor_of
from compute.models import Host, Instance
from portal.identity.actor import SYSTEM
from tests.conftest import Cloud, Persona
from tests.engine.test_adopt import LEGACY

pytestmark = pytest.mark.django_db


@pytest.fixture
def page(cloud: Cloud) -> str:
    """The host's page, with the guest legacy on the host."""
    hypervisor_of(cloud.host).put_foreign(LEGACY)  # type: ignore[attr-defined]  # it is a fake one
    check_host(SYSTEM, cloud.host)
    return f"/cloud/hosts/{cloud.host.pk}/"


def test_a_guest_is_adopted_on_its_form(root: Persona, alice: Persona, cloud: Cloud, page: str, browse, drain) -> None:
    client, path = browse(root), f"{page}guests/{LEGACY.uuid}/adopt"
    shown = client.get(page).content.decode()
    for text in ("Other guests on it", "legacy", "/pool/legacy.qcow2", "52:54:00:12:34:56", path):
        assert text in shown
    form = client.get(path).content.decode()
    assert "That is: /pool/legacy.qcow2." in form and "cannot be resized" in form
    assert client.post(path, {"project_id": "nobody"}).status_code == 400
    Host.objects.update(memory_mb=600, memory_ratio=1.0)
    refused = client.post(path, {"project_id": cloud.demo.id})
    assert refused.status_code == 400 and b"does not fit" in refused.content
    done = client.post(path, {"project_id": cloud.demo.id, "name": "web", "anyway": "on"})
    assert done["Location"] == page
    drain()
    after = client.get(page).content.decode()
    assert "Other guests on it" not in after and ">web</a>" in after
    assert client.get(path).status_code == 404


def test_an_adopted_instance_says_what_it_is_and_what_its_deletion_deletes(
    root: Persona, alice: Persona, cloud: Cloud, page: str, browse, drain
) -> None:
    browse(root).post(f"{page}guests/{LEGACY.uuid}/adopt", {"project_id": cloud.demo.id, "delete_disks": "on"})
    drain()
    path = f"/instances/{LEGACY.uuid}/"
    own = browse(alice).get(path).content.decode()
    for text in ("It keeps the definition and the disks", "none: it was there before", "52:54:00:12:34:56",
                 "the disk that was its alone is deleted; 1 of its disks stay there"):  # fmt: skip
        assert text in own
    for secret in ("/pool/legacy.qcow2", "br0", "host-1"):
        assert secret not in own
    assert 'formaction="/instances/' in own and "Resize" not in own
    assert "kept" not in own
    assert Instance.objects.get().adopted["delete_disks"] == ["/pool/legacy.qcow2"]


def test_what_is_not_there_is_not_found_and_others_may_not(
    root: Persona, alice: Persona, bob: Persona, page: str, browse
) -> None:
    assert browse(root).get(f"{page}guests/{uuid.uuid4()}/adopt").status_code == 404
    for persona in (alice, bob):
        for answer in (
            browse(persona).get(f"{page}guests/{LEGACY.uuid}/adopt"),
            browse(persona).post(f"{page}guests/{LEGACY.uuid}/adopt", {"project_id": persona.project.id}),
        ):
            assert answer.status_code == 403
    assert not Instance.objects.exists()
