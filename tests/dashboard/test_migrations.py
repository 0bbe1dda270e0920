"""The pages of all migrations, for administrators."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from compute.models import Action, Change, Host, HostState, Instance, Migration, MigrationStatus
from compute.operations import held
from tests.conftest import Cloud, Persona

pytestmark = pytest.mark.django_db
LIST = "/cloud/migrations/"


@pytest.fixture
def other(cloud: Cloud, web: Instance) -> Host:
    """Another host that is up, which came after the instance."""
    return Host.objects.create(
        name="host-2", uri=f"{cloud.host.uri}-2", state=HostState.UP, vcpus=8, memory_mb=8192, disk_gb=100
    )


@pytest.fixture
def moved(web: Instance, other: Host, root: Persona, browse: Any, drain: Any) -> Migration:
    """A cold migration that waits to be confirmed."""
    browse(root).post(f"/instances/{web.pk}/migrate", {"host": "host-2"})
    drain()
    return Migration.objects.get()


def named(client: Client, query: str = "") -> list[int]:
    return [one.row.pk for one in client.get(LIST + query).context["rows"]]


def copies(of: Migration, count: int, **fields: Any) -> None:
    given = {
        "instance": of.instance, "source_host": of.source_host, "dest_host": of.dest_host, "old_flavor": of.old_flavor,
        "new_flavor": of.new_flavor, "old_vm_state": "active", "status": "failed", "migration_type": "live-migration",
    }  # fmt: skip
    Migration.objects.bulk_create(Migration(**{**given, **fields}) for _ in range(count))


def test_what_is_listed(moved: Migration, root: Persona, browse: Any) -> None:
    client = browse(root)
    (one,) = client.get(LIST).context["rows"]
    assert (one.kind, one.project, one.by, one.percent) == ("cold migration", "demo", "root", 100)
    assert one.waits and one.ended_at is None
    text = client.get(LIST).content.decode()
    for shown in ("web", "host-1", "host-2", "finished", "to be confirmed"):
        assert shown in text
    assert f'href="{LIST}"' in client.get("/").content.decode()


def test_nothing_yet(root: Persona, browse: Any) -> None:
    assert b"Nothing was moved yet" in browse(root).get(LIST).content


def test_filters_order_and_pages(moved: Migration, root: Persona, browse: Any) -> None:
    client = browse(root)
    copies(moved, 60)
    copies(moved, 1, source_host=Host.objects.create(name="host-3", uri="fake://3"), dest_host=None)
    last = Migration.objects.first()
    assert last is not None
    for query, count in (
        ("", 50), ("?page=2", 12), ("?status=finished", 1), ("?status=under+way", 1), ("?status=nonsense", 50),
        ("?kind=migration", 1), ("?kind=live-migration&page=2", 11), ("?host=host-3", 1), ("?host=nowhere", 0),
        ("?q=WE", 50), (f"?q={moved.instance_id}&status=finished", 1), ("?q=other", 0), ("?q=%25", 0),
    ):  # fmt: skip
        assert (query, len(named(client, query))) == (query, count)
    assert named(client)[0] == last.pk and named(client, "?sort=started")[0] == moved.pk
    assert b"No migration matches" in client.get(LIST + "?q=other").content
    assert client.get(LIST + "?q=%00").status_code == 404


def test_a_list_asks_a_fixed_number_of_queries(
    moved: Migration, root: Persona, browse: Any, django_assert_num_queries: Any
) -> None:
    client = browse(root)
    client.get(LIST)
    with django_assert_num_queries(9):
        client.get(LIST)
    copies(moved, 30)
    with django_assert_num_queries(9):
        client.get(LIST)


def test_a_live_one_under_way(web: Instance, other: Host, root: Persona, browse: Any, cloud: Cloud) -> None:
    client = browse(root)
    client.post(f"/instances/{web.pk}/live-migrate", {})
    migration, action = Migration.objects.get(), Action.objects.first()
    assert action is not None
    page = f"{LIST}{migration.pk}/"
    force = f"/instances/{web.pk}/migrations/{migration.pk}/force"
    abort = f"/instances/{web.pk}/cancel/{action.request_id}"
    text = client.get(page).content.decode()
    assert "not chosen yet" in text and abort in text and force not in text
    stats = {
        f"{what}_{how}_bytes": amount << 20
        for what in ("memory", "disk")
        for how, amount in (("total", 512), ("remaining", 384), ("processed", 200))
    }
    Migration.objects.update(status=MigrationStatus.RUNNING, dest_host=other, stats=stats)
    Action.objects.filter(pk=action.pk).update(progress={"percent": 42})
    text = client.get(page).content.decode()
    for shown in ("42 %", "128 MiB of 512 MiB", "200 MiB sent, 384 MiB left", force, f"/actions#action-{action.pk}"):
        assert shown in text
    for host in (cloud.host, other):
        (one,) = client.get(f"/cloud/hosts/{host.pk}/").context["moving"]
        assert (one.row, one.percent) == (migration, 42)
    client.post(force)
    text = client.get(page).content.decode()
    assert force not in text and "being brought to its end" in text
    client.post(abort)
    assert "It is being aborted by root" in client.get(page).content.decode()


def test_its_end(moved: Migration, root: Persona, browse: Any, drain: Any) -> None:
    client, page = browse(root), f"{LIST}{moved.pk}/"
    text = client.get(page).content.decode()
    assert "Confirm migration" in text and "Revert migration" in text
    client.post(f"/instances/{moved.instance_id}/act/revertResize")
    drain()
    (one,) = client.get(LIST).context["rows"]
    assert (one.row.status, one.percent) == ("reverted", None) and one.ended_at is not None
    text = client.get(page).content.decode()
    assert "Ended" in text and "It was taken back." in text and "Confirm migration" not in text
    assert not client.get(f"/cloud/hosts/{moved.source_host_id}/").context["moving"]


def test_one_that_failed_says_why(web: Instance, root: Persona, browse: Any, drain: Any) -> None:
    client = browse(root)
    client.post(f"/instances/{web.pk}/live-migrate", {})
    drain()
    (one,) = client.get(LIST).context["rows"]
    assert one.is_bad and one.message
    for page in (LIST, f"{LIST}{one.row.pk}/"):
        assert "No valid host" in client.get(page).content.decode()


def test_of_an_instance_that_is_deleted(moved: Migration, cloud: Cloud, root: Persona, browse: Any, drain: Any) -> None:
    client = browse(root)
    client.post(f"/instances/{moved.instance_id}/act/delete")
    drain()
    text = client.get(f"{LIST}{moved.pk}/").content.decode()
    assert "(deleted)" in text and f"/instances/{moved.instance_id}/" not in text
    cloud.demo.delete()
    assert "a project that is gone" in client.get(LIST).content.decode()


def test_for_administrators_alone(
    moved: Migration, alice: Persona, bob: Persona, charlie: Persona, anyone: Persona, browse: Any
) -> None:
    for path in (LIST, f"{LIST}{moved.pk}/"):
        for persona in (alice, bob, charlie):
            answer = browse(persona).get(path)
            assert answer.status_code == 403 and b"host-1" not in answer.content
        assert anyone.client.get(path).status_code == 302
    assert LIST not in browse(alice).get("/").content.decode()


@pytest.mark.parametrize("number", ["999", "9" * 30])
def test_one_that_is_not_there(root: Persona, browse: Any, number: str) -> None:
    assert browse(root).get(f"{LIST}{number}/").status_code == 404


def test_a_new_status_is_told_to_the_pages(moved: Migration) -> None:
    Change.objects.all().delete()
    held.set_status(moved, MigrationStatus.REVERTING)
    assert list(Change.objects.values_list("kind", "object_id")) == [("server", str(moved.instance_id))]
    held.close(moved, MigrationStatus.REVERTED)
    held.set_status(moved, MigrationStatus.FINISHED)
    assert Change.objects.filter(kind="server").count() == 1
    assert Migration.objects.get().status == "reverted"
