"""Hosts as they were shown up to 2.42."""

from __future__ import annotations

from typing import Any

import pytest

from compute.models import Host, Instance
from tests.api.compute.conftest import at
from tests.conftest import Cloud, Persona

HOSTS = "/compute/v2.1/os-hosts"


def test_list(cloud: Cloud, far: Host, root: Persona) -> None:
    both = root.get(HOSTS).json()["hosts"]
    assert both == [
        {"host_name": "host-1", "service": "compute", "zone": "nova"},
        {"host_name": "host-2", "service": "compute", "zone": "far"},
    ]
    assert root.get(f"{HOSTS}?zone=far").json()["hosts"] == both[1:]
    assert root.get(f"{HOSTS}?zone=").json()["hosts"] == both == root.get(f"{HOSTS}?service=compute").json()["hosts"]
    assert root.get(f"{HOSTS}?zone=none").json()["hosts"] == [] == root.get(f"{HOSTS}?service=x").json()["hosts"]


def test_show(active: Instance, cloud: Cloud, root: Persona) -> None:
    resources = [one["resource"] for one in root.get(f"{HOSTS}/host-1").json()["host"]]
    assert [one["project"] for one in resources] == ["(total)", "(used_now)", "(used_max)", cloud.demo.id]
    assert {one["host"] for one in resources} == {"host-1"}
    assert resources[0] == {"host": "host-1", "project": "(total)", "cpu": 8, "memory_mb": 32_768, "disk_gb": 500}
    assert (resources[1]["memory_mb"], resources[2]["memory_mb"], resources[3]["cpu"]) == (512 + 128, 128, 1)
    assert root.get(f"{HOSTS}/host-9").status_code == 404


def test_disable_and_enable(cloud: Cloud, root: Persona) -> None:
    answer = root.put(f"{HOSTS}/host-1", {"status": "disable"})
    assert answer.json() == {"host": "host-1", "status": "disabled"} and not Host.objects.get().enabled
    assert root.put(f"{HOSTS}/host-1", {"status": "Enable"}).json()["status"] == "enabled"
    assert Host.objects.get().enabled


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"status": None, "maintenance_mode": None}, 400),
        ({"status": "perhaps"}, 400),
        ({"status": "disable", "maintenance_mode": "perhaps"}, 400),
        ({"status": "disable", "colour": "red"}, 400),
        ({"status": "disable", "maintenance_mode": "enable"}, 501),
        ({"maintenance_mode": "enable"}, 501),
    ],
)
def test_what_is_refused_changes_nothing(cloud: Cloud, root: Persona, body: dict[str, Any], status: int) -> None:
    assert root.put(f"{HOSTS}/host-1", body).status_code == status
    assert Host.objects.get().enabled
    assert root.put(f"{HOSTS}/host-9", {"status": "enable", "maintenance_mode": "enable"}).status_code == 404


def test_power(cloud: Cloud, root: Persona, alice: Persona) -> None:
    for word in ("startup", "shutdown", "reboot"):
        assert root.get(f"{HOSTS}/host-1/{word}").status_code == 501
        assert root.get(f"{HOSTS}/host-9/{word}").status_code == 404
        assert alice.get(f"{HOSTS}/host-1/{word}").status_code == 403


def test_who_and_when(cloud: Cloud, root: Persona, alice: Persona, anyone: Persona) -> None:
    for path in (HOSTS, f"{HOSTS}/host-1"):
        assert alice.get(path).status_code == 403 and anyone.get(path).status_code == 401
        assert root.get(path, headers=at("2.42")).status_code == 200
        assert root.get(path, headers=at("2.43")).status_code == 404
    assert alice.put(f"{HOSTS}/host-1", {"status": "disable"}).status_code == 403
