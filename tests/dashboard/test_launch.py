"""The launch form."""

import base64

import pytest

from compute.models import DEFAULT_LIMITS, Action, Flavor, Image, Instance, KeyPair, Network, QuotaLimit, QuotaUsage
from tests.conftest import Cloud, Persona

pytestmark = pytest.mark.django_db


@pytest.fixture
def filled(cloud: Cloud) -> dict[str, object]:
    """The form as one would send it."""
    return {
        "name": "web",
        "count": "1",
        "image": str(cloud.image.id),
        "flavor": cloud.nano.id,
        "network": [str(cloud.network.id)],
    }


def test_one_instance_lands_on_its_page(alice: Persona, browse, filled) -> None:
    answer = browse(alice).post("/instances/launch", filled)
    made = Instance.objects.get()
    assert answer["Location"] == f"/instances/{made.pk}/"
    assert (made.name, made.project_id, made.user_id) == ("web", alice.project.id, alice.user.id)


def test_several_land_on_the_table(alice: Persona, browse, filled) -> None:
    answer = browse(alice).post("/instances/launch", {**filled, "count": "3"})
    assert answer["Location"] == "/instances/"
    assert sorted(Instance.objects.values_list("name", flat=True)) == ["web-1", "web-2", "web-3"]


def test_key_pair_zone_and_user_data_go_along(alice: Persona, browse, filled) -> None:
    KeyPair.objects.create(user=alice.user, name="laptop", public_key="ssh-ed25519 AAAA", fingerprint="00")
    more = {"key_pair": "laptop", "zone": "nova", "user_data": "#!/bin/sh\r\necho hello\r\n"}
    browse(alice).post("/instances/launch", {**filled, **more})
    made = Instance.objects.get()
    assert (made.key_name, made.zone) == ("laptop", "nova")
    assert base64.b64decode(made.user_data) == b"#!/bin/sh\necho hello\n"


@pytest.mark.parametrize(
    ("changed", "field", "sentence"),
    [
        ({"name": ""}, "name", "Give the instance a name."),
        ({"name": "x" * 300}, "name", "at most 255 characters"),
        ({"count": "0"}, "count", "greater than or equal to 1"),
        ({"count": "many"}, "count", "whole number"),
        ({"image": ""}, "image", "Choose an image."),
        ({"image": "nonsense"}, "image", "Can not find requested image"),
        ({"flavor": "nonsense"}, "flavor", "could not be found"),
        ({"network": ["00000000-0000-4000-8000-000000000000"]}, "network", "not one of the available choices"),
        ({"key_pair": "nonsense"}, "key_pair", "not one of the available choices"),
        ({"zone": "moon"}, "zone", "not one of the available choices"),
        ({"user_data": "x" * 50_000}, "user_data", "At most 49151 bytes"),
    ],
)
def test_an_error_stands_beside_its_field(alice: Persona, browse, filled, changed, field: str, sentence: str) -> None:
    answer = browse(alice).post("/instances/launch", {**filled, **changed})
    assert answer.status_code == 400
    assert sentence in " ".join(answer.context["form"].errors[field])
    assert sentence in answer.content.decode()
    assert not Instance.objects.exists()
    assert not Action.objects.exists()


def test_an_image_larger_than_the_flavor_is_said_at_the_flavor(alice: Persona, cloud: Cloud, browse, filled) -> None:
    Image.objects.update(virtual_size=5 << 30)
    answer = browse(alice).post("/instances/launch", filled)
    assert "Choose a larger flavor" in answer.context["form"].errors["flavor"][0]
    assert not Instance.objects.exists()


def test_a_foreign_network_is_no_choice(alice: Persona, charlie: Persona, cloud: Cloud, browse, filled) -> None:
    foreign = Network.objects.create(name="foreign", project=charlie.project)
    answer = browse(alice).post("/instances/launch", {**filled, "network": [str(foreign.id)]})
    assert "network" in answer.context["form"].errors


def test_a_foreign_image_is_no_choice(alice: Persona, charlie: Persona, browse, filled) -> None:
    foreign = Image.objects.create(name="theirs", project=charlie.project, status="active", visibility="private")
    client = browse(alice)
    assert b"theirs" not in client.get("/instances/launch").content
    answer = client.post("/instances/launch", {**filled, "image": str(foreign.id)})
    assert "Can not find" in answer.context["form"].errors["image"][0]


def test_a_used_up_quota_is_said_and_nothing_is_left(alice: Persona, browse, filled) -> None:
    QuotaLimit.objects.create(project=alice.project, resource="instances", limit=2)
    answer = browse(alice).post("/instances/launch", {**filled, "count": "3"})
    assert "Quota exceeded" in answer.context["form"].non_field_errors()[0]
    assert not Instance.objects.exists()
    assert not QuotaUsage.objects.filter(instances__gt=0).exists()


def test_flavors_over_the_quota_cannot_be_chosen(alice: Persona, browse) -> None:
    QuotaLimit.objects.create(project=alice.project, resource="cores", limit=1)
    flavors = dict(browse(alice).get("/instances/launch").context["flavors"])
    assert flavors[Flavor.objects.get(name="m1.tiny")] == ""
    assert flavors[Flavor.objects.get(name="m1.medium")] == "over the quota of vCPUs"
    assert DEFAULT_LIMITS["cores"] == 20


def test_what_was_typed_stays_after_an_error(alice: Persona, browse, filled) -> None:
    page = browse(alice).post("/instances/launch", {**filled, "name": "kept <me>", "count": "0"}).content.decode()
    assert 'value="kept &lt;me&gt;"' in page
    assert f'value="{filled["flavor"]}"' in page


def test_an_image_is_chosen_ahead(alice: Persona, cloud: Cloud, browse) -> None:
    Image.objects.create(name="another", project=cloud.demo, status="active", visibility="private")
    page = browse(alice).get(f"/instances/launch?image={cloud.image.id}").content.decode()
    chosen = page[page.index(f'value="{cloud.image.id}"') :]
    assert " checked" in chosen[: chosen.index(">")]


def test_the_form_asks_a_fixed_number_of_queries(
    alice: Persona, cloud: Cloud, browse, django_assert_num_queries
) -> None:
    client = browse(alice)
    with django_assert_num_queries(15):
        client.get("/instances/launch")
