"""Hosts, services and load, asked for with the unmodified `openstack` command; and the load of a real guest."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.cloud import LATEST, SERVERS, Cloud
from tests.e2e.nacelle import wait_until
from tests.e2e.openstack_command import OpenStack

pytestmark = [pytest.mark.real, pytest.mark.client]

VERSIONS = ("2.1", "2.53", "2.88")


@pytest.fixture
def busy(cloud: Cloud) -> Iterator[str]:
    """A server that runs and was measured."""
    with cloud.launched("busy") as server_id:

        def measured() -> bool:
            answer = cloud.wire.get(f"/nacelle/v1/servers/{server_id}/stats")
            assert answer.status == 200, answer.content[:300]
            return len(answer.json["stats"]["at"]) >= 2

        wait_until("it was measured", measured, pause=1)
        yield server_id


def test_hypervisors(openstack: OpenStack, cloud: Cloud, busy: str) -> None:
    (host,) = openstack.json("hypervisor", "list", "--long")
    assert (host["State"], host["Hypervisor Type"]) == ("up", "QEMU")
    name = host["Hypervisor Hostname"]
    for version in VERSIONS:
        shown = openstack.json("--os-compute-api-version", version, "hypervisor", "show", name)
        assert (shown["hypervisor_hostname"], shown["state"], shown["status"]) == (name, "up", "enabled")
        assert shown["service_host"] == name
        assert re.fullmatch(r"\d+ min|.*\d:\d\d", shown["uptime"].strip()), shown["uptime"]
        assert re.fullmatch(r"\d+\.\d\d, \d+\.\d\d, \d+\.\d\d", shown["load_average"])
    stats = openstack.json("hypervisor", "stats", "show")
    assert stats["count"] == 1 and stats["running_vms"] >= 2 and stats["memory_mb"] > stats["memory_mb_used"] > 0


def test_services(openstack: OpenStack, cloud: Cloud) -> None:
    (service,) = openstack.json("compute", "service", "list", "--long")
    assert (service["Binary"], service["Status"], service["State"]) == ("nova-compute", "enabled", "up")
    where = (service["Host"], "nova-compute")
    openstack("compute", "service", "set", "--disable", "--disable-reason", "new fan", *where)
    try:
        (now,) = openstack.json("compute", "service", "list", "--long")
        assert (now["Status"], now["Disabled Reason"], now["State"]) == ("disabled", "new fan", "up")
        openstack("compute", "service", "set", "--down", *where)
        (now,) = openstack.json("compute", "service", "list", "--long")
        assert (now["State"], now["Forced Down"]) == ("down", True)
    finally:
        openstack("compute", "service", "set", "--enable", *where)
        openstack("compute", "service", "set", "--up", *where)

    def is_well() -> bool:
        (now,) = openstack.json("compute", "service", "list", "--long")
        return (now["Status"], now["State"], now["Forced Down"]) == ("enabled", "up", False)

    wait_until("it is up again", is_well, pause=0.5)


def test_diagnostics(openstack: OpenStack, cloud: Cloud, busy: str) -> None:
    found = openstack.json("server", "show", "--diagnostics", busy)
    assert (found["state"], found["driver"], found["num_cpus"]) == ("running", "libvirt", 1)
    assert cloud.wire.get(f"{SERVERS}/{busy}/diagnostics").json["memory"] == 128 * 1024


def test_a_guest_that_works_is_seen_to(cloud: Cloud, busy: str) -> None:
    """It has just booted: it read its disk, and it used its processor."""

    def stats() -> dict[str, Any]:
        return dict(cloud.wire.get(f"/nacelle/v1/servers/{busy}/stats").json["stats"])

    assert max(stats()["cpu_percent"]) > 0
    assert 0 < stats()["memory_used_mb"][-1] < 1024
    host = cloud.server(busy)["OS-EXT-SRV-ATTR:host"]
    (one,) = [one for one in cloud.wire.get("/nacelle/v1/hosts").json["hosts"] if one["name"] == host]
    load = cloud.wire.get(f"/nacelle/v1/hosts/{one['id']}/stats").json["stats"]
    assert load["servers_running"][-1] >= 2 and max(load["cpu_percent"]) > 0
    diagnostics = cloud.wire.get(f"{SERVERS}/{busy}/diagnostics", **LATEST).json
    assert sum(disk["read_bytes"] for disk in diagnostics["disk_details"]) > 0
