"""GET /servers/{id}/diagnostics."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from compute.hosts import asking
from compute.hosts.connections import hypervisor_of
from compute.hosts.liveness import mark_silent
from compute.hypervisor.fake.faults import FOR_EVER, Fault, hanging
from compute.models import Instance
from tests.api.compute.conftest import NEWEST, at, message
from tests.conftest import Cloud, Persona

DETAILS = {
    "state", "driver", "hypervisor", "hypervisor_os", "uptime", "config_drive", "num_cpus", "num_nics", "num_disks",
    "cpu_details", "nic_details", "disk_details", "memory_details",
}  # fmt: skip
NIC = {f"{way}_{what}" for way in ("rx", "tx") for what in ("octets", "errors", "drop", "packets", "rate")}


def path(instance: Instance) -> str:
    return f"/compute/v2.1/servers/{instance.id}/diagnostics"


@pytest.mark.parametrize("version", ["2.48", NEWEST])
def test_the_same_for_every_driver(active: Instance, root: Persona, version: str) -> None:
    found = root.get(path(active), headers=at(version)).json()
    assert set(found) == DETAILS
    assert (found["state"], found["driver"], found["num_cpus"], found["num_nics"]) == ("running", "libvirt", 1, 1)
    assert found["uptime"] >= 0 and found["num_disks"] == len(found["disk_details"]) > 0
    assert set(found["nic_details"][0]) == NIC | {"mac_address"}
    assert found["nic_details"][0]["mac_address"] == active.ports.get().mac
    assert set(found["disk_details"][0]) == {
        "read_bytes", "read_requests", "write_bytes", "write_requests", "errors_count"
    }  # fmt: skip
    assert set(found["cpu_details"][0]) == {"id", "time", "utilisation"}
    assert found["memory_details"] == {"maximum": 128, "used": 64}


@pytest.mark.parametrize("version", ["2.1", "2.47"])
def test_as_libvirt_names_things_up_to_2_47(active: Instance, root: Persona, version: str) -> None:
    found = root.get(path(active), headers=at(version)).json()
    assert {"cpu0_time", "memory", "vda_read", "vda_read_req", "vda_write", "vda_write_req", "vda_errors"} <= set(found)
    assert {f"vnet0_{way}{what}" for way in ("rx", "tx") for what in ("", "_packets", "_errors", "_drop")} <= set(found)
    assert found["memory"] == 128 * 1024
    assert all(isinstance(value, int) for value in found.values())


def test_it_is_for_administrators(
    active: Instance, alice: Persona, bob: Persona, charlie: Persona, anyone: Persona
) -> None:
    codes = [who.get(path(active)).status_code for who in (alice, bob, charlie, anyone)]
    assert codes == [403, 403, 403, 401]


def test_what_does_not_run_has_none(active: Instance, cloud: Cloud, root: Persona) -> None:
    assert root.get(f"/compute/v2.1/servers/{uuid.uuid4()}/diagnostics").status_code == 404
    hypervisor_of(cloud.host).destroy(active.id)  # the watcher has not seen it yet
    response = root.get(path(active))
    assert response.status_code == 409 and "power state" in message(response)
    Instance.objects.update(power_state=4)
    assert root.get(path(active)).status_code == 409
    Instance.objects.update(power_state=1, host=None)
    assert root.get(path(active)).status_code == 409


def test_a_host_that_does_not_answer_is_said(
    active: Instance, cloud: Cloud, root: Persona, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver: Any = hypervisor_of(cloud.host)
    monkeypatch.setattr(asking, "ANSWER_SECONDS", 0.2)
    driver.inject(Fault("diagnostics", do="hang", times=FOR_EVER))
    response = root.get(path(active))
    assert response.status_code == 409 and "does not answer" in message(response)
    driver.heal()
    hanging.end()
    mark_silent(cloud.host.pk)
    before = driver.calls()
    assert root.get(path(active)).status_code == 409
    assert driver.calls() == before
