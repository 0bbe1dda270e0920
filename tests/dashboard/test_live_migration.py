"""The page where a live migration is asked for, and what the instance's page shows and offers meanwhile."""

from __future__ import annotations

from typing import Any

import pytest

from compute.models import Action, Host, HostState, Instance, Migration, MigrationStatus, Snapshot
from portal.identity.models import Assignment, Role
from tests.conftest import Cloud, Persona

pytestmark = pytest.mark.django_db


@pytest.fixture
def other(cloud: Cloud, web: Instance) -> Host:
    """Another host that is up, which came after the instance."""
    return Host.objects.create(
        name="host-2", uri=f"{cloud.host.uri}-2", state=HostState.UP, vcpus=8, memory_mb=8192, disk_gb=100
    )


@pytest.fixture
def manager(alice: Persona) -> Persona:
    """Alice, who manages her project."""
    Assignment.objects.create(user=alice.user, role=Role.objects.get(name="manager"), project=alice.project)
    return alice


def path(web: Instance) -> str:
    return f"/instances/{web.pk}/live-migrate"


def test_an_administrator_chooses_among_hosts(
    web: Instance, other: Host, root: Persona, browse: Any, drain: Any
) -> None:
    Host.objects.create(name="full", uri="fake://full", state=HostState.UP, vcpus=8, memory_mb=1024, disk_gb=0)
    Host.objects.create(name="gone", uri="fake://gone", state=HostState.DOWN, vcpus=8, memory_mb=8192, disk_gb=100)
    Host.objects.create(
        name="plain", uri="qemu+tcp://192.0.2.1/system", state=HostState.UP, vcpus=8, memory_mb=8192, disk_gb=100
    )
    Host.objects.update(storage_id="one")
    Host.objects.filter(pk=other.pk).update(storage_id="two")
    client = browse(root)
    assert path(web) in client.get(f"/instances/{web.pk}/").content.decode()
    page = client.get(path(web))
    found = {one.host.name: one for one in page.context["outlook"].hosts}
    assert set(found) == {"host-2", "full", "gone", "plain"}
    assert found["host-2"].why_not == "" and not found["host-2"].shared and found["full"].shared
    assert found["full"].why_not and found["gone"].why_not
    assert "of another kind" in found["plain"].why_not
    text = page.content.decode()
    assert "now on host-1" in text and "same storage" in text
    answer = client.post(path(web), {"host": "host-2"})
    assert (answer.status_code, answer["Location"]) == (302, f"/instances/{web.pk}/")
    assert Action.objects.first().params["host"] == "host-2"
    drain()
    web.refresh_from_db()
    assert web.host == other


def test_a_manager_sees_no_hosts(web: Instance, other: Host, manager: Persona, browse: Any, drain: Any) -> None:
    client = browse(manager)
    text = client.get(path(web)).content.decode()
    assert "the best host that has room" in text and "host-1" not in text and "host-2" not in text
    assert client.post(path(web), {"host": "host-2"}).status_code == 403
    assert client.post(path(web), {}).status_code == 302
    drain()
    web.refresh_from_db()
    assert web.host == other


def test_nowhere_to_go(web: Instance, manager: Persona, browse: Any) -> None:
    text = browse(manager).get(path(web)).content.decode()
    assert "No valid host was found" in text and "host-1" not in text


def test_snapshots_stay_with_their_storage(web: Instance, other: Host, root: Persona, browse: Any) -> None:
    Snapshot.objects.create(instance=web, name="before", state="available")
    (found,) = browse(root).get(path(web)).context["outlook"].hosts
    assert "in-place snapshots" in found.why_not


def test_who_may_not(web: Instance, other: Host, alice: Persona, bob: Persona, charlie: Persona, browse: Any) -> None:
    for persona, status in ((alice, 403), (bob, 403), (charlie, 404)):
        client = browse(persona)
        assert client.get(path(web)).status_code == client.post(path(web), {}).status_code == status
        assert client.post(f"/instances/{web.pk}/migrations/1/force").status_code == status
    assert path(web) not in browse(alice).get(f"/instances/{web.pk}/").content.decode()
    assert not Migration.objects.exists()


def test_progress_and_the_two_ways_to_end_it(
    web: Instance, other: Host, root: Persona, manager: Persona, bob: Persona, browse: Any
) -> None:
    client = browse(root)
    client.post(path(web), {})
    migration, action = Migration.objects.get(), Action.objects.first()
    force, abort = (
        f"/instances/{web.pk}/migrations/{migration.pk}/force",
        f"/instances/{web.pk}/cancel/{action.request_id}",
    )
    shown = client.get(f"/instances/{web.pk}/").content.decode()
    assert abort in shown and "Abort" in shown and force not in shown  # nothing is sent yet
    Migration.objects.update(status=MigrationStatus.RUNNING)
    Action.objects.filter(pk=action.pk).update(progress={"percent": 42})
    for persona, offered in ((root, True), (manager, True), (bob, False)):
        shown = browse(persona).get(f"/instances/{web.pk}/").content.decode()
        assert "42 %" in shown and (force in shown) == (abort in shown) == offered
    assert client.post(force)["Location"] == f"/instances/{web.pk}/"
    shown = client.get(f"/instances/{web.pk}/").content.decode()
    assert "42 %" in shown and force not in shown and abort in shown
    assert client.post(abort).status_code == 302
    assert "is being cancelled by root" in client.get(f"/instances/{web.pk}/").content.decode()
