"""/nacelle/v1/hosts."""

from __future__ import annotations

import uuid

import pytest

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
