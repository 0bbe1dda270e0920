"""/nacelle/v1/scheduler."""

from __future__ import annotations

import pytest

from scheduler.models import Part

PATH = "/nacelle/v1/scheduler"
SITE = "tests.scheduler.site_parts."


def by_name(shown):
    return {one["name"]: one for one in shown}


def test_the_administrator_sees_all(cloud, root, django_assert_num_queries):
    root.get(PATH)
    with django_assert_num_queries(5):
        answer = root.get(PATH)
    assert answer.status_code == 200
    filters, weighers = by_name(answer.json()["filters"]), by_name(answer.json()["weighers"])
    assert len(filters) == 28
    assert len(weighers) == 12
    assert filters["RamFilter"]["essential"] is True
    assert filters["NumInstancesFilter"]["options"] == {"max_instances_per_host": 50}
    assert filters["NumInstancesFilter"]["enabled"] is False
    assert weighers["IoOpsWeigher"]["multiplier"] == -1.0
    assert weighers["BuildFailureWeigher"]["multiplier"] == 1_000_000.0


def test_it_is_changed_and_put_back(cloud, root):
    wanted = {
        "filters": [
            {"name": SITE + "RackFilter"},
            {"name": "NumInstancesFilter", "enabled": True, "options": {"max_instances_per_host": 5}},
        ],
        "weighers": [{"name": "CPUWeigher", "multiplier": 3}],
    }
    answer = root.put(PATH, wanted)
    assert answer.status_code == 200, answer.content
    shown = root.get(PATH).json()
    assert shown == answer.json()
    assert [one["name"] for one in shown["filters"][:2]] == [SITE + "RackFilter", "NumInstancesFilter"]
    assert shown["filters"][1]["options"] == {"max_instances_per_host": 5}
    assert (shown["weighers"][0]["name"], shown["weighers"][0]["multiplier"]) == ("CPUWeigher", 3.0)
    assert root.delete(PATH).status_code == 204
    assert not Part.objects.exists()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"colour": []}, "colour"),
        ({"filters": "RamFilter"}, "filters"),
        ({"filters": [{"enabled": True}]}, "name"),
        ({"filters": [{"name": "RamFilter", "enabled": False}]}, "cannot be off"),
        ({"filters": [{"name": "NoSuchFilter"}]}, "no dotted path"),
        ({"filters": [{"name": "RamFilter", "multiplier": 1}]}, "multiplier"),
        ({"weighers": [{"name": "RAMWeigher", "multiplier": "1"}]}, "multiplier"),
        ({"weighers": [{"name": "PCIWeigher", "multiplier": -1}]}, "at least 0"),
        ({"filters": [{"name": "NumInstancesFilter", "options": {"max_instances_per_host": 0}}]}, "at least 1"),
        ({"filters": [{"name": "AllHostsFilter", "enabled": True}], "weighers": [{"name": "x"}]}, "no dotted path"),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(cloud, root, body, said):
    answer = root.put(PATH, body)
    assert answer.status_code == 400, answer.content
    assert said in answer.json()["error"]["message"]
    assert not Part.objects.exists()


def test_nobody_else(cloud, alice, bob, charlie, anyone):
    for persona, status in ((alice, 403), (bob, 403), (charlie, 403), (anyone, 401)):
        assert persona.get(PATH).status_code == status
        assert persona.put(PATH, {"filters": []}).status_code == status
        assert persona.delete(PATH).status_code == status
