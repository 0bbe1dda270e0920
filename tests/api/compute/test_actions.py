"""Actions of servers, their log, and what hangs on them."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from compute.models import Action, Event, Image, Instance
from compute.operations import OPERATIONS
from portal.api.compute.actions import HANDLERS, NOT_SERVED
from tests.api.compute.conftest import NEWEST, at, message
from tests.conftest import Cloud, Persona


@pytest.fixture
def server(active: Instance) -> str:
    return f"/compute/v2.1/servers/{active.id}"


def state_of(persona: Persona, server: str) -> tuple[str, str | None]:
    shown = persona.get(server).json()["server"]
    return shown["status"], shown["OS-EXT-STS:task_state"]


def test_every_operation_with_a_key_can_be_asked_for() -> None:
    keys = {operation.wire for operation in OPERATIONS.values() if operation.wire}
    assert keys <= set(HANDLERS)
    assert not NOT_SERVED & set(HANDLERS)


def test_stop_start_reboot(server: str, alice: Persona, drain: Callable[[], int]) -> None:
    for body, during, after in (
        ({"os-stop": None}, ("ACTIVE", "powering-off"), "SHUTOFF"),
        ({"os-start": None}, ("SHUTOFF", "powering-on"), "ACTIVE"),
        ({"reboot": {"type": "SOFT"}}, ("REBOOT", "rebooting"), "ACTIVE"),
        ({"reboot": {"type": "HARD"}}, ("HARD_REBOOT", "rebooting_hard"), "ACTIVE"),
        ({"reboot": {"type": "hard"}}, ("HARD_REBOOT", "rebooting_hard"), "ACTIVE"),
    ):
        response = alice.post(f"{server}/action", body)
        assert response.status_code == 202 and not response.content and "Content-Type" not in response
        assert state_of(alice, server) == during
        drain()
        assert state_of(alice, server) == (after, None)


def test_the_wrong_state_is_409(server: str, alice: Persona) -> None:
    response = alice.post(f"{server}/action", {"os-start": None})
    assert response.status_code == 409
    assert "while it is in vm_state active" in response.json()["conflictingRequest"]["message"]
    alice.post(f"{server}/action", {"os-stop": None})
    response = alice.post(f"{server}/action", {"os-stop": None})
    assert response.status_code == 409 and "task_state powering-off" in message(response)
    assert Action.objects.filter(operation="stop").count() == 1


def test_a_locked_server_is_for_administrators(server: str, alice: Persona, root: Persona) -> None:
    Instance.objects.update(locked=True)
    for answer in (
        alice.post(f"{server}/action", {"os-stop": None}),
        alice.delete(server),
        alice.put(f"{server}/metadata", {"metadata": {}}),
    ):
        assert answer.status_code == 409 and message(answer).endswith("is locked")
    assert root.post(f"{server}/action", {"os-stop": None}).status_code == 202


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({}, 400, "no action"),
        ({"os-start": None, "os-stop": None}, 400, "more than one"),
        ({"explode": None}, 400, "There is no such action: explode"),
        ({"resetNetwork": None}, 501, "not served yet"),
        ({"reboot": None}, 400, "reboot"),
        ({"reboot": {}}, 400, "SOFT or HARD"),
        ({"reboot": {"type": "WARM"}}, 400, "SOFT or HARD"),
        ({"reboot": {"type": "SOFT", "more": 1}}, 400, "SOFT or HARD"),
        ({"os-getConsoleOutput": {"length": "x"}}, 400, "integer"),
        ({"os-getConsoleOutput": {"length": -5}}, 400, "-1"),
        ({"os-getConsoleOutput": 7}, 400, "object"),
        ({"os-getVNCConsole": {"type": "xvpvnc"}}, 400, "Unavailable console type xvpvnc."),
        ({"os-getVNCConsole": {"type": "serial"}}, 400, "Unavailable console type serial."),
        ({"os-getSPICEConsole": {"type": "spice-html5"}}, 400, "Unavailable console type spice-html5."),
    ],
)
def test_bad_actions(server: str, alice: Persona, body: dict[str, Any], status: int, words: str) -> None:
    before = Action.objects.count()
    response = alice.post(f"{server}/action", body)
    assert response.status_code == status, response.content
    assert words in message(response)
    assert Action.objects.count() == before


def test_actions_on_nothing(alice: Persona, cloud: Cloud) -> None:
    for body in ({"os-start": None}, {"resize": {"flavorRef": "1"}}, {"explode": 1}):
        assert alice.post(f"/compute/v2.1/servers/{uuid.uuid4()}/action", body).status_code == 404


def test_the_console_log(server: str, alice: Persona, bob: Persona) -> None:
    for body in ({}, None, {"length": 5}, {"length": "5"}, {"length": None}, {"length": -1}, {"length": 0}):
        response = alice.post(f"{server}/action", {"os-getConsoleOutput": body})
        assert response.status_code == 200 and isinstance(response.json()["output"], str), response.content
    response = bob.post(f"{server}/action", {"os-getConsoleOutput": {}})
    assert response.status_code == 403 and "os-console-output" in message(response)


def test_the_console_log_of_a_server_without_a_host(web: Instance, alice: Persona) -> None:
    response = alice.post(f"/compute/v2.1/servers/{web.id}/action", {"os-getConsoleOutput": {}})
    assert response.status_code == 409 and "is not ready" in message(response)


def test_consoles(server: str, alice: Persona, bob: Persona) -> None:
    old = alice.post(f"{server}/action", {"os-getVNCConsole": {"type": "novnc"}}, headers=at("2.5")).json()["console"]
    assert old["type"] == "novnc" and old["url"].startswith("http")
    assert alice.post(f"{server}/action", {"os-getVNCConsole": {"type": "novnc"}}, headers=at("2.6")).status_code == 404
    for protocol, kind in (("vnc", "novnc"), ("serial", "serial")):
        body = {"remote_console": {"protocol": protocol, "type": kind}}
        console = alice.post(f"{server}/remote-consoles", body, headers=at("2.6")).json()["remote_console"]
        assert (console["protocol"], console["type"]) == (protocol, kind) and "token=" in console["url"]
        assert bob.post(f"{server}/remote-consoles", body, headers=at("2.6")).status_code == 403
        assert alice.post(f"{server}/remote-consoles", body, headers=at("2.5")).status_code == 404


@pytest.mark.parametrize(
    ("wanted", "version", "words"),
    [
        ({"protocol": "spice", "type": "spice-html5"}, "2.6", "Unavailable console type spice-html5."),
        ({"protocol": "mks", "type": "webmks"}, "2.7", "mks"),
        ({"protocol": "mks", "type": "webmks"}, "2.8", "Unavailable console type webmks."),
        ({"protocol": "spice", "type": "spice-direct"}, "2.98", "spice-direct"),
        ({"protocol": "spice", "type": "spice-direct"}, "2.99", "Unavailable console type spice-direct."),
        ({"protocol": "vnc", "type": "serial"}, "2.6", "vnc"),
        ({"protocol": "vnc"}, "2.6", "vnc"),
        ("vnc", "2.6", "object"),
    ],
)
def test_bad_consoles(server: str, alice: Persona, wanted: Any, version: str, words: str) -> None:
    response = alice.post(f"{server}/remote-consoles", {"remote_console": wanted}, headers=at(version))
    assert response.status_code == 400 and words in message(response), response.content


ACTION = {"action", "instance_uuid", "request_id", "user_id", "project_id", "start_time", "message"}
EVENT = {"event", "start_time", "finish_time", "result"}


@pytest.mark.parametrize(
    ("version", "events", "action", "event", "details"),
    [
        ("2.1", False, ACTION, EVENT, {"traceback"}),
        ("2.51", True, ACTION, EVENT, {"traceback"}),
        ("2.58", True, ACTION | {"updated_at"}, EVENT, {"traceback"}),
        ("2.62", True, ACTION | {"updated_at"}, EVENT | {"hostId"}, {"traceback", "host"}),
        (NEWEST, True, ACTION | {"updated_at"}, EVENT | {"hostId"}, {"traceback", "host", "details"}),
    ],
)
def test_the_action_log(
    server: str,
    alice: Persona,
    root: Persona,
    version: str,
    events: bool,
    action: set[str],
    event: set[str],
    details: set[str],
) -> None:
    listed = alice.get(f"{server}/os-instance-actions", headers=at(version)).json()["instanceActions"]
    assert [set(one) for one in listed] == [action] and listed[0]["action"] == "create"
    path = f"{server}/os-instance-actions/{listed[0]['request_id']}"
    shown = alice.get(path, headers=at(version)).json()["instanceAction"]
    assert set(shown) == action | ({"events"} if events else set())
    if events:
        assert set(shown["events"][0]) == event and "host-1" not in str(shown)
    shown = root.get(path, headers=at(version)).json()["instanceAction"]
    assert set(shown["events"][0]) == event | details


def test_both_reboots_have_one_name(server: str, alice: Persona, drain: Callable[[], int]) -> None:
    alice.post(f"{server}/action", {"reboot": {"type": "HARD"}})
    drain()
    listed = alice.get(f"{server}/os-instance-actions").json()["instanceActions"]
    assert [one["action"] for one in listed] == ["reboot", "create"]


def test_the_log_of_a_deleted_server(server: str, alice: Persona, charlie: Persona, drain: Callable[[], int]) -> None:
    alice.delete(server)
    drain()
    path = f"{server}/os-instance-actions"
    assert alice.get(path, headers=at("2.20")).status_code == 404
    listed = alice.get(path, headers=at("2.21")).json()["instanceActions"]
    assert [one["action"] for one in listed] == ["delete", "create"]
    assert charlie.get(path, headers=at("2.21")).status_code == 404


def test_pages_of_the_log(server: str, active: Instance, alice: Persona, django_assert_max_num_queries: Any) -> None:
    for number in range(4):
        Action.objects.create(instance=active, operation="stop", request_id=f"req-{number}", state="done")
    path, version = f"{server}/os-instance-actions", at("2.66")
    page = alice.get(f"{path}?limit=2", headers=version).json()
    assert [one["request_id"] for one in page["instanceActions"]] == ["req-3", "req-2"]
    assert "marker=req-2" in page["links"][0]["href"]
    page = alice.get(f"{path}?limit=2&marker=req-2", headers=version).json()
    assert [one["request_id"] for one in page["instanceActions"]] == ["req-1", "req-0"]
    assert alice.get(f"{path}?marker=none", headers=version).status_code == 400
    assert alice.get(f"{path}?colour=red", headers=version).status_code == 400
    assert alice.get(f"{path}?changes-since=2051-01-01T00:00:00Z", headers=version).json()["instanceActions"] == []
    assert len(alice.get(f"{path}?changes-before=2051-01-01T00:00:00Z", headers=version).json()["instanceActions"]) == 5
    assert alice.get(f"{path}?changes-since=x", headers=version).status_code == 400
    assert alice.get(f"{path}/req-none").status_code == 404
    with django_assert_max_num_queries(8):
        alice.get(path, headers=version)


def test_a_traceback_is_for_administrators(server: str, active: Instance, alice: Persona, root: Persona) -> None:
    Event.objects.update(result="Error", traceback="Traceback of spawn", message="the pool is gone")
    path = f"{server}/os-instance-actions/{Action.objects.get().request_id}"
    for version in ("2.1", "2.51", NEWEST):
        assert "Traceback" not in alice.get(path, headers=at(version)).content.decode()
        assert "Traceback" in root.get(path, headers=at(version)).content.decode()


def test_addresses(server: str, alice: Persona) -> None:
    addresses = alice.get(f"{server}/ips").json()["addresses"]
    assert addresses.keys() == {"private"} and addresses["private"][0].keys() == {"version", "addr"}
    assert alice.get(f"{server}/ips/private").json() == addresses
    assert alice.get(f"{server}/ips/none").status_code == 404


def test_metadata(server: str, alice: Persona) -> None:
    path = f"{server}/metadata"
    assert alice.get(path).json() == {"metadata": {"tier": "front"}}
    assert alice.post(path, {"metadata": {"a": "b"}}).json() == {"metadata": {"tier": "front", "a": "b"}}
    assert alice.put(path, {"metadata": {"c": "d"}}).json() == {"metadata": {"c": "d"}}
    assert alice.put(f"{path}/c", {"meta": {"c": "e"}}).json() == {"meta": {"c": "e"}} == alice.get(f"{path}/c").json()
    assert alice.delete(f"{path}/c").status_code == 204
    for answer in (alice.get(f"{path}/c"), alice.delete(f"{path}/c")):
        assert answer.status_code == 404 and message(answer) == "Metadata item was not found"
    for bad in (
        {},
        {"metadata": 1},
        {"metadata": {"": "x"}},
        {"metadata": {"a": None}},
        {"metadata": {"a": "x" * 256}},
        {"meta": {}},
    ):
        assert alice.post(path, bad).status_code == 400 == alice.put(path, bad).status_code, bad
    for bad in ({"meta": {"x": "y"}}, {"meta": {}}, {"meta": {"a": "b", "c": "d"}}, {"metadata": {"a": "b"}}):
        assert alice.put(f"{path}/a", bad).status_code == 400, bad
    response = alice.put(path, {"metadata": {str(number): "x" for number in range(129)}})
    assert response.status_code == 403 and alice.get(path).json() == {"metadata": {}}


def test_metadata_of_a_server_that_builds(web: Instance, alice: Persona) -> None:
    response = alice.post(f"/compute/v2.1/servers/{web.id}/metadata", {"metadata": {"a": "b"}})
    assert response.status_code == 409 and "vm_state building" in message(response)


def test_tags(server: str, alice: Persona) -> None:
    path, version = f"{server}/tags", at("2.26")
    assert alice.get(path, headers=at("2.25")).status_code == 404
    response = alice.put(f"{path}/red", headers=version)
    assert response.status_code == 201 and response["Location"].endswith(f"{path}/red")
    assert alice.put(f"{path}/red", headers=version).status_code == 204
    assert alice.get(f"{path}/red", headers=version).status_code == 204
    assert alice.put(path, {"tags": ["b", "a", "b"]}, headers=version).json() == {"tags": ["a", "b"]}
    assert (
        alice.get(f"{path}/red", headers=version).status_code
        == 404
        == alice.delete(f"{path}/red", headers=version).status_code
    )
    assert alice.delete(f"{path}/a", headers=version).status_code == 204
    assert alice.get(path, headers=version).json() == {"tags": ["b"]}
    assert alice.delete(path, headers=version).status_code == 204 and alice.get(path, headers=version).json() == {
        "tags": []
    }
    for bad in (
        {},
        {"tags": "a"},
        {"tags": ["a,b"]},
        {"tags": ["x" * 61]},
        {"tags": [1]},
        {"tags": [str(n) for n in range(51)]},
    ):
        assert alice.put(path, bad, headers=version).status_code == 400, bad
    assert alice.put(f"{path}/{'x' * 61}", headers=version).status_code == 400


def test_cards_volumes_and_groups(server: str, active: Instance, alice: Persona) -> None:
    cards = alice.get(f"{server}/os-interface").json()["interfaceAttachments"]
    assert [set(one) for one in cards] == [{"port_id", "net_id", "mac_addr", "port_state", "fixed_ips"}]
    shown = alice.get(f"{server}/os-interface/{cards[0]['port_id']}", headers=at("2.70")).json()["interfaceAttachment"]
    assert shown == {**cards[0], "tag": None}
    assert alice.get(f"{server}/os-interface/{uuid.uuid4()}").status_code == 404
    assert alice.get(f"{server}/os-volume_attachments").json() == {"volumeAttachments": []}
    groups = alice.get(f"{server}/os-security-groups").json()["security_groups"]
    assert [group["name"] for group in groups] == ["default"] and len(groups[0]["rules"]) == 2


def test_a_server_remembers_its_image(server: str, cloud: Cloud, alice: Persona, root: Persona) -> None:
    assert root.delete(f"/compute/v2.1/images/{cloud.image.id}", headers=at("2.35")).status_code == 204
    assert not Image.objects.exists()
    assert alice.get(server).json()["server"]["image"]["id"] == str(cloud.image.id)


def test_proxies_up_to_2_35(cloud: Cloud, alice: Persona) -> None:
    listed = alice.get("/compute/v2.1/images").json()["images"]
    assert [set(one) for one in listed] == [{"id", "name", "links"}]
    shown = alice.get(f"/compute/v2.1/images/{cloud.image.id}").json()["image"]
    assert shown["status"] == "ACTIVE" and alice.get("/compute/v2.1/images/detail?status=active&name=tiny").json()[
        "images"
    ] == [shown]
    assert alice.get("/compute/v2.1/images?name=none").json()["images"] == []
    assert alice.get("/compute/v2.1/images?marker=none").status_code == 400
    assert alice.delete(f"/compute/v2.1/images/{cloud.image.id}").status_code == 403
    for path in ("os-networks", "os-tenant-networks"):
        networks = alice.get(f"/compute/v2.1/{path}").json()["networks"]
        assert networks == [{"id": str(cloud.network.id), "label": "private", "cidr": None}]
        assert alice.get(f"/compute/v2.1/{path}/{cloud.network.id}").json()["network"] == networks[0]
    groups = alice.get("/compute/v2.1/os-security-groups").json()["security_groups"]
    assert [group["name"] for group in groups] == ["default"]
    assert alice.get(f"/compute/v2.1/os-security-groups/{groups[0]['id']}").json()["security_group"] == groups[0]


def test_security_groups_up_to_2_35(cloud: Cloud, alice: Persona, bob: Persona, charlie: Persona) -> None:
    path, body = "/compute/v2.1/os-security-groups", {"security_group": {"name": "web", "description": "why"}}
    assert bob.post(path, body).status_code == 403
    made = alice.post(path, body).json()["security_group"]
    assert (made["name"], made["description"], made["tenant_id"], made["rules"]) == ("web", "why", cloud.demo.id, [])
    assert {group["name"] for group in alice.get(path).json()["security_groups"]} == {"default", "web"}
    one = f"{path}/{made['id']}"
    assert charlie.get(one).status_code == 404 == charlie.delete(one).status_code
    for bad in ({}, {"security_group": {"name": "x"}}, {"security_group": {"name": "", "description": ""}}):
        assert alice.post(path, bad).status_code == 400, bad
    assert alice.delete(one).status_code == 202 and alice.get(one).status_code == 404
