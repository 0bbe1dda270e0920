"""The capacity page, and the dry run of the launch form."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.test import Client

from compute.models import Flavor, GroupPolicy, Host, Instance, ServerGroup
from tests.conftest import Cloud, Persona
from tests.dashboard.conftest import FRAGMENT

pytestmark = pytest.mark.django_db
CAPACITY, DRY_RUN = "/cloud/capacity/", "/instances/launch/dry-run"


def ask(client: Client, **chosen: Any) -> Any:
    return client.get(DRY_RUN, chosen, headers=FRAGMENT)


def text(answer: Any) -> str:
    return " ".join(answer.content.decode().split())


def test_the_page_shows_room_by_zone_and_the_hosts_fill(root: Persona, far: Host, browse: Any) -> None:
    Host.objects.filter(pk=far.pk).update(enabled=False)
    answer = browse(root).get(CAPACITY)
    rooms = {room.flavor.name: by_zone for room, by_zone in answer.context["rooms"]}
    assert (answer.context["zones"], rooms["m1.nano"]) == (["far", "nova"], [0, 128])
    page = text(answer)
    assert 'data-label="nova" class="number right">128</td>' in page
    assert "ratio 16" in page
    assert '<span class="status warn">disabled</span>' in page


def test_the_page_without_hosts_and_without_flavors(root: Persona, cloud: Cloud, browse: Any) -> None:
    Flavor.objects.all().delete()
    assert "Room is counted in flavors" in text(browse(root).get(CAPACITY))
    Host.objects.all().delete()
    assert "Add the first host" in text(browse(root).get(CAPACITY))


def test_the_page_is_the_administrators(alice: Persona, bob: Persona, charlie: Persona, browse: Any) -> None:
    for persona in (alice, bob, charlie):
        assert browse(persona).get(CAPACITY).status_code == 403
    assert Client().get(CAPACITY)["Location"].startswith("/login")


def test_the_page_costs_few_queries(root: Persona, far: Host, browse: Any, django_assert_num_queries: Any) -> None:
    for number in range(20):
        Host.objects.create(name=f"more-{number}", uri=f"fake://more-{number}", vcpus=1, memory_mb=1024, disk_gb=9)
        Flavor.objects.create(id=f"f-{number}", name=f"f-{number}", vcpus=1, memory_mb=64 + number)
    client = browse(root)
    client.get(CAPACITY)
    with django_assert_num_queries(14):
        client.get(CAPACITY)


def test_a_member_sees_numbers_and_no_host(alice: Persona, bob: Persona, far: Host, cloud: Cloud, browse: Any) -> None:
    for persona in (alice, bob):
        answer = ask(browse(persona), flavor=cloud.nano.id, image=str(cloud.image.id), count="1")
        page = text(answer)
        assert answer.status_code == 200
        assert "There is room" in page
        assert '<strong class="number">130</strong> of this flavor fit now, the quota leaves' in page
        assert '<dt>far</dt><dd class="number">2</dd>' in page
        assert "host-" not in page
    assert not Instance.objects.exists()


def test_an_administrator_sees_the_best_hosts_and_who_refused(
    root: Persona, far: Host, cloud: Cloud, browse: Any
) -> None:
    client = browse(root)
    assert "<dt>Best host</dt><dd>host-1 " in text(ask(client, flavor=cloud.nano.id))
    page = text(ask(client, flavor=cloud.nano.id, zone="far", count="3"))
    assert "Not enough room" in page
    assert "<strong>host-1</strong> is in zone nova" in page


def test_what_was_short_is_said(alice: Persona, cloud: Cloud, browse: Any) -> None:
    Host.objects.update(vcpus_used=128)
    page = text(ask(browse(alice), flavor=cloud.nano.id))
    assert "No room" in page
    assert "a host wants 1 vCPUs, 0 of 128 free" in page


def test_the_group_and_the_neighbours_count(alice: Persona, far: Host, cloud: Cloud, browse: Any) -> None:
    group = ServerGroup.objects.create(name="apart", project=cloud.demo, policy=GroupPolicy.ANTI_AFFINITY)
    page = text(ask(browse(alice), flavor=cloud.nano.id, server_group=str(group.id), count="3"))
    assert '<strong class="number">2</strong> of this flavor fit now' in page
    page = text(ask(browse(alice), flavor=cloud.nano.id, different_host=[str(uuid.uuid4())]))
    assert "There is room" in page


@pytest.mark.parametrize(
    ("chosen", "status", "said"),
    [
        ({}, 400, "Choose a flavor."),
        ({"flavor": "none"}, 200, "Flavor none could not be found."),
        ({"flavor": "42", "zone": "none"}, 200, "availability zone is not available"),
        ({"flavor": "42", "count": "0"}, 400, "Choose"),
        ({"flavor": "42", "server_group": "x"}, 400, "Choose"),
        ({"flavor": "42", "image": "x"}, 200, "Can not find requested image x."),
        ({"flavor": "42", "host": "host-1"}, 403, ""),
    ],
)
def test_choices_that_make_no_sense(
    alice: Persona, browse: Any, chosen: dict[str, str], status: int, said: str
) -> None:
    answer = ask(browse(alice), **chosen)
    assert (answer.status_code, said in text(answer)) == (status, True)


def test_strangers_flavors_are_not_there(charlie: Persona, cloud: Cloud, browse: Any) -> None:
    Flavor.objects.create(id="private", name="private", vcpus=1, memory_mb=64, is_public=False)
    assert "could not be found" in text(ask(browse(charlie), flavor="private"))
    assert ask(Client(), flavor=cloud.nano.id).status_code == 401


def test_the_form_has_a_place_for_it(alice: Persona, cloud: Cloud, browse: Any) -> None:
    assert f'data-outlook="{DRY_RUN}"' in text(browse(alice).get("/instances/launch"))
