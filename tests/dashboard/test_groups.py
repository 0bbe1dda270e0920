"""The pages of aggregates and server groups, and the choice of a place in the launch form."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from compute.aggregates import add_host, create_aggregate
from compute.models import Aggregate, Host, Instance, QuotaLimit, ServerGroup
from compute.server_groups import create_group
from tests.conftest import Cloud, Persona

pytestmark = pytest.mark.django_db

AGGREGATES = "/cloud/aggregates/"
GROUPS = "/server-groups/"
FRAGMENT = {"X-Fragment": "1"}


@pytest.fixture
def rack(cloud: Cloud, root: Persona) -> Aggregate:
    """An aggregate that is the zone east, with the one host."""
    made = create_aggregate(root.actor, name="rack", zone="east")
    add_host(root.actor, made, host="host-1")
    return made


@pytest.fixture
def group(alice: Persona) -> ServerGroup:
    """A group of alice's."""
    return create_group(alice.actor, name="web", policy="anti-affinity", max_server_per_host=2)


def test_aggregates_and_zones_are_listed(root: Persona, rack: Aggregate, browse: Any, launch: Any, drain: Any) -> None:
    launch(root)
    drain()
    answer = browse(root).get(AGGREGATES)
    page = answer.content.decode()
    assert f'href="{AGGREGATES}{rack.pk}/"' in page and "host-1" in page
    assert answer.context["zones"] == [{"zone": "east", "all": 1, "taking": 1, "instances": 1}]


def test_the_list_costs_the_same_however_long(
    root: Persona, rack: Aggregate, browse: Any, django_assert_num_queries: Any
) -> None:
    client = browse(root)
    client.get(AGGREGATES)
    with django_assert_num_queries(8):
        client.get(AGGREGATES)
    for number in range(3):
        add_host(root.actor, create_aggregate(root.actor, name=f"ssd-{number}"), host="host-1")
    with django_assert_num_queries(8):
        client.get(AGGREGATES)


def test_an_aggregate_is_made_changed_and_deleted(cloud: Cloud, root: Persona, browse: Any) -> None:
    client = browse(root)
    made = client.post(f"{AGGREGATES}create", {"name": "rack", "zone": "east"})
    path = f"{AGGREGATES}{Aggregate.objects.get().pk}/"
    assert made["Location"] == path
    assert client.post(f"{path}hosts/add", {"host": "host-1"})["Location"] == path
    assert Host.objects.get().zone == "east"
    client.post(f"{path}edit", {"name": "row", "zone": "west"})
    assert (Aggregate.objects.get().name, Host.objects.get().zone) == ("row", "west")
    client.post(f"{path}metadata", {"key": "ssd", "value": "true"})
    assert Aggregate.objects.get().metadata == {"availability_zone": "west", "ssd": "true"}
    page = client.get(path).content.decode()
    assert "ssd" in page and "host-1" in page and "west" in page
    client.post(f"{path}metadata/remove", {"key": "ssd"})
    client.post(f"{path}delete")
    assert Aggregate.objects.get().metadata == {"availability_zone": "west"}
    assert "not empty" in client.get(path).content.decode()
    assert client.post(f"{path}hosts/remove", {"host": "host-1"}, headers=FRAGMENT).json() == {"go": path}
    assert client.post(f"{path}delete", headers=FRAGMENT).json() == {"go": AGGREGATES}
    assert not Aggregate.objects.exists() and Host.objects.get().zone == "nova"


def test_bad_aggregates_are_said_at_their_field(root: Persona, rack: Aggregate, browse: Any) -> None:
    client, path = browse(root), f"{AGGREGATES}{rack.pk}/"
    for given, field, words in (
        ({"name": ""}, "name", "Give the aggregate a name."),
        ({"name": "rack"}, "name", "already exists"),
        ({"name": "r", "zone": "a:b"}, "zone", "no colon"),
        ({"name": "r", "zone": "a\nb\x07"}, "zone", "printable"),
    ):
        answer = client.post(f"{AGGREGATES}create", given)
        assert answer.status_code == 400 and words in " ".join(answer.context["form"].errors[field])
    for given, words in (({"key": "a/b"}, "Letters"), ({"key": "availability_zone"}, "changed by Edit")):
        answer = client.post(f"{path}metadata", given)
        assert answer.status_code == 400 and words in answer.content.decode()
    client.post(f"{path}hosts/add", {"host": "host-9"})
    assert "Compute host host-9 could not be found." in client.get(path).content.decode()
    assert client.get(f"{AGGREGATES}999/").status_code == 404
    assert Aggregate.objects.count() == 1


def test_a_zone_stays_under_instances(root: Persona, rack: Aggregate, browse: Any, launch: Any, drain: Any) -> None:
    launch(root)
    drain()
    answer = browse(root).post(f"{AGGREGATES}{rack.pk}/edit", {"name": "rack", "zone": "west"})
    assert answer.status_code == 400 and "has instances" in " ".join(answer.context["form"].errors["zone"])
    assert browse(root).post(f"{AGGREGATES}{rack.pk}/edit", {"name": "row", "zone": "east"}).status_code == 302
    assert Host.objects.get().zone == "east"


def test_groups_are_made_listed_and_deleted(cloud: Cloud, alice: Persona, browse: Any, launch: Any) -> None:
    client = browse(alice)
    client.post(f"{GROUPS}add", {"name": "web", "policy": "anti-affinity", "max_server_per_host": "2"})
    group = ServerGroup.objects.get()
    assert (group.project_id, group.policy, group.max_server_per_host) == (cloud.demo.id, "anti-affinity", 2)
    instance = launch(alice, "front", scheduler_hints={"group": str(group.pk)})
    assert "at most 2 on a host" in client.get(GROUPS).content.decode()
    page = client.get(f"{GROUPS}{group.pk}/").content.decode()
    assert "front" in page and f"server_group={group.pk}" in page
    assert f"{GROUPS}{group.pk}/" in client.get(f"/instances/{instance.pk}/").content.decode()
    assert client.post(f"{GROUPS}{group.pk}/delete", headers=FRAGMENT).json() == {"go": GROUPS}
    assert not ServerGroup.objects.exists() and Instance.objects.get().server_group is None


def test_bad_groups(cloud: Cloud, alice: Persona, browse: Any) -> None:
    client = browse(alice)
    QuotaLimit.objects.create(project=cloud.demo, resource="server_groups", limit=0)
    for given, field, words in (
        ({"name": "", "policy": "affinity"}, "name", "Give the group a name."),
        ({"name": "web", "policy": "storage"}, "policy", "not one of the available choices"),
        (
            {"name": "web", "policy": "affinity", "max_server_per_host": "2"},
            "max_server_per_host",
            "Only anti-affinity",
        ),
        ({"name": "web", "policy": "anti-affinity", "max_server_per_host": "0"}, "max_server_per_host", "greater"),
        ({"name": "web", "policy": "affinity"}, "__all__", "too many server groups"),
    ):
        answer = client.post(f"{GROUPS}add", given)
        assert answer.status_code == 400 and words in " ".join(answer.context["form"].errors[field]), given
        assert words in answer.content.decode()
    assert not ServerGroup.objects.exists()


def test_groups_are_the_projects(
    group: ServerGroup, bob: Persona, charlie: Persona, root: Persona, browse: Any
) -> None:
    path = f"{GROUPS}{group.pk}/"
    for stranger in (charlie, root):
        assert str(group.pk) not in browse(stranger).get(GROUPS).content.decode()
    client = browse(charlie)
    assert (client.get(path).status_code, client.post(f"{path}delete").status_code) == (404, 404)
    assert browse(root).get(path).status_code == 200  # from an instance of another project
    reader = browse(bob)
    page = reader.get(path).content.decode()
    assert "web" in page and "Delete" not in page and "Launch into it" not in page
    assert "Create a server group" not in reader.get(GROUPS).content.decode()
    assert reader.post(f"{path}delete").status_code == 403
    assert reader.post(f"{GROUPS}add", {"name": "x", "policy": "affinity"}).status_code == 403
    assert ServerGroup.objects.get() == group


def test_the_groups_cost_the_same_however_many(
    alice: Persona, group: ServerGroup, browse: Any, django_assert_num_queries: Any
) -> None:
    client = browse(alice)
    client.get(GROUPS)
    with django_assert_num_queries(6):
        client.get(GROUPS)
    for _ in range(3):
        create_group(alice.actor, name="more", policy="affinity")
    with django_assert_num_queries(6):
        client.get(GROUPS)


def form_of(cloud: Cloud, **more: Any) -> dict[str, Any]:
    """The launch form as one would send it."""
    return {"name": "web", "count": "1", "image": str(cloud.image.id), "flavor": cloud.nano.id, **more}


def test_the_launch_form_takes_a_group_and_neighbours(
    cloud: Cloud, alice: Persona, group: ServerGroup, browse: Any, launch: Any, drain: Any
) -> None:
    first = launch(alice, "first")
    drain()
    client = browse(alice)
    page = client.get(f"/instances/launch?server_group={group.pk}").content.decode()
    assert f'<option value="{group.pk}" selected>web (anti-affinity)</option>' in page
    assert 'name="host"' not in page
    chosen = {"server_group": str(group.pk), "same_host": str(first.pk), "different_host": [str(first.pk)]}
    assert client.post("/instances/launch", form_of(cloud, **chosen)).status_code == 302
    made = Instance.objects.get(name="web")
    assert made.server_group == group
    assert made.scheduler_hints == {
        "group": str(group.pk),
        "same_host": str(first.pk),
        "different_host": [str(first.pk)],
    }


def test_the_launch_form_offers_what_is_the_projects(
    cloud: Cloud, alice: Persona, charlie: Persona, group: ServerGroup, browse: Any, launch: Any, drain: Any
) -> None:
    first = launch(alice, "first")
    drain()
    client = browse(charlie)
    page = client.get("/instances/launch").content.decode()
    assert str(group.pk) not in page and str(first.pk) not in page
    for name, value in (("server_group", group.pk), ("same_host", first.pk), ("host", "host-1"), ("zone", "east")):
        answer = client.post("/instances/launch", form_of(cloud, **{name: str(value)}))
        assert answer.status_code == 400 and name in answer.context["form"].errors
    assert Instance.objects.count() == 1


def test_an_administrator_chooses_the_host(cloud: Cloud, root: Persona, browse: Any) -> None:
    Host.objects.create(name="host-2", uri=f"fake://{uuid.uuid4()}", state="up")
    client = browse(root)
    assert 'name="host"' in client.get("/instances/launch").content.decode()
    client.post("/instances/launch", form_of(cloud, name="asked", host="host-2"))
    client.post("/instances/launch", form_of(cloud, name="forced", host="host-2", forced="on"))
    client.post("/instances/launch", form_of(cloud, name="any", forced="on"))
    rows = dict(Instance.objects.values_list("name", "host_forced"))
    assert rows == {"asked": False, "forced": True, "any": False}


def test_an_image_is_brought_to_an_aggregate(cloud: Cloud, root: Persona, rack: Aggregate, browse: Any) -> None:
    client, path = browse(root), f"{AGGREGATES}{rack.pk}/"
    client.post(f"{path}images", {"image": str(cloud.image.id)})
    assert "tiny is on its way" in client.get(path).content.decode()
    client.post(f"{path}images", {"image": "x"})
    assert "Choose an image." in client.get(path).content.decode()


def test_a_hosts_page_names_its_aggregates(cloud: Cloud, root: Persona, rack: Aggregate, browse: Any) -> None:
    page = browse(root).get(f"/cloud/hosts/{cloud.host.pk}/").content.decode()
    assert f'<a class="link" href="{AGGREGATES}{rack.pk}/">rack</a>' in page and "<dd>east</dd>" in page
