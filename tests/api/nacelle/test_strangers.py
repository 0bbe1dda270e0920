"""/nacelle/v1/hosts/{id}/guests."""

import uuid

import pytest

from compute.hosts.checks import check_host
from compute.hypervisor.drivers import open_hypervisor
from compute.models import Instance
from portal.identity.actor import SYSTEM
from tests.engine.test_adopt import LEGACY


@pytest.fixture
def guests(cloud):
    """The path, with the guest legacy on the host."""
    open_hypervisor(cloud.host.uri).put_foreign(LEGACY)
    return f"/nacelle/v1/hosts/{cloud.host.uuid}/guests"


def test_guests_are_listed_as_the_last_check_saw_them(cloud, root, guests):
    assert root.get(guests).json() == {"guests": [], "seen_at": None}
    check_host(SYSTEM, cloud.host)
    answer = root.get(guests).json()
    assert answer["seen_at"].endswith("Z")  # as all moments are written
    (legacy,) = answer["guests"]
    assert (legacy["id"], legacy["name"], legacy["vcpus"], legacy["memory_mb"]) == (str(LEGACY.uuid), "legacy", 2, 512)
    assert legacy["disks"][0]["source"] == "/pool/legacy.qcow2"
    assert legacy["cards"][0]["mac"] == "52:54:00:12:34:56"
    assert legacy["objections"] == []
    assert root.get(f"/nacelle/v1/hosts/{uuid.uuid4()}/guests").status_code == 404


def test_a_guest_is_adopted(cloud, root, alice, guests, drain):
    check_host(SYSTEM, cloud.host)
    path = f"{guests}/{LEGACY.uuid}/adopt"
    for body in ({}, {"project_id": "nobody"}, {"project_id": 7}, {"project_id": cloud.demo.id, "colour": "red"}):
        assert root.post(path, body).status_code == 400, body
    done = root.post(path, {"project_id": cloud.demo.id, "name": "web", "delete_disks": True})
    assert done.status_code == 202, done.content
    assert done.json() == {"server": {"id": str(LEGACY.uuid), "name": "web"}}
    drain()
    assert root.get(guests).json()["guests"] == []
    assert alice.get(f"/compute/v2.1/servers/{LEGACY.uuid}").json()["server"]["status"] == "ACTIVE"
    assert root.post(path, {"project_id": cloud.demo.id}).status_code == 409
    assert root.post(f"{guests}/{uuid.uuid4()}/adopt", {"project_id": cloud.demo.id}).status_code == 404


def test_nobody_else_sees_or_adopts_guests(cloud, alice, bob, charlie, anyone, guests):
    check_host(SYSTEM, cloud.host)
    for persona, status in ((alice, 403), (bob, 403), (charlie, 403), (anyone, 401)):
        assert persona.get(guests).status_code == status
        assert persona.post(f"{guests}/{LEGACY.uuid}/adopt", {"project_id": cloud.demo.id}).status_code == status
    assert not Instance.objects.exists()


def test_what_it_was_on_its_host_is_for_administrators_alone(cloud, root, alice, guests, drain):
    root.post(f"{guests}/{LEGACY.uuid}/adopt", {"project_id": cloud.demo.id})
    drain()
    for path in ("/compute/v2.1/servers/detail", f"/compute/v2.1/servers/{LEGACY.uuid}"):
        shown = alice.get(path, headers={"OpenStack-API-Version": "compute 2.96"}).content
        assert b"/pool/" not in shown and b"br0" not in shown and b"host-1" not in shown
