"""Why a server is where it is, dry runs, and capacity: who may ask, and what each is told."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.db.models import F

from compute.models import Flavor, GroupPolicy, Host, Image, Instance, QuotaLimit, ServerGroup
from compute.operations.create import BootRequest, create
from tests.conftest import Cloud, Persona

DRY_RUN = "/nacelle/v1/placement/dry-run"
CAPACITY = "/nacelle/v1/capacity"
QUERIES_DRY, QUERIES_CAPACITY = 14, 13


def explain(persona: Persona, instance: Instance) -> Any:
    return persona.get(f"/nacelle/v1/servers/{instance.id}/placement")


def launched(persona: Persona, cloud: Cloud, drain: Any, **more: Any) -> Instance:
    (instance,) = create(
        persona.actor, BootRequest(name="web", flavor_id=cloud.nano.id, image_id=str(cloud.image.id), **more)
    )
    drain()
    return instance


def ask(persona: Persona, cloud: Cloud, **more: Any) -> Any:
    return persona.post(DRY_RUN, {"flavor": cloud.nano.id, **more})


def outlook(persona: Persona, cloud: Cloud, **more: Any) -> Any:
    answer = ask(persona, cloud, **more)
    assert answer.status_code == 200, answer.content
    return answer.json()["dry_run"]


# Explanations -----------------------------------------------------------------------------------------
def test_an_administrator_reads_hosts_weights_and_verdicts(
    root: Persona, alice: Persona, cloud: Cloud, far: Host, drain: Any
) -> None:
    instance = launched(alice, cloud, drain, zone="far")
    (one,) = explain(root, instance).json()["placements"]
    assert (one["chosen"], one["considered"], one["found"]) == ("host-2", 2, True)
    assert one["sentence"] == "host-2 was chosen: of 2 hosts, 1 could take it."
    assert one["rejected"] == [{"host": "host-1", "filter": "AvailabilityZoneFilter", "why": one["rejected"][0]["why"]}]
    assert one["weights"][0]["host"] == "host-2"


def test_the_owner_reads_a_sentence_and_counts_and_no_host(
    alice: Persona, bob: Persona, cloud: Cloud, far: Host, drain: Any
) -> None:
    instance = launched(alice, cloud, drain, zone="far")
    for persona in (alice, bob):
        answer = explain(persona, instance)
        (one,) = answer.json()["placements"]
        assert set(one) == {"action", "request_id", "found", "sentence", "considered", "filters"}
        assert one["sentence"] == "A host was chosen: of 2 hosts, 1 could take it."
        assert {"name": "AvailabilityZoneFilter", "into": 2, "out": 1} in one["filters"]
        assert b"host-1" not in answer.content
        assert b"host-2" not in answer.content


def test_a_refusal_says_what_was_short_to_each_in_their_words(
    root: Persona, alice: Persona, cloud: Cloud, drain: Any
) -> None:
    Host.objects.update(memory_mb_used=F("memory_mb") * 1.5 - 768)
    instance = launched(alice, cloud, drain)
    (one,) = explain(alice, instance).json()["placements"]
    assert one["found"] is False
    assert one["sentence"].startswith("No valid host was found: a host wants 128 MB, 0 of 48384 MB free at ratio 1.5")
    (full,) = explain(root, instance).json()["placements"]
    assert full["rejected"][0]["host"] == "host-1"


def test_strangers_find_no_placement(
    charlie: Persona, anyone: Persona, alice: Persona, cloud: Cloud, drain: Any
) -> None:
    instance = launched(alice, cloud, drain)
    assert explain(charlie, instance).status_code == 404
    assert explain(anyone, instance).status_code == 401
    assert alice.get(f"/nacelle/v1/servers/{uuid.uuid4()}/placement").status_code == 404


# Dry runs ---------------------------------------------------------------------------------------------
def test_a_member_gets_a_number_by_zone(alice: Persona, bob: Persona, cloud: Cloud, far: Host) -> None:
    for persona in (alice, bob):
        answer = ask(persona, cloud)
        assert b"host-" not in answer.content
        found = answer.json()["dry_run"]
        assert set(found) == {"count", "fits", "fitting", "quota_leaves", "sentence", "zones"}
        assert found["zones"] == [{"name": "far", "fitting": 2}, {"name": "nova", "fitting": 128}]
        assert (found["fits"], found["fitting"], found["quota_leaves"]) == (True, 130, 10)
        assert found["sentence"] == "130 fit now."


def test_an_administrator_gets_hosts_with_verdicts(root: Persona, cloud: Cloud, far: Host) -> None:
    found = outlook(root, cloud, zone="far", count=3)
    assert found["hosts"] == [{"name": "host-2", "zone": "far", "fitting": 2}]
    assert found["explanation"]["rejected"][0]["host"] == "host-1"
    assert (found["fits"], found["sentence"]) == (False, "2 of 3 fit now.")


def test_nothing_is_claimed_and_no_host_is_asked(alice: Persona, cloud: Cloud, monkeypatch: Any) -> None:
    monkeypatch.setattr("compute.hosts.connections.open_hypervisor", None)
    before = Host.objects.values().get()
    assert outlook(alice, cloud, image=str(cloud.image.id), count=5)["fits"] is True
    assert Host.objects.values().get() == before
    assert not Instance.objects.exists()


def test_what_was_short_is_said_without_a_name(alice: Persona, cloud: Cloud) -> None:
    Host.objects.update(vcpus_used=128)
    found = outlook(alice, cloud)
    assert (found["fits"], found["zones"]) == (False, [])
    assert found["sentence"].startswith("No valid host was found: a host wants 1 vCPUs, 0 of 128 free")


def test_groups_and_hints_count(alice: Persona, cloud: Cloud, far: Host, drain: Any) -> None:
    apart = ServerGroup.objects.create(name="apart", project=cloud.demo, policy=GroupPolicy.ANTI_AFFINITY)
    close = ServerGroup.objects.create(name="close", project=cloud.demo, policy=GroupPolicy.AFFINITY)
    assert outlook(alice, cloud, hints={"group": str(apart.id)})["fitting"] == 2
    assert outlook(alice, cloud, hints={"group": str(close.id)})["fitting"] == 128
    there = launched(alice, cloud, drain, zone="far", scheduler_hints={"group": str(apart.id)})
    found = outlook(alice, cloud, hints={"group": str(apart.id)})
    assert found["zones"] == [{"name": "nova", "fitting": 1}]
    assert outlook(alice, cloud, hints={"same_host": str(there.id)})["zones"] == [{"name": "far", "fitting": 1}]


def test_the_quota_is_said_apart(alice: Persona, cloud: Cloud) -> None:
    for name, limit, left in (("cores", 3, 3), ("instances", 2, 2), ("instances", 0, 0)):
        QuotaLimit.objects.update_or_create(project=cloud.demo, resource=name, defaults={"limit": limit})
        assert outlook(alice, cloud)["quota_leaves"] == left
    for name in ("cores", "instances", "memory_mb"):
        QuotaLimit.objects.update_or_create(project=cloud.demo, resource=name, defaults={"limit": -1})
    assert outlook(alice, cloud)["quota_leaves"] is None


@pytest.mark.parametrize(
    "body",
    [
        {"flavor": "none"}, {"flavor": 42}, {}, {"count": 0}, {"count": 1001}, {"count": "x"}, {"colour": "red"},
        {"zone": "none"}, {"image": "none"}, {"image": str(uuid.uuid4())}, {"hints": []}, {"hints": {"group": "x"}},
        {"hints": {"group": str(uuid.uuid4())}}, {"hints": {"same_host": [1]}},
    ],
)  # fmt: skip
def test_wishes_that_make_no_sense(alice: Persona, cloud: Cloud, body: dict[str, Any]) -> None:
    sent = body if not body or "flavor" in body else {"flavor": cloud.nano.id, **body}
    assert alice.post(DRY_RUN, sent).status_code == 400, body


def test_what_belongs_to_others_is_not_there(alice: Persona, root: Persona, anyone: Persona, cloud: Cloud) -> None:
    group = ServerGroup.objects.create(name="g", project=cloud.other, policy=GroupPolicy.AFFINITY)
    private = Flavor.objects.create(id="private", name="private", vcpus=1, memory_mb=64, is_public=False)
    image = Image.objects.create(name="theirs", project=cloud.other, status="active", visibility="private")
    for more in ({"hints": {"group": str(group.id)}}, {"flavor": private.id}, {"image": str(image.id)}):
        assert ask(alice, cloud, **more).status_code == 400, more
    assert ask(alice, cloud, host="host-1").status_code == 403
    assert ask(root, cloud, host="none").status_code == 400
    assert ask(root, cloud, host="host-1", zone="far").status_code == 400, "as the request itself would be"
    assert outlook(root, cloud, host="host-1")["hosts"][0]["name"] == "host-1"
    assert ask(anyone, cloud).status_code == 401


def test_a_dry_run_costs_few_queries(alice: Persona, cloud: Cloud, far: Host, django_assert_num_queries: Any) -> None:
    for number in range(20):
        Host.objects.create(name=f"more-{number}", uri=f"fake://more-{number}", vcpus=1, memory_mb=1024, disk_gb=9)
    ask(alice, cloud)
    with django_assert_num_queries(QUERIES_DRY):
        ask(alice, cloud)


# Capacity ---------------------------------------------------------------------------------------------
def test_capacity(root: Persona, alice: Persona, cloud: Cloud, far: Host, drain: Any) -> None:
    launched(alice, cloud, drain, zone="far")
    found = root.get(CAPACITY).json()["capacity"]
    assert found["zones"] == ["far", "nova"]
    nano = next(one for one in found["flavors"] if one["id"] == cloud.nano.id)
    assert (nano["fitting"], nano["zones"]) == (129, {"far": 1, "nova": 128})
    large = next(one for one in found["flavors"] if one["name"] == "m1.large")
    assert large["zones"]["far"] == 0
    assert found["hosts"][1] == {
        "name": "host-2", "zone": "far", "up": True, "enabled": True, "instances": 1,
        "vcpus": {"used": 1, "capacity": 128, "ratio": 16.0},
        "memory_mb": {"used": 128, "capacity": 256, "ratio": 1.0},
        "disk_gb": {"used": 1, "capacity": 500, "ratio": 1.0},
    }  # fmt: skip


def test_what_is_said_to_fit_fits_and_no_more(
    root: Persona, alice: Persona, cloud: Cloud, far: Host, drain: Any
) -> None:
    Host.objects.filter(pk=cloud.host.pk).update(enabled=False)
    (nano,) = (one for one in root.get(CAPACITY).json()["capacity"]["flavors"] if one["id"] == cloud.nano.id)
    made = [launched(alice, cloud, drain) for _ in range(nano["fitting"] + 1)]
    states = [Instance.objects.get(pk=one.pk).vm_state for one in made]
    assert states == ["active", "active", "error"]


def test_capacity_is_the_administrators(alice: Persona, bob: Persona, charlie: Persona, anyone: Persona) -> None:
    for persona, status in ((alice, 403), (bob, 403), (charlie, 403), (anyone, 401)):
        assert persona.get(CAPACITY).status_code == status


def test_capacity_costs_few_queries(root: Persona, cloud: Cloud, far: Host, django_assert_num_queries: Any) -> None:
    for number in range(20):
        Host.objects.create(name=f"more-{number}", uri=f"fake://more-{number}", vcpus=1, memory_mb=1024, disk_gb=9)
        Flavor.objects.create(id=f"f-{number}", name=f"f-{number}", vcpus=1, memory_mb=64 + number)
    root.get(CAPACITY)
    with django_assert_num_queries(QUERIES_CAPACITY):
        root.get(CAPACITY)
