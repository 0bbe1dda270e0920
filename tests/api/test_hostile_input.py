"""Hostile input: whatever is sent to whichever call, the answer is never a 500, and nothing hangs.

The calls come from the table of all that are served, so that a new one is fed from its first day. Each
gets nonsense in its path, in every query parameter that any call knows, and in its body: good bodies in
which one value after the other is replaced.
"""

from __future__ import annotations

import copy
import json
import random
import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.utils import timezone

from compute.models import Aggregate, KeyPair, SecurityGroup, Snapshot, SnapshotSchedule
from compute.networks.addresses import create_port
from compute.networks.groups import default_group
from portal.api.compute.actions import HANDLERS
from portal.api.table import Call, served_calls
from tests.conftest import Cloud, Persona

VALUES: list[Any] = [
    None,
    True,
    "",
    "\x00",
    "x\x00y",
    "١٢٣",
    "a" * 5000,
    "<img src=x onerror=alert(1)>",
    "\x1b[2J\r\nX-Evil: 1",
    "../../etc/passwd",
    "%s%n{0}",
    "\U0001f4a9\u202e\ufffe",
    "9999-12-31T23:59:59.999999-23:59",
    "0001-01-01T00:00:00+14:00",
    "10.0.0.1%eth0",
    -1,
    0,
    1.5,
    2**31,
    2**63 - 1,
    2**63,
    2**64 - 1,
    1e300,
    [],
    [None],
    [[]],
    [{}],
    {},
    {"": None},
    {"a": {"b": []}},
    {"\x00": "\x00"},
]
WORDS = [
    "", "%00", "a%00b", "%FF%FE", "%ED%A0%80", "%D9%A1%D9%A2", "1e400", "-1", "NaN", "1" * 40, "a" * 3000, "..%2F..",
    "%C2%B2", "in:", "in:%22a", "(((((", "%5B%5B%5B", "(a%2B)%2B%24", "%5C", "[]", "{}", "%27%20OR%201=1--", "gt:",
    "9999-12-31T23:59:59.999999-23:59", "0001-01-01T00:00:00%2B14:00", "2020-13-45", "password", "user__password",
    "project__name", "created_at__year", "?", "'", "true", "[%27a%27,[", "0x10", "1_0", "%E2%80%AE",
]  # fmt: skip
NAMES = [
    "limit", "marker", "offset", "page_reverse", "sort_key", "sort_dir", "sort", "name", "name__contains", "status",
    "all_tenants", "project_id", "tenant_id", "host", "flavor", "image", "ip", "ip6", "tags", "not-tags-any", "fields",
    "changes-since", "changes-before", "deleted", "created_at", "launched_at", "updated_at", "power_state", "vm_state",
    "task_state", "config_drive", "locked", "user_id", "domain_id", "enabled", "fixed_ips", "device_id", "mac_address",
    "security_groups", "shared", "visibility", "member_status", "size_min", "tag", "id", "os_hidden", "protected",
    "is_public", "minRam", "minDisk", "reserved", "usage", "allow_expired", "nocatalog", "effective", "include_names",
    "user.id", "role.id", "scope.project.id", "scope.system", "parent_id", "parents_as_list", "type", "interface",
    "service_id", "region_id", "router:external", "cidr", "gateway_ip", "ip_version", "remote_ip_prefix", "direction",
    "port_range_min", "availability_zone", "key_name", "uuid", "binary", "with_servers", "hypervisor_hostname_pattern",
    "project__name", "user__password", "properties__x", "hw_disk_bus", "a'b\"c", "description", "password_expires_at",
]  # fmt: skip
VERSIONS = ("2.1", "2.100")


@pytest.fixture
def things(cloud: Cloud, alice: Persona, root: Persona) -> dict[str, str]:
    """Ids to put into paths and bodies: of things that are there."""
    server = alice.post(
        "/compute/v2.1/servers",
        {"server": {"name": "target", "imageRef": str(cloud.image.id), "flavorRef": cloud.nano.id}},
    ).json()["server"]["id"]
    image = alice.post("/image/v2/images", {"name": "own", "disk_format": "raw", "container_format": "bare"})
    group: SecurityGroup = default_group(cloud.demo.id)
    rule = group.rules.first()
    assert rule is not None
    KeyPair.objects.create(user_id=alice.user.id, name="key", public_key="ssh-ed25519 AAAA", fingerprint="aa")
    service = root.get("/compute/v2.1/os-services").json()["services"][0]["id"]
    due = {"next_run_at": timezone.now(), "try_at": timezone.now()}
    return {
        "server_id": server,
        "snapshot_id": str(Snapshot.objects.create(instance_id=server, name="kept", state="available").pk),
        "schedule_id": str(SnapshotSchedule.objects.create(instance_id=server, name="n", **due).pk),
        "image_id": image.json()["id"],
        "project_id": cloud.demo.id,
        "quota_project": cloud.demo.id,
        "user_id": alice.user.id,
        "domain_id": cloud.domain.id,
        "role_id": root.get("/identity/v3/roles?name=member").json()["roles"][0]["id"],
        "implied_id": root.get("/identity/v3/roles?name=reader").json()["roles"][0]["id"],
        "flavor_id": cloud.nano.id,
        "network_id": str(cloud.network.id),
        "port_id": str(create_port(cloud.network, project_id=cloud.demo.id).id),
        "group_id": str(group.id),
        "rule_id": str(rule.id),
        "hypervisor_id": str(cloud.host.id),
        "service_id": str(service),
        "host_id": str(cloud.host.uuid),
        "guest_id": str(uuid.uuid4()),
        "aggregate_id": str(Aggregate.objects.create(name="rack").pk),
        "pk": str(cloud.network.id),
        "key": "key",
        "name": "key",
        "tag": "tag",
        "network": "private",
        "alias": "os-keypairs",
        "version_id": "v2.1",
    }


def bodies(things: dict[str, str]) -> dict[str, Any]:
    """A good body of each call that takes one, by the end of its path."""
    server = {
        "name": "x",
        "imageRef": things["image_id"],
        "flavorRef": things["flavor_id"],
        "networks": [{"uuid": things["network_id"], "fixed_ip": "10.0.0.9", "port": things["port_id"], "tag": ""}],
        "metadata": {"a": "b"},
        "tags": ["a"],
        "key_name": "key",
        "user_data": "aGk=",
        "availability_zone": "nova",
        "config_drive": True,
        "min_count": 1,
        "max_count": 1,
        "security_groups": [{"name": "default"}],
        "block_device_mapping_v2": [{"uuid": things["image_id"], "source_type": "image", "boot_index": 0}],
        "accessIPv4": "10.0.0.1",
        "accessIPv6": "::1",
        "description": "d",
        "hostname": "host-name",
        "OS-DCF:diskConfig": "AUTO",
        "adminPass": "p",
        "personality": [],
        "trusted_image_certificates": [],
        "host": "host-1",
        "return_reservation_id": False,
    }
    schedule = {
        "name": "n", "kind": "snapshot", "memory": True, "frequency": "weekly", "minute": 1, "hour": 2, "weekday": 3,
        "time_zone": "UTC", "keep": 4, "enabled": True,
    }  # fmt: skip
    hints = {
        "group": things["group_id"], "same_host": things["server_id"], "different_host": [things["server_id"]],
        "query": '["=", "$vcpus_used", 0]', "build_near_host_ip": "10.0.0.1", "cidr": "/24", "a": {"b": ["c"]},
    }  # fmt: skip
    changed = {key: server[key] for key in ("name", "accessIPv4", "description", "hostname", "OS-DCF:diskConfig")}
    flavor = {
        "name": "f", "vcpus": 1, "ram": 64, "disk": 1, "swap": 0, "OS-FLV-EXT-DATA:ephemeral": 0, "id": "auto",
        "rxtx_factor": 1.0, "os-flavor-access:is_public": True, "description": "d",
    }  # fmt: skip
    fixed = [{"subnet_id": things["network_id"], "ip_address": "10.0.0.9"}]
    port = {
        "network_id": things["network_id"], "name": "p", "description": "d", "admin_state_up": True,
        "mac_address": "fa:16:3e:00:00:01", "fixed_ips": fixed, "security_groups": [things["group_id"]],
        "project_id": things["project_id"], "binding:vnic_type": "normal",
    }  # fmt: skip
    subnet = {
        "network_id": things["network_id"], "cidr": "10.9.0.0/24", "ip_version": 4, "name": "n", "enable_dhcp": True,
        "gateway_ip": "10.9.0.1", "dns_nameservers": ["10.9.0.1"], "host_routes": [], "description": "d",
        "allocation_pools": [{"start": "10.9.0.2", "end": "10.9.0.9"}],
    }  # fmt: skip
    card = {"net_id": things["network_id"], "fixed_ips": [{"ip_address": "10.0.0.9"}], "tag": "t"}
    scope = {"project": {"id": things["project_id"], "name": "demo", "domain": {"id": "default", "name": "Default"}}}
    user = {"id": things["user_id"], "name": "alice", "password": "p", "domain": {"id": "default", "name": "Default"}}
    credential = {
        "name": "c", "description": "d", "secret": "s" * 20, "expires_at": "2099-01-01T00:00:00.000000Z",
        "roles": [{"id": things["role_id"]}, {"name": "member"}], "unrestricted": False,
        "access_rules": [{"path": "/v2.1/servers", "method": "GET", "service": "compute"}],
    }  # fmt: skip
    person = {
        "name": "u", "password": "p", "domain_id": "default", "enabled": True, "email": "a@b.c", "description": "d",
        "default_project_id": things["project_id"], "options": {},
    }  # fmt: skip
    project = {
        "name": "p", "domain_id": "default", "enabled": True, "description": "d", "parent_id": "default",
        "is_domain": False, "tags": ["a"], "options": {},
    }  # fmt: skip
    image = {
        "name": "i", "disk_format": "raw", "container_format": "bare", "visibility": "private", "min_disk": 0,
        "min_ram": 0, "tags": ["a"], "protected": False, "os_hidden": False, "id": str(uuid.uuid4()), "own": "x",
    }  # fmt: skip
    return {
        "/servers": {"server": server, "os:scheduler_hints": hints},
        "/servers/{server_id}": {"server": changed},
        "/remote-consoles": {"remote_console": {"protocol": "vnc", "type": "novnc"}},
        "/metadata": {"metadata": {"a": "b"}},
        "/metadata/{key}": {"meta": {"key": "b"}},
        "/servers/{server_id}/tags": {"tags": ["a"]},
        "/flavors": {"flavor": flavor},
        "/flavors/{flavor_id}": {"flavor": {"description": "d"}},
        "/flavors/{flavor_id}/action": {"addTenantAccess": {"tenant": things["project_id"]}},
        "/os-extra_specs": {"extra_specs": {"a": "b"}},
        "/os-extra_specs/{key}": {"key": "b"},
        "/os-keypairs": {"keypair": {"name": "k", "public_key": "ssh-rsa x", "type": "ssh", "user_id": "u"}},
        "/os-server-groups": {
            "server_group": {"name": "g", "policy": "anti-affinity", "rules": {"max_server_per_host": 2}}
        },
        "/os-aggregates": {"aggregate": {"name": "a", "availability_zone": "z"}},
        "/os-aggregates/{aggregate_id}": {"aggregate": {"name": "a", "availability_zone": "z"}},
        "/os-aggregates/{aggregate_id}/images": {"cache": [{"id": things["image_id"]}]},
        "/os-aggregates/{aggregate_id}/action": {"set_metadata": {"metadata": {"a": "b"}}},
        "/os-quota-sets/{quota_project}": {"quota_set": {"instances": 1, "cores": 1, "ram": 1, "force": True}},
        "/os-services/{service_id}": {"status": "enabled", "disabled_reason": "r", "forced_down": False},
        "/auth/tokens": {
            "auth": {
                "identity": {
                    "methods": ["password", "token", "application_credential"],
                    "password": {"user": user},
                    "token": {"id": "t"},
                    "application_credential": {"id": "i", "name": "n", "secret": "s", "user": user},
                },
                "scope": scope,
            }
        },
        "/domains": {"domain": {"name": "d", "description": "d", "enabled": True, "options": {}}},
        "/domains/{domain_id}": {"domain": {"name": "d", "description": "d", "enabled": True}},
        "/projects": {"project": project},
        "/projects/{project_id}": {"project": project},
        "/projects/{project_id}/tags": {"tags": ["a"]},
        "/v3/users": {"user": person},
        "/v3/users/{user_id}": {"user": {key: value for key, value in person.items() if key != "password"}},
        "/password": {"user": {"password": "new password", "original_password": "wrong"}},
        "/application_credentials": {"application_credential": credential},
        "/v3/roles": {"role": {"name": "r", "domain_id": "default", "description": "d", "options": {}}},
        "/v3/roles/{role_id}": {"role": {"name": "r", "description": "d"}},
        "/v2/images": image,
        "/v2/images/{image_id}": [
            {"op": "replace", "path": "/name", "value": "n"},
            {"op": "add", "path": "/own", "value": "n"},
        ],
        "/os-interface": {"interfaceAttachment": card},
        "/v2.0/networks": {"network": {"name": "n", "description": "d", "admin_state_up": True, "mtu": 1400}},
        "/v2.0/networks/{pk}": {"network": {"name": "n", "description": "d", "shared": True}},
        "/v2.0/subnets": {"subnet": subnet},
        "/ports": {"port": port},
        "/security-groups": {"security_group": {"name": "g", "description": "d", "stateful": True}},
        "/nacelle/v1/hosts": {"name": "h", "uri": "fake://h"},
        "/guests/{guest_id}/adopt": {"project_id": things["project_id"], "name": "n", "delete_disks": True},
        "/nacelle/v1/hosts/tls-script": {"address": "10.0.0.5"},
        "/nacelle/v1/hosts/{host_id}": {
            "name": "h",
            "console_address": "127.0.0.1",
            "domain_type": "qemu",
            "cpu_ratio": 2.0,
            "memory_ratio": 1.0,
            "disk_ratio": 1.0,
            "reserved_memory_mb": 1,
            "reserved_disk_gb": 1,
        },
        "/servers/{server_id}/snapshots": {"name": "n", "description": "d", "memory": True},
        "/snapshots/{snapshot_id}/revert": {"memory": True, "start": True},
        "/servers/{server_id}/schedules": schedule,
        "/schedules/{schedule_id}": schedule,
    }


# The values of the actions' keys that take one.
ACTIONS: dict[str, Any] = {
    "addFixedIp": {"networkId": "00000000-0000-4000-8000-000000000000"},
    "removeFixedIp": {"address": "10.0.0.9"},
    "addSecurityGroup": {"name": "default"},
    "removeSecurityGroup": {"name": "default"},
    "createImage": {"name": "n", "metadata": {"a": "b"}},
    "createBackup": {"name": "n", "backup_type": "daily", "rotation": 1, "metadata": {"a": "b"}},
    "changePassword": {"adminPass": "p"},
    "lock": {"locked_reason": "r"},
    "os-resetState": {"state": "active"},
    "unshelve": {"availability_zone": "nova", "host": "host-1"},
    "reboot": {"type": "HARD"},
    "rebuild": {"imageRef": "x", "name": "n", "metadata": {"a": "b"}, "user_data": "aGk=", "personality": []},
    "resize": {"flavorRef": "2", "OS-DCF:diskConfig": "AUTO"},
    "rescue": {"adminPass": "p", "rescue_image_ref": "x"},
    "os-getConsoleOutput": {"length": 5},
    "os-getVNCConsole": {"type": "novnc"},
    "os-getSerialConsole": {"type": "serial"},
}


def mutated(good: Any) -> Iterator[Any]:
    """The body with each of its values replaced by each of the hostile ones, its keys too."""
    yield from VALUES
    for where in list(_places(good)):
        for value in VALUES:
            body = copy.deepcopy(good)
            _put(body, where, value)
            yield body
    if isinstance(good, dict):
        yield {**good, "\x00": 1}
        yield {**good, "x" * 5000: {}}


def _places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in entries:
        yield (*at, key)
        yield from _places(one, (*at, key))


def _put(body: Any, where: tuple[Any, ...], value: Any) -> None:
    for key in where[:-1]:
        body = body[key]
    body[where[-1]] = value


def good_body(call: Call, things: dict[str, str]) -> Any:
    """The good body of a call: of the longest path that its own ends with."""
    fitting = [(end, body) for end, body in bodies(things).items() if call.path.endswith(end)]
    return max(fitting, key=lambda one: len(one[0]))[1] if fitting else {"x": "y"}


def filled(path: str, things: dict[str, str], text: str | None = None, which: int = -1) -> str:
    """A path with ids of things that are there; ``text`` in the place ``which``."""
    names = re.findall(r"\{(\w+)\}", path)
    for index, name in enumerate(names):
        path = path.replace(f"{{{name}}}", text if index == which and text is not None else things.get(name, "1"), 1)
    return path


class Feeder:
    """Sends, and remembers what was answered with a 500."""

    def __init__(self, persona: Persona) -> None:
        self.persona = persona
        persona.client.raise_request_exception = False
        self.sent = 0
        self.failed: list[str] = []

    def send(self, method: str, path: str, body: Any = None, version: str = "2.100", **extra: Any) -> None:
        """One request. JSON that Python cannot write is sent as it is."""
        headers = {"OpenStack-API-Version": f"compute {version}"}
        answer = self.persona.request(method, path, body, headers=headers, **extra)
        self.sent += 1
        if answer.status_code in (500, 502, 503, 504) or not _readable(answer):
            self.failed.append(f"{answer.status_code} {method} {path[:200]} {version} {str(body)[:300]}")


def _readable(answer: Any) -> bool:
    """Whether what calls itself JSON is JSON."""
    if answer.get("Content-Type", "").startswith("application/json") and answer.content:
        json.loads(answer.content)
    return True


def patch_media(call: Call) -> dict[str, str]:
    """The content type that a call insists on."""
    is_patch = call.method == "PATCH" and call.path.startswith("/image")
    return {"content_type": "application/openstack-images-v2.1-json-patch"} if is_patch else {}


CALLS = served_calls()
WITH_BODY = [call for call in CALLS if call.method in ("POST", "PUT", "PATCH")]


RAW = [
    b'{"server":' + b"[" * 5000 + b"]" * 5000 + b"}",
    b'{"server":' + b'{"a":' * 200 + b"1" + b"}" * 201,
    b"\xff\xfe",
    b"\x00",
    b"\xef\xbb\xbf{}",
    b'{"a": "\\ud800"}',
    b'{"a": 1' + b"0" * 400 + b"}",
    b'{"a": NaN}',
    b'{"a": 1, "a": []}',
    b'"x"',
]
OTHER_TYPES = ("application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/xml; charset=nonsense")


def some(everything: list[Any], most: int, seed: str) -> list[Any]:
    """A part of a long list: the same for each seed, so that a failure comes again."""
    return random.Random(seed).sample(everything, min(most, len(everything)))


@pytest.fixture
def feeders(things: dict[str, str], alice: Persona, root: Persona) -> list[Feeder]:
    """A member and an administrator: different branches, different columns."""
    return [Feeder(alice), Feeder(root)]


def fed(feeders: list[Feeder]) -> list[str]:
    """What failed; there must have been something to fail."""
    assert all(feeder.sent for feeder in feeders)
    return [line for feeder in feeders for line in feeder.failed]


def test_queries(feeders: list[Feeder], things: dict[str, str]) -> None:
    """Every parameter that any list knows, to every list."""
    for call in (call for call in CALLS if call.method == "GET" and not call.path.endswith("}")):
        pairs = some([(name, word) for name in NAMES for word in WORDS], 12, call.path)
        for index, (name, word) in enumerate(pairs):
            feeders[index % 2].send("GET", f"{filled(call.path, things)}?{name}={word}")
    assert fed(feeders) == []


def test_paths(feeders: list[Feeder], things: dict[str, str]) -> None:
    for call in CALLS:
        for which in range(len(re.findall(r"\{\w+\}", call.path))):
            for index, word in enumerate(some(WORDS, 4, f"{call.path} {call.method} {which}")):
                path = filled(call.path, things, word, which)
                feeders[index % 2].send(call.method, path, good_body(call, things), **patch_media(call))
    assert fed(feeders) == []


def test_bodies(feeders: list[Feeder], things: dict[str, str]) -> None:
    """Good bodies, each with one value that is not."""
    for call in WITH_BODY:
        path = filled(call.path, things)
        for index, body in enumerate(some(list(mutated(good_body(call, things))), 20, f"{call.path} {call.method}")):
            feeders[index % 2].send(call.method, path, body, VERSIONS[index // 2 % 2], **patch_media(call))
    assert fed(feeders) == []


def test_actions(feeders: list[Feeder], things: dict[str, str]) -> None:
    path = f"/compute/v2.1/servers/{things['server_id']}/action"
    for key in HANDLERS:
        for index, body in enumerate(some(list(mutated({key: ACTIONS.get(key, {})})), 10, key)):
            feeders[index % 2].send("POST", path, body, VERSIONS[index // 2 % 2])
    assert fed(feeders) == []


def test_what_is_no_json(feeders: list[Feeder], things: dict[str, str]) -> None:
    for number, call in enumerate(WITH_BODY):
        for index, raw in enumerate(some(RAW, 5, f"{call.path} {call.method}")):
            feeders[index % 2].send(call.method, filled(call.path, things), raw, **patch_media(call))
            kind = OTHER_TYPES[(number + index) % len(OTHER_TYPES)]
            feeders[index % 2].send(call.method, filled(call.path, things), raw, content_type=kind)
    assert fed(feeders) == []
