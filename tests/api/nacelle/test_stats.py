"""/nacelle/v1/hosts/{id}/stats and /nacelle/v1/servers/{id}/stats."""

from __future__ import annotations

import time
import uuid

import pytest

from compute.statistics.reading import RANGES
from tests.statistics.conftest import instance, measured

__all__ = ["instance"]

HOST = ("cpu_percent", "memory_used_mb", "disk_used_gb", "servers_running")
SERVER = ("cpu_percent", "memory_used_mb", "disk_read_requests_per_second", "disk_write_requests_per_second")
TRAFFIC = {f"{what}_bytes_per_second" for what in ("disk_read", "disk_write", "network_receive", "network_transmit")}


@pytest.fixture
def load(cloud, instance) -> None:
    now = int(time.time())
    measured(cloud.host, range(now - 100, now, 10), lambda at: 10, instance)


@pytest.mark.parametrize("range_", ["", *RANGES])
def test_the_load_comes_as_columns(cloud, instance, load, root, alice, bob, range_):
    query = f"?range={range_}" if range_ else ""
    host = root.get(f"/nacelle/v1/hosts/{cloud.host.uuid}/stats{query}").json()["stats"]
    server = alice.get(f"/nacelle/v1/servers/{instance.id}/stats{query}").json()["stats"]
    for found, columns, busy in ((host, HOST, 10.0), (server, SERVER, 20.0)):
        assert set(found) == {"since", "until", "step", "at", *columns, *TRAFFIC}
        assert found["until"] - found["since"] == RANGES[range_ or "1h"].reach
        assert set(found["cpu_percent"]) == {busy}
        assert {len(found[name]) for name in ("at", *columns, *TRAFFIC)} == {len(found["at"])}
    assert bob.get(f"/nacelle/v1/servers/{instance.id}/stats{query}").json()["stats"] == server


def test_nobody_else_sees_it(cloud, instance, load, root, alice, bob, charlie, anyone):
    path = f"/nacelle/v1/servers/{instance.id}/stats"
    assert [who.get(path).status_code for who in (charlie, anyone, root)] == [404, 401, 200]
    path = f"/nacelle/v1/hosts/{cloud.host.uuid}/stats"
    assert [who.get(path).status_code for who in (alice, bob, charlie, anyone)] == [403, 403, 403, 401]


def test_what_makes_no_sense_is_refused(cloud, instance, root):
    for path in (f"/nacelle/v1/hosts/{cloud.host.uuid}/stats", f"/nacelle/v1/servers/{instance.id}/stats"):
        answer = root.get(f"{path}?range=2y")
        assert answer.status_code == 400 and "1h, 24h, 7d, 30d" in answer.json()["error"]["message"]
    for kind in ("hosts", "servers"):
        assert root.get(f"/nacelle/v1/{kind}/{uuid.uuid4()}/stats").status_code == 404
    instance.deleted_at = "2020-01-01T00:00:00Z"
    instance.save()
    assert root.get(f"/nacelle/v1/servers/{instance.id}/stats").status_code == 404


def test_what_was_never_measured_is_empty(cloud, instance, root):
    found = root.get(f"/nacelle/v1/servers/{instance.id}/stats").json()["stats"]
    assert (found["at"], found["cpu_percent"]) == ([], [])


def test_the_schema_names_the_columns(cloud, root):
    schema = root.get("/nacelle/v1/schema").json()
    parts = schema["components"]["schemas"]
    assert set(HOST) | TRAFFIC <= set(parts["HostStatsPoints"]["properties"])
    assert set(SERVER) | TRAFFIC <= set(parts["ServerStatsPoints"]["properties"])
    parameters = schema["paths"]["/servers/{server_id}/stats"]["get"]["parameters"]
    (parameter,) = [one for one in parameters if one["in"] == "query"]
    assert set(parameter["schema"]["enum"]) == set(RANGES)
