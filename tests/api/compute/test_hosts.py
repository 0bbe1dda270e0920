"""Hypervisors, services and availability zones over the wire."""

from __future__ import annotations

import json
import re
import time
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from compute.models import Change, Host, Instance, Reading, Sample
from compute.statistics.packing import WIDTH, pack_sample
from tests.api.compute.conftest import NEWEST, at, message
from tests.conftest import Cloud, Persona

HYPERVISORS, SERVICES = "/compute/v2.1/os-hypervisors", "/compute/v2.1/os-services"
BRIEF = {"id", "hypervisor_hostname", "state", "status"}
ALWAYS = BRIEF | {"hypervisor_type", "hypervisor_version", "host_ip", "service"}
UP_TO_2_87 = {
    "cpu_info",
    "current_workload",
    "vcpus",
    "vcpus_used",
    "memory_mb",
    "memory_mb_used",
    "free_ram_mb",
    "local_gb",
    "local_gb_used",
    "free_disk_gb",
    "disk_available_least",
    "running_vms",
}


@pytest.mark.parametrize(
    ("version", "more"),
    [("2.1", UP_TO_2_87), ("2.53", UP_TO_2_87), ("2.87", UP_TO_2_87), ("2.88", {"uptime"}), (NEWEST, {"uptime"})],
)
def test_hypervisors(active: Instance, cloud: Cloud, root: Persona, version: str, more: set[str]) -> None:
    brief = root.get(HYPERVISORS, headers=at(version)).json()["hypervisors"]
    assert [set(one) for one in brief] == [BRIEF]
    by_uuid = version not in ("2.1",)
    assert brief[0]["id"] == (str(cloud.host.uuid) if by_uuid else cloud.host.pk)
    detail = root.get(f"{HYPERVISORS}/detail", headers=at(version)).json()["hypervisors"]
    shown = root.get(f"{HYPERVISORS}/{brief[0]['id']}", headers=at(version)).json()["hypervisor"]
    assert set(shown) == ALWAYS | more and detail == [shown]
    assert shown["service"] == {
        "host": "host-1",
        "id": str(cloud.host.service_uuid) if by_uuid else cloud.host.pk,
        "disabled_reason": None,
    }
    if "cpu_info" in shown:
        info = shown["cpu_info"] if by_uuid else json.loads(shown["cpu_info"])
        assert info["model"] == "qemu64" and set(info["topology"]) == {"sockets", "cores", "threads"}
        assert (shown["running_vms"], shown["vcpus_used"], shown["free_ram_mb"]) == (1, 1, 32_768 - 512 - 128)


def test_servers_of_a_hypervisor(active: Instance, cloud: Cloud, root: Persona) -> None:
    server = {"uuid": str(active.id), "name": "web"}
    shown = root.get(f"{HYPERVISORS}?with_servers=true", headers=at("2.53")).json()["hypervisors"][0]
    assert shown["servers"] == [server]
    shown = root.get(f"{HYPERVISORS}/{cloud.host.uuid}?with_servers=1", headers=at(NEWEST)).json()["hypervisor"]
    assert shown["servers"] == [server]
    assert root.get(f"{HYPERVISORS}/host/servers").json()["hypervisors"][0]["servers"] == [server]
    assert (
        root.get(f"{HYPERVISORS}/none/servers").status_code == 404 == root.get(f"{HYPERVISORS}/none/search").status_code
    )
    assert root.get(f"{HYPERVISORS}/ost-/search").json()["hypervisors"][0]["hypervisor_hostname"] == "host-1"
    assert root.get(f"{HYPERVISORS}?with_servers=perhaps", headers=at("2.53")).status_code == 400
    Instance.objects.update(host=None)
    assert "servers" not in root.get(f"{HYPERVISORS}?with_servers=true", headers=at("2.53")).json()["hypervisors"][0]
    assert root.get(f"{HYPERVISORS}?with_servers=true", headers=at("2.75")).json()["hypervisors"][0]["servers"] == []


def test_pages_patterns_and_ids(cloud: Cloud, root: Persona, django_assert_max_num_queries: Any) -> None:
    for number in range(2, 5):
        Host.objects.create(name=f"host-{number}", uri=f"fake://{uuid.uuid4()}", memory_mb=1024)
    page = root.get(f"{HYPERVISORS}?limit=2", headers=at("2.53")).json()
    assert [one["hypervisor_hostname"] for one in page["hypervisors"]] == ["host-1", "host-2"]
    marker = page["hypervisors"][1]["id"]
    assert f"marker={marker}" in page["hypervisors_links"][0]["href"]
    page = root.get(f"{HYPERVISORS}?limit=9&marker={marker}", headers=at("2.53")).json()
    assert [one["hypervisor_hostname"] for one in page["hypervisors"]] == ["host-3", "host-4"]
    assert root.get(f"{HYPERVISORS}?marker={uuid.uuid4()}", headers=at("2.53")).status_code == 400
    found = root.get(f"{HYPERVISORS}?hypervisor_hostname_pattern=t-4", headers=at("2.53")).json()["hypervisors"]
    assert [one["hypervisor_hostname"] for one in found] == ["host-4"]
    assert root.get(f"{HYPERVISORS}?hypervisor_hostname_pattern=none", headers=at("2.53")).status_code == 404
    assert root.get(f"{HYPERVISORS}/host-1", headers=at("2.53")).status_code == 400
    assert (
        root.get(f"{HYPERVISORS}/{uuid.uuid4()}", headers=at("2.53")).status_code
        == 404
        == root.get(f"{HYPERVISORS}/9999").status_code
    )
    assert root.get(f"{HYPERVISORS}?colour=red", headers=at("2.53")).status_code == 400
    with django_assert_max_num_queries(7):
        root.get(f"{HYPERVISORS}/detail?with_servers=true", headers=at(NEWEST))


def read_counters(host: Host, up_seconds: float, busy: float = 0.0) -> None:
    """What the watcher has read of a host that has been up for so long."""
    counters = {"host": {"cpu_total_seconds": up_seconds * host.vcpus}, "guests": {}}
    Reading.objects.create(host=host, at=int(time.time()), counters=counters)
    minute = int(time.time()) // 60 * 60
    for ago in range(0, 1200, 60):
        values = pack_sample((busy, *[0.0] * (WIDTH - 1)), {})
        Sample.objects.create(host=host, at=minute - ago, values=values)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (59, "0 min"),
        (3599, "59 min"),
        (3600, " 1:00"),
        (86_400 + 60, "1 day, 1 min"),
        (3 * 86_400 + 7860, "3 days,  2:11"),
    ],
)
def test_the_uptime_of_a_host(cloud: Cloud, root: Persona, seconds: int, said: str) -> None:
    read_counters(cloud.host, seconds, busy=25)
    shown = root.get(f"{HYPERVISORS}/{cloud.host.uuid}", headers=at("2.88")).json()["hypervisor"]["uptime"]
    # as clients take it apart
    parts = re.match(r"\s*(.+)\sup\s+(.+),\s+(.+)\susers?,\s+load average:\s(.+)", shown)
    assert parts is not None
    assert parts.groups()[1:] == (said.strip(), "0", "2.00, 2.00, 2.00")
    old = root.get(f"{HYPERVISORS}/{cloud.host.pk}/uptime").json()["hypervisor"]
    assert set(old) == BRIEF | {"uptime"} and f"up {said}," in old["uptime"]
    (listed,) = root.get(f"{HYPERVISORS}/detail", headers=at("2.88")).json()["hypervisors"]
    assert f"up {said}," in listed["uptime"]


def test_the_uptime_of_a_host_that_is_down_or_not_measured_is_not_known(cloud: Cloud, root: Persona) -> None:
    def nothing() -> bool:
        shown = root.get(f"{HYPERVISORS}/{cloud.host.uuid}", headers=at("2.88")).json()["hypervisor"]
        response = root.get(f"{HYPERVISORS}/{cloud.host.pk}/uptime")
        return shown["uptime"] is None and response.status_code == 400 and "unavailable" in message(response)

    assert nothing()
    read_counters(cloud.host, 100)
    assert not nothing()
    Host.objects.update(last_seen_at=timezone.now() - timedelta(minutes=5))
    assert nothing()


@pytest.mark.parametrize("version", ["2.1", "2.53", "2.87"])
def test_the_workload_is_what_is_under_way(active: Instance, cloud: Cloud, root: Persona, version: str) -> None:
    def workload() -> set[int]:
        (listed,) = root.get(f"{HYPERVISORS}/detail", headers=at(version)).json()["hypervisors"]
        sums = root.get(f"{HYPERVISORS}/statistics", headers=at(version)).json()["hypervisor_statistics"]
        return {listed["current_workload"], sums["current_workload"]}

    assert workload() == {0}
    Instance.objects.filter(pk=active.pk).update(task_state="powering-off")
    assert workload() == {1}


def test_statistics(active: Instance, root: Persona) -> None:
    sums = root.get(f"{HYPERVISORS}/statistics", headers=at("2.87")).json()["hypervisor_statistics"]
    assert set(sums) == (UP_TO_2_87 - {"cpu_info"}) | {"count"}
    assert (sums["count"], sums["vcpus"], sums["vcpus_used"], sums["running_vms"], sums["memory_mb"]) == (
        1,
        8,
        1,
        1,
        32_768,
    )


@pytest.mark.parametrize(("version", "more"), [("2.1", set()), ("2.11", {"forced_down"}), (NEWEST, {"forced_down"})])
def test_services(cloud: Cloud, root: Persona, version: str, more: set[str]) -> None:
    shown = root.get(SERVICES, headers=at(version)).json()["services"]
    keys = {"id", "binary", "host", "zone", "status", "state", "updated_at", "disabled_reason"}
    assert [set(one) for one in shown] == [keys | more]
    assert shown[0]["id"] == (str(cloud.host.service_uuid) if version == NEWEST else cloud.host.pk)
    for query, count in (
        ("binary=None&host=None", 1),
        ("binary=nova-compute&host=host-1", 1),
        ("host=none", 0),
        ("binary=nova-api", 0),
    ):
        assert len(root.get(f"{SERVICES}?{query}", headers=at(version)).json()["services"]) == count, query


def test_services_are_changed_by_verbs_up_to_2_52(cloud: Cloud, root: Persona) -> None:
    who = {"host": "host-1", "binary": "nova-compute"}
    assert root.put(f"{SERVICES}/disable", who).json() == {"service": {**who, "status": "disabled"}}
    assert root.put(f"{SERVICES}/enable", who).json() == {"service": {**who, "status": "enabled"}}
    answer = root.put(f"{SERVICES}/disable-log-reason", {**who, "disabled_reason": "broken fan"}).json()["service"]
    assert answer == {**who, "status": "disabled", "disabled_reason": "broken fan"}
    cloud.host.refresh_from_db()
    assert (cloud.host.enabled, cloud.host.disabled_reason) == (False, "broken fan")
    assert root.put(f"{SERVICES}/force-down", {**who, "forced_down": True}, headers=at("2.10")).status_code == 404
    answer = root.put(f"{SERVICES}/force-down", {**who, "forced_down": True}, headers=at("2.11")).json()
    assert answer == {"service": {**who, "forced_down": True}}
    assert root.get(SERVICES).json()["services"][0]["state"] == "down"
    assert root.put(f"{SERVICES}/explode", who).status_code == 404
    assert root.put(f"{SERVICES}/enable", {**who, "host": "none"}).status_code == 404
    for bad in ({}, {"host": "host-1"}, {**who, "more": 1}, {"host": 1, "binary": "nova-compute"}):
        assert root.put(f"{SERVICES}/enable", bad).status_code == 400, bad


def test_services_are_changed_by_uuid_from_2_53_on(cloud: Cloud, root: Persona, alice: Persona) -> None:
    path, version = f"{SERVICES}/{cloud.host.service_uuid}", at("2.53")
    assert alice.put(path, {"status": "disabled"}, headers=version).status_code == 403
    body = {"status": "disabled", "disabled_reason": "broken fan"}
    shown = root.put(path, body, headers=version).json()["service"]
    assert (shown["status"], shown["disabled_reason"], shown["forced_down"]) == ("disabled", "broken fan", False)
    assert Change.objects.filter(kind="host", object_id=str(cloud.host.pk)).exists()
    shown = root.put(path, {"status": "enabled", "forced_down": True}, headers=version).json()["service"]
    assert (shown["status"], shown["disabled_reason"], shown["state"]) == ("enabled", None, "down")
    for bad in (
        {},
        {"status": "off"},
        {"status": "enabled", "disabled_reason": "x"},
        {"disabled_reason": "x"},
        {"more": 1},
        {"status": "disabled", "disabled_reason": ""},
        {"forced_down": "perhaps"},
    ):
        assert root.put(path, bad, headers=version).status_code == 400, bad
    assert root.put(f"{SERVICES}/{uuid.uuid4()}", body, headers=version).status_code == 404
    assert root.put(f"{SERVICES}/enable", body, headers=version).status_code == 400


def test_zones(cloud: Cloud, alice: Persona, root: Persona) -> None:
    Host.objects.create(name="far-1", uri="fake://far", zone="far", enabled=False)
    zones = [
        {"zoneName": "far", "zoneState": {"available": False}, "hosts": None},
        {"zoneName": "nova", "zoneState": {"available": True}, "hosts": None},
    ]
    assert alice.get("/compute/v2.1/os-availability-zone").json() == {"availabilityZoneInfo": zones}
    response = alice.get("/compute/v2.1/os-availability-zone/detail")
    assert response.status_code == 403 and "os-availability-zone:detail" in message(response)
    detail = root.get("/compute/v2.1/os-availability-zone/detail").json()["availabilityZoneInfo"]
    assert detail[1]["hosts"]["host-1"]["nova-compute"].keys() == {"available", "active", "updated_at"}


def test_a_service_is_deleted_with_its_host(cloud: Cloud, root: Persona, alice: Persona, far: Host, drain: Any) -> None:
    alice.post(
        "/compute/v2.1/servers",
        {"server": {"name": "web", "imageRef": str(cloud.image.id), "flavorRef": cloud.nano.id}},
    )
    drain()
    refused = root.delete(f"{SERVICES}/{cloud.host.service_uuid}", headers={"OpenStack-API-Version": "compute 2.53"})
    assert refused.status_code == 409
    assert "host-1 is hosting 1 instance: web" in message(refused)
    assert root.delete(f"{SERVICES}/{cloud.host.pk}").status_code == 409
    done = root.delete(f"{SERVICES}/{far.service_uuid}", headers={"OpenStack-API-Version": "compute 2.53"})
    assert (done.status_code, done.content) == (204, b"")
    assert list(Host.objects.values_list("name", flat=True)) == ["host-1"]


def test_a_service_that_is_not_there_or_not_ones_own_is_not_deleted(
    cloud: Cloud, root: Persona, alice: Persona, bob: Persona, charlie: Persona, anyone: Persona
) -> None:
    newer = {"OpenStack-API-Version": "compute 2.53"}
    for key, headers, status in (
        (str(uuid.uuid4()), newer, 404),
        (str(cloud.host.pk), newer, 400),
        ("99999", {}, 404),
        ("nova", {}, 400),
    ):
        assert root.delete(f"{SERVICES}/{key}", headers=headers).status_code == status, key
    for persona, status in ((alice, 403), (bob, 403), (charlie, 403), (anyone, 401)):
        assert persona.delete(f"{SERVICES}/{cloud.host.service_uuid}", headers=newer).status_code == status
    assert Host.objects.count() == 1
