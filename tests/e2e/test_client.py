"""The unmodified `openstack` command, from the first token to the last trace of a server."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from tests.e2e.cloud import Cloud
from tests.e2e.nacelle import wait_until
from tests.e2e.openstack_command import OpenStack

pytestmark = [pytest.mark.real, pytest.mark.client]

MICROVERSIONS = ["2.1", "2.72", "2.96"]


def unique(kind: str) -> str:
    """A name that nothing else has."""
    return f"{kind}-{uuid.uuid4().hex[:8]}"


def wait_for_state(openstack: OpenStack, name: str, status: str) -> None:
    """Wait until the command shows this status."""
    wait_until(f"{name} is {status}", lambda: openstack.json("server", "show", name)["status"] == status, pause=0.5)


def test_the_whole_life_of_a_server(openstack: OpenStack, cloud: Cloud) -> None:
    name = unique("t")
    options = ("--flavor", "m1.tiny", "--image", "tiny", "--network", "private", "--wait")
    created = openstack.json("server", "create", *options, name)
    assert (created["name"], created["status"]) == (name, "ACTIVE")
    server_id = created["id"]
    try:
        (listed,) = (one for one in openstack.json("server", "list", "--long") if one["Name"] == name)
        assert listed["ID"] == server_id
        assert (listed["Status"], listed["Power State"], listed["Task State"]) == ("ACTIVE", 1, None)
        assert listed["Image Name"] == "tiny"
        assert listed["Flavor"] == "m1.tiny"
        assert listed["Networks"]["private"]
        assert listed["Host"]
        cloud.wait_for_login(server_id)
        assert f"{name} login:" in openstack("console", "log", "show", name)
        url = openstack.json("console", "url", "show", name)
        assert url["type"] == "novnc"
        assert url["url"].startswith(f"http://{cloud.nacelle.address}/")
        assert "token" in url["url"]
        openstack("server", "stop", name)
        wait_for_state(openstack, name, "SHUTOFF")
        assert not cloud.is_running(server_id)
        openstack("server", "start", name)
        wait_for_state(openstack, name, "ACTIVE")
        openstack("server", "reboot", "--hard", "--wait", name)
        wait_for_state(openstack, name, "ACTIVE")
        openstack("server", "reboot", "--soft", "--wait", name)
        wait_for_state(openstack, name, "ACTIVE")
        events = openstack.json("server", "event", "list", name)
        assert [one["Action"] for one in reversed(events)] == ["create", "stop", "start", "reboot", "reboot"]
        shown = openstack.json("server", "event", "show", name, events[-1]["Request ID"])
        assert shown["action"] == "create"
        assert all(step["result"] == "Success" for step in shown["events"] if step["result"])
    finally:
        openstack("server", "delete", "--wait", name)
    assert openstack.refused("server", "show", name) == f"No Server found for {name}"
    assert server_id not in cloud.guests()
    assert cloud.volumes(server_id) == []


@pytest.mark.parametrize("version", MICROVERSIONS)
def test_servers_at_a_microversion(openstack: OpenStack, version: str) -> None:
    at = {"OS_COMPUTE_API_VERSION": version}
    listed = openstack.json("server", "list", **at)
    assert "hello" in [one["Name"] for one in listed]
    assert openstack.json("server", "show", "hello", **at)["status"] == "ACTIVE"


def test_a_server_with_everything_that_a_user_gives_it(openstack: OpenStack, cloud: Cloud, tmp_path: Path) -> None:
    name, key = unique("full"), unique("key")
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\necho user data of $(hostname)\n")
    private = openstack("keypair", "create", key)
    assert "PRIVATE KEY" in private
    try:
        given = ("--key-name", key, "--user-data", str(script), "--property", "role=web", "--config-drive", "true")
        wanted = ("--flavor", "m1.nano", "--image", "tiny-alt", "--network", "private", "--wait")
        created = openstack.json("server", "create", *wanted, *given, "--security-group", "default", name)
        try:
            assert created["key_name"] == key
            assert created["properties"] == {"role": "web"}
            log = wait_until("user data", lambda: f"user data of {name}" in cloud.console_log(created["id"]))
            assert log
            openstack("server", "set", "--property", "zone=blue", "--description", "a web server", name)
            shown = openstack.json("server", "show", name)
            assert shown["properties"] == {"role": "web", "zone": "blue"}
            openstack("server", "unset", "--property", "zone", name)
            assert openstack.json("server", "show", name)["properties"] == {"role": "web"}
        finally:
            openstack("server", "delete", "--wait", name)
    finally:
        openstack("keypair", "delete", key)
    assert key not in [one["Name"] for one in openstack.json("keypair", "list")]


def test_refusals_are_sentences(openstack: OpenStack) -> None:
    create = ("server", "create", "--network", "private")
    no_flavor = openstack.refused(*create, "--flavor", "nothere", "--image", "tiny", "x")
    assert no_flavor == "No Flavor found for nothere"
    no_image = openstack.refused(*create, "--flavor", "m1.nano", "--image", "nothere", "x")
    assert no_image == "No Image found for nothere"
    assert "Quota exceeded" in openstack.refused(
        *create, "--flavor", "m1.nano", "--image", "tiny", "--min", "50", "--max", "50", "x"
    )
    assert "409" in openstack.refused("server", "start", "hello")


def test_flavors(openstack: OpenStack) -> None:
    names = [one["Name"] for one in openstack.json("flavor", "list")]
    assert {"m1.nano", "m1.tiny", "m1.small", "m1.medium", "m1.large", "m1.xlarge"} <= set(names)
    name = unique("flavor")
    openstack("flavor", "create", "--ram", "128", "--disk", "1", "--vcpus", "1", "--property", "a=b", name)
    try:
        shown = openstack.json("flavor", "show", name)
        assert (shown["ram"], shown["vcpus"], shown["disk"]) == (128, 1, 1)
        assert shown["properties"] == {"a": "b"}
        openstack("flavor", "unset", "--property", "a", name)
        assert openstack.json("flavor", "show", name)["properties"] == {}
    finally:
        openstack("flavor", "delete", name)
    assert name not in [one["Name"] for one in openstack.json("flavor", "list", "--all")]


def test_images(openstack: OpenStack, cloud: Cloud, tmp_path: Path) -> None:
    name = unique("image")
    source = cloud.nacelle.data / "tiny.qcow2"
    form = ("--disk-format", "qcow2", "--container-format", "bare")
    created = openstack.json("image", "create", *form, "--file", str(source), "--property", "os_distro=x", name)
    try:
        assert created["status"] == "active"
        assert created["size"] == source.stat().st_size
        assert name in [one["Name"] for one in openstack.json("image", "list")]
        saved = tmp_path / "saved"
        openstack("image", "save", "--file", str(saved), name)
        assert saved.read_bytes() == source.read_bytes()
        openstack("image", "set", "--property", "foo=bar", "--min-ram", "64", name)
        shown = openstack.json("image", "show", name)
        assert shown["min_ram"] == 64
        assert shown["properties"]["foo"] == "bar"
    finally:
        openstack("image", "delete", name)
    assert name not in [one["Name"] for one in openstack.json("image", "list")]


def test_networks(openstack: OpenStack) -> None:
    assert "private" in [one["Name"] for one in openstack.json("network", "list")]
    network = openstack.json("network", "show", "private")
    assert (network["status"], network["shared"]) == ("ACTIVE", True)
    (subnet_id,) = network["subnets"]
    assert subnet_id in [one["ID"] for one in openstack.json("subnet", "list")]
    assert openstack.json("subnet", "show", subnet_id)["enable_dhcp"] is True
    hello = openstack.json("server", "show", "hello")
    (port,) = openstack.json("port", "list", "--server", hello["id"])
    assert port["Status"] == "ACTIVE"
    assert port["Fixed IP Addresses"][0]["ip_address"] in hello["addresses"]["private"]
    assert openstack.json("port", "show", port["ID"])["device_id"] == hello["id"]
    assert "default" in [one["Name"] for one in openstack.json("security", "group", "list")]


def test_key_pairs(openstack: OpenStack, tmp_path: Path) -> None:
    name = unique("key")
    public = tmp_path / "key.pub"
    public.write_text("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGFC2JRC8Q9zkNchHxFY91AB2+IDxo4Hwq02hOcWnwzg me@here\n")
    openstack("keypair", "create", "--public-key", str(public), name)
    try:
        assert name in [one["Name"] for one in openstack.json("keypair", "list")]
        assert openstack.json("keypair", "show", name)["fingerprint"]
        assert openstack("keypair", "show", "--public-key", name).split()[1] == public.read_text().split()[1]
    finally:
        openstack("keypair", "delete", name)


def test_identity(openstack: OpenStack) -> None:
    project, user = unique("project"), unique("user")
    assert openstack.json("token", "issue")["id"]
    catalog = {one["Type"] for one in openstack.json("catalog", "list")}
    assert {"identity", "compute", "image", "network"} <= catalog
    openstack("project", "create", "--description", "of a test", project)
    try:
        openstack("user", "create", "--project", project, "--password", "a long password", user)
        try:
            openstack("role", "add", "--project", project, "--user", user, "member")
            (given,) = openstack.json("role", "assignment", "list", "--names", "--user", user)
            assert (given["Role"], given["Project"]) == ("member", f"{project}@Default")
            theirs = {"OS_USERNAME": user, "OS_PASSWORD": "a long password", "OS_PROJECT_NAME": project}
            assert openstack.json("server", "list", **theirs) == []
            assert openstack.json("project", "show", project)["description"] == "of a test"
        finally:
            openstack("user", "delete", user)
    finally:
        openstack("project", "delete", project)
    assert project not in [one["Name"] for one in openstack.json("project", "list")]


def test_the_operators_view(openstack: OpenStack) -> None:
    (host,) = openstack.json("hypervisor", "list")
    assert host["State"] == "up"
    services = openstack.json("compute", "service", "list")
    assert "nova-compute" in [one["Binary"] for one in services]
    assert all(one["State"] == "up" for one in services)
    assert "nova" in [one["Zone Name"] for one in openstack.json("availability", "zone", "list", "--compute")]
    limits = {one["Name"]: one["Value"] for one in openstack.json("limits", "show", "--absolute")}
    assert limits["instances_used"] >= 1
    assert openstack.json("quota", "show")
