"""The scheduler's page, for administrators."""

from __future__ import annotations

import pytest

from compute.models import Aggregate
from scheduler import parts
from scheduler.models import Part, PartKind
from tests.conftest import Cloud, Persona
from tests.dashboard.conftest import FRAGMENT

pytestmark = pytest.mark.django_db

PATH = "/cloud/scheduler/"
SITE = "tests.scheduler.site_parts."


def settings_of(client, kind: str) -> dict[str, parts.Setting]:
    found = {one[0]: one[3] for one in client.get(PATH).context["kinds"]}
    return {one.name: one for one in found[kind]}


def test_the_page_lists_all(cloud: Cloud, root: Persona, browse, django_assert_num_queries) -> None:
    client = browse(root)
    client.get(PATH)
    with django_assert_num_queries(7):
        page = client.get(PATH).content.decode()
    for shown in ("RamFilter", "always on", "HypervisorVersionWeigher", ">1000000<", "Filters"):
        assert shown in page


def test_on_and_off_and_up_and_down(cloud: Cloud, root: Persona, browse) -> None:
    client = browse(root)
    told = client.post(PATH + "filter/JsonFilter/turn", {"enabled": "yes"}, headers=FRAGMENT).json()
    assert told["messages"][0]["text"] == "JsonFilter is on"
    assert settings_of(client, "filter")["JsonFilter"].enabled
    told = client.post(PATH + "filter/RamFilter/turn", {"enabled": "no"}, headers=FRAGMENT).json()
    assert "cannot be off" in told["messages"][0]["text"]
    client.post(PATH + "weigher/CPUWeigher/move", {"to": "up"})
    assert list(settings_of(client, "weigher"))[:2] == ["CPUWeigher", "RAMWeigher"]
    client.post(PATH + "weigher/CPUWeigher/move", {"to": "down"})
    assert list(settings_of(client, "weigher"))[:2] == ["RAMWeigher", "CPUWeigher"]
    client.post(PATH + "reset")
    assert not Part.objects.exists()


def test_options_are_checked(cloud: Cloud, root: Persona, browse) -> None:
    client = browse(root)
    path = PATH + "filter/NumInstancesFilter"
    assert client.get(path).context["form"]["max_instances_per_host"].initial == 50
    wrong = client.post(path, {"max_instances_per_host": "0"})
    assert (wrong.status_code, "at least 1" in wrong.content.decode()) == (400, True)
    assert client.post(path, {"max_instances_per_host": "x"}).status_code == 400
    assert client.post(path, {"max_instances_per_host": "9"}).status_code == 302
    assert settings_of(client, "filter")["NumInstancesFilter"].options == {"max_instances_per_host": 9}


def test_every_kind_of_option_is_read(cloud: Cloud, root: Persona, browse) -> None:
    client = browse(root)
    client.post(PATH + "filter/IsolatedHostsFilter", {"isolated_images": "a\nb\n", "isolated_hosts": ""})
    assert settings_of(client, "filter")["IsolatedHostsFilter"].options == {
        "isolated_images": ["a", "b"],
        "restrict_isolated_hosts_to_isolated_images": False,
    }
    page = client.get(PATH + "filter/IsolatedHostsFilter").content.decode()
    assert "a\nb</textarea>" in page
    sent = {"multiplier": "2.5", "weight_setting": "cpu.percent=-1", "required": "on", "weight_of_unavailable": "-7"}
    assert client.post(PATH + "weigher/MetricsWeigher", sent).status_code == 302
    found = settings_of(client, "weigher")["MetricsWeigher"]
    assert (found.multiplier, found.options["weight_of_unavailable"]) == (2.5, -7.0)


def test_a_sites_own(cloud: Cloud, root: Persona, browse) -> None:
    client = browse(root)
    wrong = client.post(PATH + "add", {"kind": "filter", "path": "no_such.Thing"})
    assert (wrong.status_code, "cannot be imported" in wrong.content.decode()) == (400, True)
    assert client.post(PATH + "add", {"kind": "filter", "path": ""}).status_code == 400
    assert client.post(PATH + "add", {"kind": "filter", "path": SITE + "RackFilter"}).status_code == 302
    Part.objects.filter(name=SITE + "RackFilter").update(name=SITE + "GoneFilter")
    assert "It is left out" in client.get(PATH).content.decode()
    client.post(PATH + f"filter/{SITE}GoneFilter/remove")
    assert SITE + "GoneFilter" not in settings_of(client, "filter")


def test_an_aggregate_overrides(cloud: Cloud, root: Persona, browse) -> None:
    client = browse(root)
    assert "Override for an aggregate" not in client.get(PATH).content.decode()
    rack = Aggregate.objects.create(name="rack")
    given = {"aggregate": rack.pk, "key": "ram_allocation_ratio"}
    for value in ("0", "-1", "much", "nan"):
        assert client.post(PATH + "override", {**given, "value": value}).status_code == 400
    assert client.post(PATH + "override", {**given, "value": "1.1"}).status_code == 302
    rack.refresh_from_db()
    assert rack.metadata == {"ram_allocation_ratio": "1.1"}
    assert "ram_allocation_ratio" in client.get(PATH).content.decode()
    assert client.post(PATH + "override", {**given, "value": ""}).status_code == 302
    rack.refresh_from_db()
    assert rack.metadata == {}


@pytest.mark.parametrize("path", ["filter/NoSuchFilter", "colour/RamFilter", "filter/RAMWeigher"])
def test_what_is_not_there_is_not_found(cloud: Cloud, root: Persona, browse, path: str) -> None:
    client = browse(root)
    assert client.get(PATH + path).status_code == 404
    assert client.post(PATH + path + "/turn", {"enabled": "yes"}).status_code == 404


def test_every_kind_has_its_place() -> None:
    assert set(PartKind.values) == set(parts.BUILT_IN)
