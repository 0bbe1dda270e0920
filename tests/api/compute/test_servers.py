"""Servers over the wire: create, show, change, delete, at the oldest and the newest version."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from compute.models import Action, Image, ImageStatus, Instance, Network, Port, QuotaLimit, QuotaUsage
from tests.api.compute.conftest import NEWEST, at, body_of, message
from tests.conftest import Cloud, Persona

OLDEST_KEYS = {
    "id", "name", "status", "tenant_id", "user_id", "metadata", "hostId", "image", "flavor", "created", "updated",
    "addresses", "accessIPv4", "accessIPv6", "links", "OS-DCF:diskConfig", "progress", "OS-EXT-AZ:availability_zone",
    "config_drive", "key_name", "OS-SRV-USG:launched_at", "OS-SRV-USG:terminated_at", "OS-EXT-STS:task_state",
    "OS-EXT-STS:vm_state", "OS-EXT-STS:power_state", "os-extended-volumes:volumes_attached", "security_groups",
}  # fmt: skip
NEWEST_KEYS = OLDEST_KEYS | {
    "locked", "description", "tags", "trusted_image_certificates", "locked_reason", "pinned_availability_zone",
    "scheduler_hints", "server_groups", "OS-EXT-SRV-ATTR:hostname",
}  # fmt: skip
ADMIN_KEYS = {"OS-EXT-SRV-ATTR:host", "OS-EXT-SRV-ATTR:hypervisor_hostname", "OS-EXT-SRV-ATTR:instance_name"}
ADMIN_KEYS_SINCE_2_3 = {
    f"OS-EXT-SRV-ATTR:{name}"
    for name in (
        "reservation_id",
        "launch_index",
        "hostname",
        "kernel_id",
        "ramdisk_id",
        "root_device_name",
        "user_data",
    )
}


def test_create_answers_202_with_a_location(cloud: Cloud, alice: Persona) -> None:
    response = alice.post("/compute/v2.1/servers", body_of(cloud))
    assert response.status_code == 202
    server = response.json()["server"]
    assert set(server) == {"id", "links", "OS-DCF:diskConfig", "security_groups", "adminPass"}
    assert response["Location"].endswith(f"/compute/v2.1/servers/{server['id']}")
    assert [link["rel"] for link in server["links"]] == ["self", "bookmark"]
    assert Instance.objects.get(pk=server["id"]).project_id == cloud.demo.id


def test_asking_for_a_server_asks_the_database_little(cloud: Cloud, alice: Persona) -> None:
    """Who asks (3), what for (4), the limits (4), the rows (5), and the beginning and end of the transaction."""
    assert alice.post("/compute/v2.1/servers", body_of(cloud)).status_code == 202  # which makes the default group
    with CaptureQueriesContext(connection) as queries:
        assert alice.post("/compute/v2.1/servers", body_of(cloud)).status_code == 202
    assert len(queries) <= 18


@pytest.mark.parametrize(
    ("version", "persona", "keys"),
    [
        ("2.1", "alice", OLDEST_KEYS),
        (NEWEST, "alice", NEWEST_KEYS),
        ("2.1", "root", OLDEST_KEYS | ADMIN_KEYS),
        (NEWEST, "root", NEWEST_KEYS | ADMIN_KEYS | ADMIN_KEYS_SINCE_2_3 | {"host_status"}),
    ],
)
def test_show_has_exactly_the_keys_of_the_version(
    active: Instance, alice: Persona, root: Persona, version: str, persona: str, keys: set[str]
) -> None:
    who = {"alice": alice, "root": root}[persona]
    server = who.get(f"/compute/v2.1/servers/{active.id}", headers=at(version)).json()["server"]
    assert set(server) == keys
    assert server["status"] == "ACTIVE"
    assert server["addresses"]["private"][0]["OS-EXT-IPS:type"] == "fixed"


def test_fields_that_change_their_form(active: Instance, cloud: Cloud, alice: Persona) -> None:
    old = alice.get(f"/compute/v2.1/servers/{active.id}", headers=at("2.46")).json()["server"]
    assert old["flavor"]["id"] == cloud.nano.id and old["image"].keys() == {"id", "links"}
    new = alice.get(f"/compute/v2.1/servers/{active.id}", headers=at(NEWEST)).json()["server"]
    assert new["flavor"] == {
        "original_name": "m1.nano", "vcpus": 1, "ram": 128, "disk": 1, "ephemeral": 0, "swap": 0, "extra_specs": {},
    }  # fmt: skip
    assert new["image"]["properties"] == {}


def test_the_name_of_the_host_is_another_in_each_project(cloud: Cloud, active: Instance, alice: Persona) -> None:
    from portal.api.compute.server_shape import host_id

    server = alice.get(f"/compute/v2.1/servers/{active.id}").json()["server"]
    assert server["hostId"] == host_id(cloud.demo.id, "host-1") != host_id(cloud.other.id, "host-1")
    assert "host-1" not in str(server)


def test_every_field_of_create_arrives(cloud: Cloud, root: Persona) -> None:
    data = base64.b64encode(b"#!/bin/sh\necho hello").decode()
    body = body_of(
        cloud, metadata={"a": "b"}, description="why", tags=["x", "y"], hostname="web-1.example.org", user_data=data,
        config_drive=True, accessIPv4="192.0.2.7", accessIPv6="0:0::babe:dc0c:1602", host="host-1",
        adminPass="swordfish", **{"OS-DCF:diskConfig": "AUTO"},
    )  # fmt: skip
    response = root.post("/compute/v2.1/servers", body | {"os:scheduler_hints": {"colour": "red"}}, headers=at(NEWEST))
    assert response.status_code == 202, response.content
    assert response.json()["server"]["adminPass"] == "swordfish"
    row = Instance.objects.get()
    assert (row.metadata, row.description, row.tags, row.hostname) == (
        {"a": "b"},
        "why",
        ["x", "y"],
        "web-1.example.org",
    )
    assert (row.user_data, row.config_drive, row.access_ipv4, row.access_ipv6) == (
        data,
        True,
        "192.0.2.7",
        "::babe:dc0c:1602",
    )
    assert (row.asked_host, row.disk_config, row.scheduler_hints) == ("host-1", "AUTO", {"colour": "red"})


def test_the_disk_that_the_openstack_command_asks_for(cloud: Cloud, alice: Persona) -> None:
    disk = {"uuid": str(cloud.image.id), "boot_index": 0, "source_type": "image", "destination_type": "local",
            "delete_on_termination": True}  # fmt: skip
    for image in (str(cloud.image.id), ""):
        response = alice.post("/compute/v2.1/servers", body_of(cloud, imageRef=image, block_device_mapping_v2=[disk]))
        assert response.status_code == 202, response.content


def test_several_at_once(cloud: Cloud, alice: Persona) -> None:
    body = body_of(cloud, min_count=1, max_count=3, return_reservation_id=True)
    response = alice.post("/compute/v2.1/servers", body)
    assert response.status_code == 202
    key = response.json()["reservation_id"]
    found = alice.get(f"/compute/v2.1/servers?reservation_id={key}&sort_key=display_name&sort_dir=asc").json()[
        "servers"
    ]
    assert [server["name"] for server in found] == ["web-1", "web-2", "web-3"]


def test_networks_auto_and_none(cloud: Cloud, alice: Persona) -> None:
    for networks, ports in (("auto", 1), ("none", 0)):
        response = alice.post("/compute/v2.1/servers", body_of(cloud, networks=networks), headers=at("2.37"))
        assert response.status_code == 202, response.content
        assert Port.objects.filter(instance=response.json()["server"]["id"]).count() == ports
    body = body_of(cloud)
    del body["server"]["networks"]
    assert alice.post("/compute/v2.1/servers", body, headers=at("2.37")).status_code == 400
    assert alice.post("/compute/v2.1/servers", body, headers=at("2.36")).status_code == 202


BAD = [
    ({"name": "a" * 300}, "2.1", "255"),
    ({"name": ""}, "2.1", "name"),
    ({"name": " web"}, "2.1", "name"),
    ({"name": 12345}, "2.1", "name"),
    ({"flavorRef": "no-such"}, "2.1", "Flavor no-such could not be found."),
    ({"flavorRef": -1}, "2.1", "Flavor -1 could not be found."),
    ({"flavorRef": None}, "2.1", "flavorRef"),
    ({"imageRef": str(uuid.UUID(int=1))}, "2.1", "Can not find requested image"),
    ({"imageRef": -1}, "2.1", "imageRef"),
    ({"imageRef": "tiny"}, "2.1", "imageRef"),
    ({"imageRef": ""}, "2.1", "no volumes"),
    ({"key_name": "nobody's"}, "2.1", "Invalid key_name provided."),
    ({"user_data": "%%%"}, "2.1", "base64"),
    ({"user_data": "A" * 65_536}, "2.1", "65535"),
    ({"metadata": {"a": "b" * 256}}, "2.1", "255"),
    ({"metadata": {"": "b"}}, "2.1", "metadata"),
    ({"metadata": {"a": 1}}, "2.1", "metadata"),
    ({"metadata": "x"}, "2.1", "metadata"),
    ({"networks": [{"uuid": "a-b-c"}]}, "2.1", "uuid"),
    ({"networks": [{"uuid": str(uuid.UUID(int=2))}]}, "2.1", "could not be found"),
    ({"networks": [{"port": str(uuid.UUID(int=3))}]}, "2.1", "could not be found"),
    ({"networks": "auto"}, "2.36", "networks"),
    ({"networks": "some"}, "2.37", "networks"),
    ({"networks": [{"fixed_ip": "300.1.1.1", "uuid": str(uuid.UUID(int=2))}]}, "2.1", "fixed IP"),
    ({"security_groups": [{"name": "none-such"}]}, "2.1", "Security group none-such not found."),
    ({"security_groups": ["default"]}, "2.1", "security_groups"),
    ({"accessIPv4": "1.1.1.1.1.1"}, "2.1", "IPv4"),
    ({"accessIPv6": "notvalid"}, "2.1", "IPv6"),
    ({"min_count": 2, "max_count": 1}, "2.1", "min_count"),
    ({"min_count": 0}, "2.1", "min_count"),
    ({"min_count": True}, "2.1", "min_count"),
    ({"availability_zone": "moon"}, "2.1", "availability zone"),
    ({"OS-DCF:diskConfig": "MAYBE"}, "2.1", "diskConfig"),
    ({"personality": [{"path": "/etc/motd", "contents": "aGk="}]}, "2.1", "personality"),
    ({"personality": []}, "2.57", "personality"),
    ({"description": "why"}, "2.18", "description"),
    ({"description": "w" * 256}, "2.19", "255"),
    ({"tags": ["a"]}, "2.51", "tags"),
    ({"tags": ["a,b"]}, "2.52", "tag"),
    ({"tags": [str(number) for number in range(51)]}, "2.52", "50"),
    ({"hostname": "web"}, "2.89", "hostname"),
    ({"hostname": "web.example"}, "2.93", "host name"),
    ({"hostname": "-web"}, "2.94", "host name"),
    ({"host": "host-1"}, "2.73", "host"),
    ({"trusted_image_certificates": ["x"]}, "2.63", "not served"),
    ({"block_device_mapping": [{"volume_id": "x"}]}, "2.1", "no volumes"),
    ({"block_device_mapping_v2": [{"source_type": "volume", "uuid": "x", "boot_index": 0}]}, "2.1", "no volumes"),
    (
        {"block_device_mapping_v2": [{"source_type": "blank", "destination_type": "local"}]},
        "2.1",
        "Block Device Mapping",
    ),
    ({"colour": "red"}, "2.1", "colour"),
]


@pytest.mark.parametrize(("more", "version", "words"), BAD, ids=lambda value: str(value)[:60])
def test_bad_input_is_400_and_leaves_nothing(
    cloud: Cloud, alice: Persona, more: dict[str, Any], version: str, words: str
) -> None:
    response = alice.post("/compute/v2.1/servers", body_of(cloud, **more), headers=at(version))
    assert response.status_code == 400, response.content
    assert words in message(response), message(response)
    assert not Instance.objects.exists() and not Port.objects.exists() and not Action.objects.exists()


@pytest.mark.parametrize("body", [b"{", b"[]", b'"x"', b"{}", b'{"server": 1}', b'{"server": {}}', b"\xff"])
def test_a_body_that_is_no_server_is_400(cloud: Cloud, alice: Persona, body: bytes) -> None:
    response = alice.post("/compute/v2.1/servers", body)
    assert response.status_code == 400 and message(response)


def test_the_image_must_be_active_and_fit(cloud: Cloud, alice: Persona) -> None:
    Image.objects.filter(pk=cloud.image.pk).update(virtual_size=2 << 30)
    response = alice.post("/compute/v2.1/servers", body_of(cloud))
    assert response.status_code == 400 and "disk is too small" in message(response)
    Image.objects.filter(pk=cloud.image.pk).update(virtual_size=1 << 20, min_memory_mb=4096)
    response = alice.post("/compute/v2.1/servers", body_of(cloud))
    assert response.status_code == 400 and "memory is too small" in message(response)
    Image.objects.filter(pk=cloud.image.pk).update(min_memory_mb=0, status=ImageStatus.QUEUED)
    response = alice.post("/compute/v2.1/servers", body_of(cloud))
    assert response.status_code == 400 and "not active" in message(response)


def test_the_network_of_another_project_is_not_there(cloud: Cloud, alice: Persona) -> None:
    network = Network.objects.create(name="theirs", project=cloud.other)
    response = alice.post("/compute/v2.1/servers", body_of(cloud, networks=[{"uuid": str(network.id)}]))
    assert response.status_code == 400 and message(response) == f"Network {network.id} could not be found."


def test_quota_used_up(cloud: Cloud, alice: Persona) -> None:
    QuotaLimit.objects.create(project=cloud.demo, resource="instances", limit=1)
    assert alice.post("/compute/v2.1/servers", body_of(cloud)).status_code == 202
    response = alice.post("/compute/v2.1/servers", body_of(cloud))
    assert response.status_code == 403 and message(response).startswith("Quota exceeded for instances")
    assert Instance.objects.count() == 1 and QuotaUsage.objects.get(project=cloud.demo).instances == 1


def test_too_much_metadata(cloud: Cloud, alice: Persona) -> None:
    response = alice.post("/compute/v2.1/servers", body_of(cloud, metadata={str(n): "x" for n in range(129)}))
    assert response.status_code == 403 and "metadata" in message(response)


def test_only_administrators_choose_the_host(cloud: Cloud, alice: Persona, root: Persona) -> None:
    for more, version in (({"availability_zone": "nova:host-1"}, "2.1"), ({"host": "host-1"}, "2.74")):
        assert alice.post("/compute/v2.1/servers", body_of(cloud, **more), headers=at(version)).status_code == 403
        response = root.post("/compute/v2.1/servers", body_of(cloud, **more), headers=at(version))
        assert response.status_code == 202
        assert Instance.objects.get(pk=response.json()["server"]["id"]).asked_host == "host-1"
    response = root.post("/compute/v2.1/servers", body_of(cloud, host="none"), headers=at("2.74"))
    assert response.status_code == 400 and message(response) == "Compute host none could not be found."


def test_a_host_asked_for_and_full_gets_nothing_else(cloud: Cloud, root: Persona, drain: Callable[[], int]) -> None:
    cloud.host.pk, cloud.host.uuid, cloud.host.service_uuid = None, uuid.uuid4(), uuid.uuid4()
    cloud.host.name, cloud.host.uri, cloud.host.memory_mb = "host-2", f"fake://{uuid.uuid4()}", 512
    cloud.host.save(force_insert=True)
    root.post("/compute/v2.1/servers", body_of(cloud, host="host-2"), headers=at("2.74"))
    drain()
    row = Instance.objects.get()
    assert row.vm_state == "error" and row.host is None


def test_update(active: Instance, alice: Persona) -> None:
    path = f"/compute/v2.1/servers/{active.id}"
    body = {"server": {"name": "wéb", "accessIPv4": "192.0.2.1", "accessIPv6": "2001:db8::1"}}
    server = alice.put(path, body).json()["server"]
    assert (server["name"], server["accessIPv4"], server["accessIPv6"]) == ("wéb", "192.0.2.1", "2001:db8::1")
    assert "OS-EXT-STS:vm_state" not in server and server["addresses"]["private"][0].keys() == {"version", "addr"}
    server = alice.put(path, {"server": {"description": None, "hostname": "front.example"}}, headers=at(NEWEST)).json()[
        "server"
    ]
    assert set(server) == NEWEST_KEYS and server["OS-EXT-SRV-ATTR:hostname"] == "front.example"
    for bad in ({"name": ""}, {"name": "a" * 256}, {"flavorRef": "1"}, {"description": "x"}):
        assert alice.put(path, {"server": bad}).status_code == 400
    assert alice.put(path, {}).status_code == 400


def test_delete(active: Instance, alice: Persona, drain: Callable[[], int]) -> None:
    path = f"/compute/v2.1/servers/{active.id}"
    response = alice.delete(path)
    assert response.status_code == 204 and not response.content
    assert alice.get(path).json()["server"]["OS-EXT-STS:task_state"] == "deleting"
    drain()
    for answer in (alice.get(path), alice.delete(path), alice.put(path, {"server": {"name": "x"}})):
        assert answer.status_code == 404 and message(answer) == f"Instance {active.id} could not be found."


@pytest.mark.parametrize("key", ["-1", "9223372036854775808", "web", str(uuid.UUID(int=5)), "x" * 300])
def test_ids_that_are_none(alice: Persona, key: str) -> None:
    assert alice.get(f"/compute/v2.1/servers/{key}").status_code == 404
    assert alice.delete(f"/compute/v2.1/servers/{key}").status_code == 404


def test_a_fault_has_its_details_for_administrators_alone(
    cloud: Cloud, alice: Persona, root: Persona, drain: Any
) -> None:
    cloud.host.enabled = False
    cloud.host.save()
    key = alice.post("/compute/v2.1/servers", body_of(cloud)).json()["server"]["id"]
    drain()
    server = alice.get(f"/compute/v2.1/servers/{key}").json()["server"]
    assert server["status"] == "ERROR" and "progress" not in server
    assert server["fault"].keys() == {"code", "created", "message"}
    assert root.get(f"/compute/v2.1/servers/{key}").json()["server"]["fault"].keys() >= {
        "code",
        "created",
        "message",
        "details",
    }
