"""Networks made and deleted on their pages."""

from __future__ import annotations

import pytest

from compute.models import Network, NetworkRemoval, Subnet
from tests.conftest import Cloud, Persona
from tests.dashboard.conftest import FRAGMENT

pytestmark = pytest.mark.django_db
GOOD = {"name": "town", "cidr": "10.50.0.0/24", "dns": "192.0.2.53"}


def test_a_network_is_made_and_deleted(cloud: Cloud, alice: Persona, browse) -> None:
    client = browse(alice)
    assert 'href="/networks/create"' in client.get("/networks/").content.decode()
    answer = client.post("/networks/create", GOOD)
    made = Network.objects.get(name="town")
    assert (answer.status_code, answer["Location"]) == (302, f"/networks/{made.pk}/")
    subnet = made.subnets.get()
    assert (subnet.cidr, subnet.name, subnet.dns_nameservers) == ("10.50.0.0/24", "town-subnet", ["192.0.2.53"])
    path = f"/networks/{made.pk}/delete"
    assert f'formaction="{path}"' in client.get(f"/networks/{made.pk}/").content.decode()
    assert client.post(path, headers=FRAGMENT).json() == {"go": "/networks/"}
    assert not Network.objects.filter(pk=made.pk).exists()
    assert NetworkRemoval.objects.filter(network_id=made.pk, host=cloud.host).exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"name": ""}, "Give the network a name."),
        ({"cidr": ""}, "Give it a range"),
        ({"cidr": "nonsense"}, "is not an IPv4 range"),
        ({"cidr": "8.8.8.0/24"}, "does not lie in"),
        ({"dns": "nonsense"}, "IPv4"),
    ],
)
def test_what_is_refused_leaves_nothing(cloud: Cloud, alice: Persona, browse, given, said) -> None:
    answer = browse(alice).post("/networks/create", {**GOOD, **given})
    assert (answer.status_code, said in answer.content.decode()) == (400, True)
    assert (Network.objects.count(), Subnet.objects.count()) == (1, 1)


def test_a_network_in_use_says_so_and_stays(cloud: Cloud, alice: Persona, launch, browse) -> None:
    client = browse(alice)
    client.post("/networks/create", GOOD)
    launch(alice, "web")
    made = Network.objects.get(name="town")
    told = client.post(f"/networks/{made.pk}/delete", headers=FRAGMENT).json()["messages"]
    assert told[-1]["level"] == "error" and "still in use" in told[-1]["text"]
    assert Network.objects.filter(pk=made.pk).exists()


def test_who_may(cloud: Cloud, alice: Persona, bob: Persona, charlie: Persona, browse, client) -> None:
    browse(alice).post("/networks/create", GOOD)
    made = Network.objects.get(name="town")
    assert "/networks/create" not in browse(bob).get("/networks/").content.decode()
    assert "/delete" not in browse(bob).get(f"/networks/{made.pk}/").content.decode()
    assert "/delete" not in browse(alice).get(f"/networks/{cloud.network.pk}/").content.decode()
    assert browse(bob).post("/networks/create", GOOD | {"cidr": "10.51.0.0/24"}).status_code == 403
    assert browse(bob).post(f"/networks/{made.pk}/delete").status_code == 403
    assert browse(charlie).post(f"/networks/{made.pk}/delete").status_code == 404
    assert browse(alice).post(f"/networks/{cloud.network.pk}/delete").status_code == 403
    assert client.post("/networks/create", GOOD)["Location"].startswith("/login")
    assert Network.objects.count() == 2
