"""Hosts that fail for real: switched off by a fence, evacuated with or without their disks, cleaned on return."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from portal.setup.lab.laboratory import Laboratory
from tests.e2e.cloud import SERVERS, Cloud
from tests.e2e.lab import domains, heal, nacelle_with, reservations, volumes
from tests.e2e.nacelle import Nacelle, wait_until

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can make namespaces"),
    pytest.mark.lab(hosts=3, shared=(1, 2)),
]
SWITCH_OFF = (
    "import sys; from pathlib import Path; from portal.setup.lab.laboratory import Laboratory; "
    "Laboratory(Path(sys.argv[1])).host(int(sys.argv[2])).power_off(); print('off')"
)


@pytest.fixture(scope="module")
def failing(lab: Laboratory) -> Iterator[Nacelle]:
    """A Nacelle that notices soon that a host is down, and can switch the hosts off."""
    times = {"NACELLE_HOST_DOWN_AFTER": "5", "NACELLE_LEASE_SECONDS": "4", "NACELLE_STATE_SYNC_SECONDS": "2"}
    with nacelle_with(lab, **times) as own:
        off = [sys.executable, "-c", SWITCH_OFF, str(lab.folder), "{number}"]
        (own.data / "fence.json").write_text(json.dumps({"power": {"off": off}}))
        yield own


@pytest.fixture
def hosts(lab: Laboratory, failing: Nacelle) -> Iterator[Hosts]:
    """The cloud, and what its administrator does to hosts. Afterwards every host runs and is reached."""
    cloud = Cloud(failing)
    hosts = Hosts(lab, cloud)
    hosts.wait_until_all_are_up()
    try:
        yield hosts
    finally:
        heal(lab)
        for server in cloud.wire.get(f"{SERVERS}?all_tenants=1").json["servers"]:
            if server["name"] != "hello":
                cloud.delete(server["id"])
        cloud.close()
        hosts.wait_until_all_are_up()


class Hosts:
    """The hosts of the laboratory as the cloud knows them."""

    def __init__(self, lab: Laboratory, cloud: Cloud) -> None:
        self.lab, self.cloud = lab, cloud

    def row(self, number: int) -> dict[str, Any]:
        found = self.cloud.wire.get("/nacelle/v1/hosts").json["hosts"]
        return next(one for one in found if one["name"] == f"lab-{number}")

    def path(self, number: int, verb: str) -> str:
        return f"/nacelle/v1/hosts/{self.row(number)['id']}/{verb}"

    def wait_for(self, number: int, state: str) -> None:
        wait_until(f"lab-{number} is {state}", lambda: self.row(number)["state"] == state, pause=0.2)

    def wait_until_all_are_up(self) -> None:
        for host in self.lab.hosts:
            self.wait_for(host.number, "up")

    def launch_on(self, number: int, name: str) -> str:
        server_id = self.cloud.launch(name, availability_zone=f"nova:lab-{number}")
        self.cloud.wait_for_status(server_id, "ACTIVE")
        return server_id

    def is_on(self, server_id: str, number: int) -> bool:
        server = self.cloud.server(server_id)
        assert server["status"] in ("ACTIVE", "REBUILD", "SHUTOFF"), server
        here = server["OS-EXT-SRV-ATTR:host"] == f"lab-{number}" and server["OS-EXT-STS:task_state"] is None
        return bool(here and server["status"] == "ACTIVE")

    def events(self, number: int) -> list[str]:
        found = self.cloud.wire.get(self.path(number, "events")).json["events"]
        return [one["message"] for one in reversed(found)]

    def rid_of(self, number: int, server_id: str) -> bool:
        """Whether nothing of the server is known to the host's libvirt."""
        return server_id not in domains(self.lab.host(number))


def own_volumes(hosts: Hosts, number: int, server_id: str) -> set[str]:
    return {name for name in volumes(hosts.lab.host(number)) if server_id in name and not name.endswith(".log")}


def test_a_host_that_is_cut_off_is_switched_off_and_evacuated_by_itself(hosts: Hosts) -> None:
    """Its guest runs on until the fence takes its power; then it runs from the same disk on the other host."""
    wire, lost = hosts.cloud.wire, hosts.lab.host(1)
    server_id = hosts.launch_on(1, "kept")
    disks, port = own_volumes(hosts, 1, server_id), hosts.cloud.server(server_id)["addresses"]
    fence = {"method": "power", "values": {"number": "1"}, "timeout": 60}
    assert wire.request("PUT", hosts.path(1, "fence"), fence).status == 200
    rack = wire.post("/compute/v2.1/os-aggregates", {"aggregate": {"name": "rack"}}).json["aggregate"]["id"]
    for action in (
        {"add_host": {"host": "lab-1"}},
        {"set_metadata": {"metadata": {"nacelle:evacuate": "true", "nacelle:evacuate_after": "2"}}},
    ):
        assert wire.post(f"/compute/v2.1/os-aggregates/{rack}/action", action).status == 200
    try:
        assert lost.pid_of_guest(server_id)
        lost.cut()
        wait_until("it runs on lab-2", lambda: hosts.is_on(server_id, 2), pause=0.5)
        assert not lost.is_on()
        assert domains(hosts.lab.host(2))[server_id]
        assert own_volumes(hosts, 2, server_id) == disks
        assert hosts.cloud.server(server_id)["addresses"] == port
        assert hosts.cloud.wait_for_login(server_id)
        said = hosts.events(1)
        assert "Switched off by power." in said and "It is to be switched off by power." in said
        hosts.lab.power_on(1)
        hosts.wait_for(1, "up")
        assert hosts.rid_of(1, server_id)
        assert domains(hosts.lab.host(2))[server_id]
        assert own_volumes(hosts, 2, server_id) == disks
        assert "It answers again. It is fenced no more." in hosts.events(1)
    finally:
        for action in ({"set_metadata": {"metadata": {"nacelle:evacuate": None}}}, {"remove_host": {"host": "lab-1"}}):
            wire.post(f"/compute/v2.1/os-aggregates/{rack}/action", action)
        wire.delete(f"/compute/v2.1/os-aggregates/{rack}")


def test_without_shared_storage_it_is_made_anew_and_the_old_host_is_cleaned(hosts: Hosts) -> None:
    server_id, wire = hosts.launch_on(3, "anew"), hosts.cloud.wire
    before = own_volumes(hosts, 3, server_id)
    mac = next(iter(hosts.cloud.server(server_id)["addresses"].values()))[0]["OS-EXT-IPS-MAC:mac_addr"]
    assert wire.post(hosts.path(3, "evacuate"), {}).status == 400
    hosts.lab.host(3).power_off()
    hosts.wait_for(3, "down")
    assert wire.post(hosts.path(3, "evacuate"), {}).status == 409
    assert wire.post(hosts.path(3, "fence"), {"confirmed_off": True}).status == 202
    said = wire.get(hosts.path(3, "evacuate")).json["servers"]
    assert [one["message"] for one in said if one["server_id"] == server_id] == [
        "It is made anew of its image; its disks are lost."
    ]
    begun = wire.post(hosts.path(3, "evacuate"), {})
    assert begun.status == 202
    path = f"/nacelle/v1/relocations/{begun.json['relocation']['id']}"
    wait_until("it is over", lambda: wire.get(path).json["relocation"]["state"] == "done", pause=0.5)
    server = hosts.cloud.server(server_id)
    number = int(server["OS-EXT-SRV-ATTR:host"].removeprefix("lab-"))
    assert number in (1, 2) and server["status"] == "ACTIVE"
    assert domains(hosts.lab.host(number))[server_id]
    assert hosts.cloud.wait_for_login(server_id)
    hosts.lab.power_on(3)
    assert own_volumes(hosts, 3, server_id) == before
    hosts.wait_for(3, "up")
    assert hosts.rid_of(3, server_id) and own_volumes(hosts, 3, server_id) == set()
    assert domains(hosts.lab.host(number))[server_id]
    assert mac in reservations(hosts.lab.host(number))


def test_a_fence_that_was_wrong_ends_when_the_host_answers(hosts: Hosts) -> None:
    """Somebody says that it is off, and it is not: for a while there are two. The old one goes first of all."""
    server_id, wire, cut = hosts.launch_on(3, "twice"), hosts.cloud.wire, hosts.lab.host(3)
    cut.cut()
    hosts.wait_for(3, "down")
    assert wire.post(hosts.path(3, "fence"), {"confirmed_off": True}).status == 202
    action = {"evacuate": {"onSharedStorage": False}}
    assert wire.post(f"{SERVERS}/{server_id}/action", action).status == 200
    wait_until("it runs elsewhere", lambda: hosts.is_on(server_id, 1) or hosts.is_on(server_id, 2), pause=0.5)
    assert cut.pid_of_guest(server_id)
    cut.mend()
    hosts.wait_for(3, "up")
    assert not cut.pid_of_guest(server_id) and hosts.rid_of(3, server_id)
    assert hosts.is_on(server_id, 1) or hosts.is_on(server_id, 2)


def test_one_that_was_off_stays_off(hosts: Hosts) -> None:
    server_id, wire = hosts.launch_on(1, "off"), hosts.cloud.wire
    hosts.cloud.act_until(server_id, "SHUTOFF", **{"os-stop": None})
    hosts.lab.host(1).power_off()
    hosts.wait_for(1, "down")
    wire.post(hosts.path(1, "fence"), {"confirmed_off": True})
    assert wire.post(f"{SERVERS}/{server_id}/action", {"evacuate": {"onSharedStorage": True}}).status == 200
    wait_until(
        "it is on lab-2",
        lambda: (one := hosts.cloud.server(server_id))["OS-EXT-SRV-ATTR:host"] == "lab-2"
        and one["status"] == "SHUTOFF" and one["OS-EXT-STS:task_state"] is None,
        pause=0.5,
    )  # fmt: skip
    assert domains(hosts.lab.host(2))[server_id] is False
    hosts.cloud.act_until(server_id, "ACTIVE", **{"os-start": None})
    assert hosts.cloud.wait_for_login(server_id)
