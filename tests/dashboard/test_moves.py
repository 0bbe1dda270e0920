"""The pages where a migration is asked for, and what the instance's page shows and offers meanwhile."""

from __future__ import annotations

from typing import Any

import pytest

from compute.models import Action, Aggregate, Flavor, Host, HostState, Instance, Migration, MigrationStatus, Snapshot
from portal.identity.models import Assignment, Role
from tests.conftest import Cloud, Persona
from tests.dashboard.conftest import FRAGMENT

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
    Aggregate.objects.create(name="dense", metadata={"cpu_allocation_ratio": "3"}).hosts.add(other)
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
    assert found["host-2"].host.vcpu_capacity == other.vcpus * 3 and f"of {other.vcpus * 3}<" in text
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
    Migration.objects.update(forced=False)
    shown = client.get(f"/instances/{web.pk}/").content.decode()
    assert "is being aborted by root" in shown and force not in shown and abort not in shown


def test_a_cold_migration_is_chosen_and_confirmed(
    web: Instance, other: Host, root: Persona, browse: Any, drain: Any
) -> None:
    Host.objects.create(name="full", uri="fake://full", state=HostState.UP, vcpus=8, memory_mb=1024, disk_gb=0)
    client, cold = browse(root), f"/instances/{web.pk}/migrate"
    assert f'href="{cold}"' in client.get(f"/instances/{web.pk}/").content.decode()
    page = client.get(cold)
    found = {one.host.name: one for one in page.context["outlook"].hosts}
    assert found["host-2"].why_not == "" and found["full"].why_not
    assert "The best host" in page.content.decode() and "It is shut down" in page.content.decode()
    for wrong in ("host-1", "nowhere", "full"):
        refused = client.post(cold, {"host": wrong})
        if refused.status_code == 302:  # one without room is the scheduler's to refuse
            drain()
            assert Action.objects.first().state == "error"
        else:
            assert refused.status_code == 400 and refused.context["form"].errors
    assert client.post(cold, {"host": "host-2"})["Location"] == f"/instances/{web.pk}/"
    drain()
    web.refresh_from_db()
    assert (web.host, web.status) == (other, "VERIFY_RESIZE")
    shown = client.get(f"/instances/{web.pk}/").content.decode()
    assert "It was brought to another host." in shown
    assert "Confirm migration" in shown and "Revert migration" in shown and "Confirm resize" not in shown
    told = client.post(f"/instances/{web.pk}/act/confirmResize", headers=FRAGMENT).json()["messages"]
    assert told[0]["text"] == "Confirm migration: web"
    drain()
    web.refresh_from_db()
    assert (web.host, web.status) == (other, "ACTIVE")
    log = client.get(f"/instances/{web.pk}/actions").content.decode()
    assert "<strong>Confirm migration</strong>" in log and "Confirm resize" not in log


def test_a_resize_is_called_one(
    web: Instance, cloud: Cloud, alice: Persona, browse: Any, drain: Any, django_assert_max_num_queries: Any
) -> None:
    Flavor.objects.create(id="84", name="larger", vcpus=1, memory_mb=256, disk_gb=2)
    client = browse(alice)
    client.post(f"/instances/{web.pk}/resize", {"flavor": "84"})
    drain()
    shown = client.get(f"/instances/{web.pk}/").content.decode()
    assert "Confirm resize" in shown and "Confirm migration" not in shown and "It has its new flavor." in shown
    with django_assert_max_num_queries(11):
        assert "Confirm resize" in client.get("/instances/").content.decode()


def test_a_manager_migrates_and_sees_no_hosts(
    web: Instance, other: Host, manager: Persona, browse: Any, drain: Any
) -> None:
    client, cold = browse(manager), f"/instances/{web.pk}/migrate"
    text = client.get(cold).content.decode()
    assert "the best host that has room" in text and "host-1" not in text and "host-2" not in text
    assert client.post(cold, {"host": "host-2"}).status_code == 403
    assert client.post(cold, {}).status_code == 302
    drain()
    assert "Revert migration" in client.get(f"/instances/{web.pk}/").content.decode()


def test_who_may_not_migrate(
    web: Instance, other: Host, alice: Persona, bob: Persona, charlie: Persona, anyone: Persona, browse: Any
) -> None:
    cold = f"/instances/{web.pk}/migrate"
    for persona, status in ((alice, 403), (bob, 403), (charlie, 404)):
        client = browse(persona)
        assert client.get(cold).status_code == client.post(cold, {}).status_code == status
    assert anyone.client.get(cold).status_code == anyone.client.post(cold).status_code == 302
    assert cold not in browse(alice).get(f"/instances/{web.pk}/").content.decode()
    assert not Migration.objects.exists()


def test_a_cold_migration_that_cannot_be_is_refused_on_its_page(web: Instance, root: Persona, browse: Any) -> None:
    Instance.objects.update(vm_state="paused")
    answer = browse(root).get(f"/instances/{web.pk}/migrate")
    assert answer.status_code == 200 and b"vm_state paused" in answer.content
    assert browse(root).post(f"/instances/{web.pk}/migrate", {}).status_code == 400
