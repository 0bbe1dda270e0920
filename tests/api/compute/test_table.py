"""The derived table of calls, and what is true of every call of the compute API."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from compute.models import (
    Action,
    Aggregate,
    Flavor,
    FlavorAccess,
    Host,
    Image,
    Instance,
    KeyPair,
    Migration,
    Network,
    QuotaLimit,
    ServerGroup,
)
from portal.api.table import Call, calls_document, served_calls
from portal.identity.models import Assignment, Role
from portal.identity.policy import rules
from tests.api.compute.conftest import NEWEST, at
from tests.conftest import Cloud, Persona

CALLS = [call for call in served_calls() if call.path.startswith("/compute/v2.1/") and call.rule]
# A project's own rows behind the parts of a path; the rest is public or an administrator's.
OWNED = ("{server_id}", "{name}")
# Reads that a fake host has no answer to, or no libvirt host.
UNANSWERED = ("/uptime", "/startup", "/shutdown", "/reboot")


def test_every_call_has_a_sentence() -> None:
    assert [call for call in served_calls() if not call.sentence.endswith(".")] == []


def test_every_call_of_compute_has_a_declared_rule() -> None:
    open_to_all = {"/compute", "/compute/v2.1", "/compute/versions/{version_id}", "/compute/v2.1/versions/{version_id}"}
    for call in served_calls():
        if call.path.startswith("/compute"):
            assert call.rule in rules() or call.path in open_to_all, call


def test_the_document_lists_them_once() -> None:
    lines = calls_document().splitlines()[2:]
    assert len(lines) == len(set(lines)) == len(served_calls())
    assert any(line.startswith("| `POST /compute/v2.1/servers` |") for line in lines)


def version_of(call: Call) -> str:
    return call.until or NEWEST


def _migration(cloud: Cloud, instance: Instance) -> Migration:
    return Migration.objects.create(
        instance=instance, source_host=cloud.host, old_flavor=instance.flavor, new_flavor=instance.flavor,
        migration_type="live-migration", status="running", old_vm_state="active",
    )  # fmt: skip


@pytest.fixture
def path_of(cloud: Cloud, active: Instance, alice: Persona) -> Callable[[Call], str]:
    """The address of a call with alice's rows, or the cloud's, in its variable parts."""
    key = KeyPair.objects.create(user=alice.user, name="laptop", public_key="ssh-ed25519 AAAA", fingerprint="00")
    parts = {
        "server_id": active.id, "flavor_id": cloud.nano.id, "name": key.name, "quota_project": cloud.demo.id,
        "usage_project": cloud.demo.id, "host_name": cloud.host.name,
        "network": "private", "key": "tier", "tag": "red", "port_id": active.ports.get().id, "alias": "os-consoles",
        "request_id": Action.objects.get(instance=active).request_id, "image_id": cloud.image.id,
        "network_id": cloud.network.id, "group_id": active.ports.get().security_groups.get().id,
        "hypervisor_id": cloud.host.uuid, "service_id": cloud.host.service_uuid,
        "migration_id": _migration(cloud, active).pk,
        "aggregate_id": Aggregate.objects.create(name="racks").id,
    }  # fmt: skip
    together = ServerGroup.objects.create(name="pair", project=cloud.demo, user=alice.user, policy="affinity")
    Instance.objects.update(tags=["red"])
    Flavor.objects.filter(pk=cloud.nano.pk).update(extra_specs={"tier": "x"}, is_public=False)
    Image.objects.filter(pk=cloud.image.pk).update(properties={"tier": "x"})
    FlavorAccess.objects.create(flavor=cloud.nano, project=cloud.demo)

    def fill(call: Call) -> str:
        if call.until and call.until < "2.53" and "{hypervisor_id}" in call.path:
            return call.path.format(**{**parts, "hypervisor_id": cloud.host.name})
        if call.until and "{hypervisor_id}" in call.path:
            return call.path.format(**{**parts, "hypervisor_id": cloud.host.uuid})
        if "os-server-groups" in call.path:
            return call.path.format(**{**parts, "group_id": together.id})
        return call.path.format(**parts)

    return fill


def send(persona: Persona, call: Call, path: str) -> Any:
    body = {} if call.method in ("POST", "PUT") else None
    return persona.request(call.method, path, body, headers=at(version_of(call)))


def everything() -> list[Any]:
    models = (Instance, Action, Aggregate, Flavor, FlavorAccess, Host, Image, KeyPair, Network, QuotaLimit, ServerGroup)
    return [list(model.objects.order_by("pk").values()) for model in models]


# Each of these goes over all calls in one test, as setting the scene costs more than the calls do.


def test_without_a_token_there_is_no_answer(path_of: Callable[[Call], str], anyone: Persona) -> None:
    before = everything()
    proxied = {"X-Roles": "admin", "X-User-Id": "root", "X-Project-Id": "demo", "X-Identity-Status": "Confirmed"}
    for call in CALLS:
        for more in ({}, proxied, {"X-Auth-Token": "forged"}):
            response = anyone.request(call.method, path_of(call), headers={**at(version_of(call)), **more})
            assert response.status_code == 401, (call, response.content)
            assert response["WWW-Authenticate"].startswith("Keystone uri=")
    assert everything() == before


def test_the_role_decides(path_of: Callable[[Call], str], bob: Persona) -> None:
    """Bob is a reader of demo: 403 where the rule asks for more, never where it does not."""
    before = everything()
    for call in CALLS:
        response = send(bob, call, path_of(call))
        if rules()[call.rule].role == "reader":
            assert response.status_code != 403, (call, response.content)
        else:
            assert response.status_code == 403, (call, response.content)
            assert response.json()["forbidden"]["message"] == f"Policy doesn't allow {call.rule} to be performed."
    assert everything() == before


def test_a_stranger_finds_nothing(path_of: Callable[[Call], str], charlie: Persona) -> None:
    """Charlie may do with his own project whatever a project's people may."""
    Assignment.objects.create(user=charlie.user, role=Role.objects.get(name="manager"), project=charlie.project)
    before = everything()
    owned = [one for one in CALLS if any(part in one.path for part in OWNED) and rules()[one.rule].role != "admin"]
    assert len(owned) > 20
    for call in owned:
        response = send(charlie, call, path_of(call))
        expected = 403 if rules()[call.rule].role == "admin" else 404
        assert response.status_code == expected, (call, response.content)
    assert everything() == before


def test_reads_answer_at_both_ends(path_of: Callable[[Call], str], root: Persona, alice: Persona) -> None:
    for call in CALLS:
        if call.method != "GET" or call.path.endswith(UNANSWERED):
            continue
        who = alice if rules()[call.rule].role == "reader" else root
        response = send(who, call, path_of(call))
        assert response.status_code in (200, 204), (call, response.content)
        if "hypervisor_id" not in call.path:
            assert who.get(path_of(call), headers=at(call.since)).status_code in (200, 204), call


def test_what_is_gone_is_404(path_of: Callable[[Call], str], root: Persona) -> None:
    for call in CALLS:
        if call.until:
            assert root.request(call.method, path_of(call), headers=at(NEWEST)).status_code == 404, call


def test_no_address_breaks_it(path_of: Callable[[Call], str], root: Persona) -> None:
    """Nonsense in the variable parts and in the body is the caller's mistake, never an internal error."""
    for call in CALLS:
        for text in ("%00", "..", "%F0%9F%92%A9", "x" * 500, str(uuid.UUID(int=7))):
            path = re.sub(r"\{\w+\}", text, call.path)
            body = [1] if call.method in ("POST", "PUT") else None
            response = root.request(call.method, path, body, headers=at(version_of(call)))
            assert response.status_code < 500 or response.status_code == 501, (path, response.content)


def test_the_project_in_the_path(active: Instance, cloud: Cloud, alice: Persona) -> None:
    path = f"/compute/v2.1/{cloud.demo.id}/servers/{active.id}"
    server = alice.get(path).json()["server"]
    assert server["links"][0]["href"].endswith(path)
    wrong = alice.get(f"/compute/v2.1/{cloud.other.id}/servers/{active.id}")
    assert wrong.status_code == 400 and "Malformed request URL" in wrong.json()["badRequest"]["message"]


def test_methods_that_are_not_there(alice: Persona, cloud: Cloud) -> None:
    assert alice.request("PATCH", "/compute/v2.1/servers").status_code == 405
    response = alice.get("/compute/v2.1/os-nothing")
    assert response.status_code == 404 and "itemNotFound" in response.json()
