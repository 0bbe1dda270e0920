"""A real host is taken out of service and brought back, and the load is evened out, while the guests run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from portal.setup.lab.laboratory import Laboratory
from tests.e2e.cloud import SERVERS, Cloud
from tests.e2e.lab import domains, nacelle_with, volumes
from tests.e2e.nacelle import Nacelle, wait_until

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can make namespaces"),
    pytest.mark.lab(hosts=3, shared=(1, 2)),
]


@pytest.fixture(scope="module")
def serviced(lab: Laboratory) -> Iterator[Nacelle]:
    """A Nacelle that thinks little of the differences between its hosts too much."""
    with nacelle_with(lab, NACELLE_REBALANCE_ABOVE="0.000001", NACELLE_REBALANCE_TO="0") as own:
        yield own


@pytest.fixture
def cloud(serviced: Nacelle) -> Iterator[Cloud]:
    """The cloud that it is; its servers but ``hello`` are deleted afterwards."""
    cloud = Cloud(serviced)
    yield cloud
    for server in cloud.wire.get(f"{SERVERS}?all_tenants=1").json["servers"]:
        if server["name"] != "hello":
            cloud.delete(server["id"])
    cloud.close()


def path(cloud: Cloud, number: int, verb: str) -> str:
    hosts = cloud.wire.get("/nacelle/v1/hosts").json["hosts"]
    return f"/nacelle/v1/hosts/{next(one['id'] for one in hosts if one['name'] == f'lab-{number}')}/{verb}"


def to_the_end(cloud: Cloud, relocation: dict[str, Any]) -> dict[str, Any]:
    """Wait until it is over."""

    def over() -> dict[str, Any] | None:
        body = cloud.wire.get(f"/nacelle/v1/relocations/{relocation['id']}").json
        return body if body["relocation"]["state"] != "running" else None

    return dict(wait_until("it is over", over, pause=0.5))


def host_of(cloud: Cloud, server_id: str) -> str:
    return str(cloud.server(server_id)["OS-EXT-SRV-ATTR:host"])


@pytest.mark.parametrize("number", [1, 3], ids=["with shared storage", "without"])
def test_a_host_is_emptied_and_brought_back(lab: Laboratory, cloud: Cloud, number: int) -> None:
    runs, off = (cloud.launch(name, availability_zone=f"nova:lab-{number}") for name in ("runs", "off"))
    for server_id in (runs, off):
        cloud.wait_for_status(server_id, "ACTIVE")
    cloud.wait_for_login(runs)
    cloud.act_until(off, "SHUTOFF", **{"os-stop": None})
    begun = cloud.wire.post(path(cloud, number, "drain"), {"reason": "new disks"})
    assert begun.status == 202, begun.content
    ended = to_the_end(cloud, begun.json["relocation"])
    assert ended["relocation"]["state"] == "done", ended
    for server_id, status, on in ((runs, "ACTIVE", True), (off, "SHUTOFF", False)):
        server = cloud.server(server_id)
        there = server["OS-EXT-SRV-ATTR:host"]
        assert there != f"lab-{number}" and server["status"] == status, server
        assert domains(lab.host(int(there.removeprefix("lab-"))))[server_id] is on
        assert server_id not in domains(lab.host(number))
    if number == 3:
        left = {name for name in volumes(lab.host(3)) if runs in name or off in name}
        assert left == set()
    refused = cloud.launch("refused", availability_zone=f"nova:lab-{number}")
    wait_until("it is refused", lambda: cloud.server(refused)["status"] == "ERROR", pause=0.5)
    assert cloud.wire.post(path(cloud, number, "resume")).status == 204
    again = cloud.launch("again", availability_zone=f"nova:lab-{number}")
    cloud.wait_for_status(again, "ACTIVE")
    cloud.act_until(off, "ACTIVE", **{"os-start": None})
    cloud.wait_for_login(off)


def test_the_load_is_evened_out_and_then_left_alone(lab: Laboratory, cloud: Cloud) -> None:
    servers = [cloud.launch(f"even-{n}", availability_zone="nova:lab-1") for n in range(3)]
    for server_id in servers:
        cloud.wait_for_status(server_id, "ACTIVE")
    shown = cloud.wire.get("/nacelle/v1/rebalance").json["rebalance"]
    assert shown["moves"], shown["sentence"]
    begun = cloud.wire.post("/nacelle/v1/rebalance", {"key": shown["key"]})
    assert begun.status == 202, begun.content
    ended = to_the_end(cloud, begun.json["relocation"])
    assert ended["relocation"]["state"] == "done", ended
    for move in shown["moves"]:
        assert host_of(cloud, move["server_id"]) == move["to"]
        assert domains(lab.host(int(move["to"].removeprefix("lab-"))))[move["server_id"]]
    assert cloud.wire.get("/nacelle/v1/rebalance").json["rebalance"]["moves"] == []
