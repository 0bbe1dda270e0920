"""/nacelle/v1/hosts."""

from __future__ import annotations

import uuid

import pytest

from compute.hypervisor.drivers import open_hypervisor
from compute.models import Host

HOSTS = "/nacelle/v1/hosts"


def test_the_administrator_lists_hosts(cloud, root):
    answer = root.get(HOSTS)
    assert answer.status_code == 200
    (host,) = answer.json()["hosts"]
    assert (host["name"], host["state"], host["memory_mb"]) == ("host-1", "up", 32_768)


def test_the_administrator_adds_a_host(cloud, root):
    uri = f"fake://{uuid.uuid4().hex}?memory=4096&vcpus=2"
    answer = root.post(HOSTS, {"uri": uri, "name": "host-2"})
    assert answer.status_code == 201, answer.content
    host = Host.objects.get(name="host-2")
    assert (host.state, host.memory_mb, host.vcpus, host.zone) == ("up", 4096, 2, "nova")
    again = root.post(HOSTS, {"uri": uri})
    assert again.status_code == 409
    assert "registered already" in again.json()["error"]["message"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "uri"),
        ({"uri": "ftp://host"}, "No driver"),
        ({"uri": "fake://x", "colour": "red"}, "colour"),
        ({"uri": "fake://x", "domain_type": "xen"}, "domain_type"),
        ({"uri": 7}, "uri"),
    ],
)
def test_a_host_that_makes_no_sense_is_refused(cloud, root, body, said):
    answer = root.post(HOSTS, body)
    assert answer.status_code == 400
    assert said in answer.json()["error"]["message"]
    assert Host.objects.count() == 1


def test_nobody_else_sees_or_adds_hosts(cloud, alice, bob, charlie, anyone):
    for persona, status in ((alice, 403), (bob, 403), (charlie, 403), (anyone, 401)):
        assert persona.get(HOSTS).status_code == status
        assert persona.post(HOSTS, {"uri": "fake://x"}).status_code == status
    assert Host.objects.count() == 1


def test_the_schema_describes_the_hosts(cloud, root, anyone):
    assert anyone.get("/nacelle/v1/schema").status_code == 401
    schema = root.get("/nacelle/v1/schema").json()
    assert {"/hosts", "/servers/{server_id}/placement", "/placement/dry-run", "/capacity"} <= set(schema["paths"])
    assert schema["servers"] == [{"url": "/nacelle/v1"}]


def test_the_administrator_shows_changes_and_removes_a_host(cloud, root):
    path = f"{HOSTS}/{cloud.host.uuid}"
    assert root.get(path).json()["host"]["name"] == "host-1"
    changed = root.patch(path, {"name": "rack-1", "memory_ratio": 1.25, "reserved_disk_gb": 5})
    assert changed.status_code == 200, changed.content
    host = changed.json()["host"]
    assert (host["name"], host["memory_ratio"], host["reserved_disk_gb"], host["cpu_ratio"]) == ("rack-1", 1.25, 5, 16)
    assert root.delete(path).status_code == 204
    assert root.get(path).status_code == 404
    assert root.delete(path).status_code == 404
    assert not Host.objects.exists()


@pytest.mark.parametrize(
    "body",
    [{"name": ""}, {"name": "a b"}, {"cpu_ratio": 0}, {"cpu_ratio": "NaN"}, {"reserved_memory_mb": -1}, {"zone": "x"},
     {"console_address": "a b"}, {"migration_address": "a b"}, {"migration_address": "fe80::1%eth0"},
     {"cpu_ratio": 10**400}, {"name": 10**400},
     {"uri": "ftp://x"}, {"domain_type": "xen"}, {"cpu_ratio": True}],
)  # fmt: skip
def test_a_change_that_makes_no_sense_is_refused(cloud, root, body):
    before = Host.objects.values().get()
    assert root.patch(f"{HOSTS}/{cloud.host.uuid}", body).status_code == 400
    assert Host.objects.values().get() == before


def test_a_host_with_servers_is_not_removed(cloud, root, alice, drain):
    server = {"name": "web", "imageRef": str(cloud.image.id), "flavorRef": cloud.nano.id}
    alice.post("/compute/v2.1/servers", {"server": server})
    drain()
    refused = root.delete(f"{HOSTS}/{cloud.host.uuid}")
    assert refused.status_code == 409
    assert "hosting 1 instance: web" in refused.json()["error"]["message"]


def test_nobody_else_shows_changes_or_removes_a_host(cloud, alice, bob, charlie, anyone):
    path = f"{HOSTS}/{cloud.host.uuid}"
    for persona, status in ((alice, 403), (bob, 403), (charlie, 403), (anyone, 401)):
        answers = (persona.get(path), persona.patch(path, {"name": "mine"}), persona.delete(path))
        assert [one.status_code for one in answers] == [status] * 3
        assert persona.delete(f"{HOSTS}/{uuid.uuid4()}").status_code == status
    assert Host.objects.get().name == "host-1"


def test_a_script_for_tls_is_made_for_administrators_alone(
    cloud, root, alice, bob, charlie, anyone, settings, tmp_path
):
    settings.DATA_DIR = tmp_path
    path = f"{HOSTS}/tls-script"
    made = root.post(path, {"address": "node-1.example.org"})
    assert made.status_code == 200
    assert (made["Cache-Control"], made["Content-Type"]) == ("no-store, private", "text/x-shellscript; charset=utf-8")
    text = made.content.decode()
    assert text.startswith("#!/bin/sh\n") and "BEGIN PRIVATE KEY" in text and "node-1.example.org" in text
    assert "@" not in text.replace("root@", "").split("BEGIN PRIVATE KEY")[0].split("set -eu")[1]
    for body in ({}, {"address": ""}, {"address": "$(id)"}, {"address": 7}, {"address": "a", "more": 1}):
        assert root.post(path, body).status_code == 400
    for persona, status in ((alice, 403), (bob, 403), (charlie, 403), (anyone, 401)):
        assert persona.post(path, {"address": "10.0.0.5"}).status_code == status
    assert root.get(path).status_code == 405


def test_a_host_is_checked(cloud, root, alice, bob, charlie, anyone):
    path = f"{HOSTS}/{cloud.host.uuid}"
    assert root.get(path).json()["host"]["check"] is None
    done = root.post(f"{path}/check")
    assert done.status_code == 200, done.content
    check = done.json()["check"]
    assert check == root.get(path).json()["host"]["check"] == root.get(HOSTS).json()["hosts"][0]["check"]
    assert {one["severity"] for one in check["findings"]} == {"warning", "info"}
    assert set(check["findings"][0]) == {"severity", "about", "sentence", "what_to_do"}
    assert check["details"]["machine"]["product"] == "Fake host"
    assert root.post(f"{HOSTS}/{uuid.uuid4()}/check").status_code == 404
    for persona, status in ((alice, 403), (bob, 403), (charlie, 403), (anyone, 401)):
        assert persona.post(f"{path}/check").status_code == status
    open_hypervisor(cloud.host.uri).break_down()
    gone = root.post(f"{path}/check")
    assert (gone.status_code, "cannot be checked" in gone.json()["error"]["message"]) == (409, True)
