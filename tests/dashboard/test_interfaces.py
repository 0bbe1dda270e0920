"""The network cards and security groups of an instance, on its pages."""

from __future__ import annotations

import pytest

from compute.models import Action, Instance, Port, SecurityGroup
from compute.networks import groups, ports
from compute.networks.ports import PortRequest
from tests.conftest import Cloud, Persona
from tests.dashboard.conftest import FRAGMENT

pytestmark = pytest.mark.django_db


def text_of(client, web: Instance) -> str:
    return client.get(f"/instances/{web.pk}/").content.decode()


def test_a_card_is_attached_shown_and_detached(web: Instance, backstage, alice: Persona, browse, drain) -> None:
    client, path = browse(alice), f"/instances/{web.pk}/attach"
    assert f'href="{path}"' in text_of(client, web)
    form = client.get(path).content.decode()
    assert "backstage" in form and "10.99.0.0/24" in form
    answer = client.post(path, {"what": f"network:{backstage.pk}", "address": "10.99.0.5", "tag": "back"})
    assert (answer.status_code, answer["Location"]) == (302, f"/instances/{web.pk}/")
    port = web.ports.get(network=backstage)
    assert "being attached" in text_of(client, web)
    drain()
    text = text_of(client, web)
    assert "10.99.0.5" in text and "back" in text and "being attached" not in text
    detach = f"/instances/{web.pk}/detach/{port.pk}"
    assert f'formaction="{detach}"' in text
    assert client.get(detach).status_code == 405
    told = client.post(detach, headers=FRAGMENT).json()["messages"]
    assert told == [{"level": "success", "text": "Detach interface: web"}]
    assert "being detached" in text_of(client, web)
    drain()
    assert not Port.objects.filter(pk=port.pk).exists()
    assert "10.99.0.5" not in text_of(client, web)


def test_a_port_of_the_projects_is_offered(web: Instance, cloud: Cloud, alice: Persona, browse, drain) -> None:
    port = ports.create_port(actor=alice.actor, wanted=PortRequest(network_id=cloud.network.id, name="spare"))
    client, path = browse(alice), f"/instances/{web.pk}/attach"
    assert "spare" in client.get(path).content.decode()
    wrong = client.post(path, {"what": f"port:{port.pk}", "address": "10.78.0.99"})
    assert (wrong.status_code, web.ports.count()) == (400, 1)
    client.post(path, {"what": f"port:{port.pk}"})
    drain()
    assert web.ports.filter(pk=port.pk, status="ACTIVE").exists()
    assert "spare" not in client.get(path).content.decode()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "Choose a network or a port."),
        ({"what": "network:nonsense"}, "Select a valid choice"),
        ({"what": "N", "address": "nonsense"}, "That is no IP address."),
        ({"what": "N", "address": "192.0.2.1"}, "does not belong to network"),
        ({"what": "N", "tag": "a/b"}, "A tag has no comma and no slash."),
    ],
)
def test_what_cannot_be_attached_is_said(web: Instance, cloud: Cloud, alice: Persona, browse, given, said) -> None:
    given = {**given, **({"what": f"network:{cloud.network.pk}"} if given.get("what") == "N" else {})}
    answer = browse(alice).post(f"/instances/{web.pk}/attach", given)
    assert answer.status_code == 400
    assert said in answer.content.decode()
    assert web.ports.count() == 1


def test_a_refusal_is_shown_and_nothing_is_offered(web: Instance, alice: Persona, browse) -> None:
    Instance.objects.filter(pk=web.pk).update(vm_state="suspended")
    client, port = browse(alice), web.ports.get()
    text = text_of(client, web)
    assert f"/instances/{web.pk}/attach" not in text and f"/detach/{port.pk}" not in text
    assert "vm_state suspended" in client.get(f"/instances/{web.pk}/attach").content.decode()
    told = client.post(f"/instances/{web.pk}/detach/{port.pk}", headers=FRAGMENT).json()["messages"]
    assert told[0]["level"] == "error"
    assert not Action.objects.filter(operation="detach_interface").exists()


def test_who_may(web: Instance, alice: Persona, bob: Persona, charlie: Persona, browse, client) -> None:
    port = web.ports.get()
    text = text_of(browse(bob), web)
    assert "/attach" not in text and "/detach/" not in text and f"/instances/{web.pk}/groups" not in text
    paths = [f"/instances/{web.pk}/{one}" for one in ("attach", "groups", f"detach/{port.pk}")]
    for persona, status in ((bob, 403), (charlie, 404)):
        for path in paths:
            assert browse(persona).post(path, {}).status_code == status, path
    for path in paths:
        assert client.post(path, {})["Location"].startswith("/login")
    assert web.ports.count() == 1


def test_security_groups_are_chosen(web: Instance, alice: Persona, charlie: Persona, browse) -> None:
    own, theirs = (groups.create_group(actor=one.actor, name="web") for one in (alice, charlie))
    client, path = browse(alice), f"/instances/{web.pk}/groups"
    default = SecurityGroup.objects.get(project=alice.project, name="default")
    page = client.get(path).content.decode()
    assert f'value="{default.pk}" checked' in page and f'value="{own.pk}">' in page
    assert str(theirs.pk) not in page
    assert client.post(path, {"groups": [str(own.pk)]}).status_code == 302
    assert [group.name for group in web.ports.get().security_groups.all()] == ["web"]
    assert client.post(path, {"groups": [str(theirs.pk)]}).status_code == 400
    assert client.post(path, {}).status_code == 302
    assert not web.ports.get().security_groups.exists()


def test_the_overview_costs_the_same_however_many_cards(
    web: Instance, backstage, alice: Persona, browse, drain, django_assert_max_num_queries
) -> None:
    client = browse(alice)
    with django_assert_max_num_queries(40) as few:
        text_of(client, web)
    before = len(few.captured_queries)
    for _ in range(3):
        client.post(f"/instances/{web.pk}/attach", {"what": f"network:{backstage.pk}"})
    drain()
    with django_assert_max_num_queries(before):
        assert text_of(client, web).count("/detach/") == 4
