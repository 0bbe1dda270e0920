"""Limits, quota sets, extensions, discovery and the microversion headers."""

from __future__ import annotations

from typing import Any

import pytest

from compute.models import Change, Instance, QuotaLimit
from tests.api.compute.conftest import NEWEST, at, message
from tests.conftest import Cloud, Persona

LIMITS = {
    "maxTotalInstances", "maxTotalCores", "maxTotalRAMSize", "maxServerMeta", "maxTotalKeypairs", "maxServerGroups",
    "maxServerGroupMembers", "totalInstancesUsed", "totalCoresUsed", "totalRAMUsed", "totalServerGroupsUsed",
}  # fmt: skip
UP_TO_2_35 = {
    "maxSecurityGroups",
    "maxSecurityGroupRules",
    "maxTotalFloatingIps",
    "totalFloatingIpsUsed",
    "totalSecurityGroupsUsed",
}
FILES = {"maxPersonality", "maxPersonalitySize"}
QUOTA = {"instances", "cores", "ram", "metadata_items", "key_pairs", "server_groups", "server_group_members"}
QUOTA_UP_TO_2_35 = {"fixed_ips", "floating_ips", "security_groups", "security_group_rules"}
QUOTA_FILES = {"injected_files", "injected_file_content_bytes", "injected_file_path_bytes"}


@pytest.mark.parametrize(
    ("version", "more"),
    [
        ("2.1", UP_TO_2_35 | {"maxImageMeta"} | FILES),
        ("2.36", {"maxImageMeta"} | FILES),
        ("2.39", FILES),
        ("2.57", set()),
        (NEWEST, set()),
    ],
)
def test_limits(web: Instance, alice: Persona, version: str, more: set[str]) -> None:
    limits = alice.get("/compute/v2.1/limits", headers=at(version)).json()["limits"]
    assert limits["rate"] == [] and set(limits["absolute"]) == LIMITS | more
    absolute = limits["absolute"]
    assert (absolute["totalInstancesUsed"], absolute["totalCoresUsed"], absolute["totalRAMUsed"]) == (1, 1, 128)
    assert (absolute["maxTotalInstances"], absolute["maxTotalRAMSize"]) == (10, 51_200)


def test_limits_of_another_project(
    web: Instance, cloud: Cloud, alice: Persona, charlie: Persona, root: Persona
) -> None:
    def used(who: Persona, query: str) -> int:
        return int(who.get(f"/compute/v2.1/limits?{query}").json()["limits"]["absolute"]["totalInstancesUsed"])

    assert used(alice, "reserved=False&tenant_id=None") == 1 == used(root, f"tenant_id={cloud.demo.id}")
    assert used(charlie, "") == 0
    assert charlie.get(f"/compute/v2.1/limits?tenant_id={cloud.demo.id}").status_code == 403
    assert alice.get("/compute/v2.1/limits?colour=red", headers=at("2.75")).status_code == 400


@pytest.mark.parametrize(
    ("version", "more"),
    [("2.1", QUOTA_UP_TO_2_35 | QUOTA_FILES), ("2.36", QUOTA_FILES), ("2.57", set()), (NEWEST, set())],
)
def test_quota_sets(web: Instance, cloud: Cloud, alice: Persona, version: str, more: set[str]) -> None:
    path = f"/compute/v2.1/os-quota-sets/{cloud.demo.id}"
    for part in ("", "/defaults"):
        shown = alice.get(path + part, headers=at(version)).json()["quota_set"]
        assert set(shown) == QUOTA | more | {"id"} and shown["instances"] == 10
    detail = alice.get(f"{path}/detail", headers=at(version)).json()["quota_set"]
    assert set(detail) == QUOTA | more | {"id"} and detail["instances"] == {"limit": 10, "in_use": 1, "reserved": 0}


def test_changing_a_quota(web: Instance, cloud: Cloud, alice: Persona, charlie: Persona, root: Persona) -> None:
    path = f"/compute/v2.1/os-quota-sets/{cloud.demo.id}"
    for who in (charlie, alice):
        assert who.put(path, {"quota_set": {"instances": 99}}).status_code == 403
    assert charlie.get(path).status_code == 403
    shown = root.put(path, {"quota_set": {"instances": "20", "ram": -1, "force": "true"}}).json()["quota_set"]
    assert (shown["instances"], shown["ram"], shown["cores"]) == (20, -1, 20)
    assert alice.get(path).json()["quota_set"]["instances"] == 20
    assert Change.objects.filter(kind="project", object_id=cloud.demo.id).exists()
    response = root.put(path, {"quota_set": {"instances": 0}})
    assert response.status_code == 400 and "must be greater than or equal" in message(response)
    assert root.put(path, {"quota_set": {"instances": 0, "force": True}}).status_code == 200
    for bad in (
        {},
        {"quota_set": 1},
        {"quota_set": {"instances": -2}},
        {"quota_set": {"instances": "x"}},
        {"quota_set": {"beer": 1}},
    ):
        assert root.put(path, bad).status_code == 400, bad
    assert root.get("/compute/v2.1/os-quota-sets/none-such").status_code == 400
    assert root.put("/compute/v2.1/os-quota-sets/none-such", {"quota_set": {"cores": 1}}).status_code == 400
    assert root.get(f"{path}?user_id=x").json() == root.get(path).json()  # users have none of their own
    assert root.put(f"{path}?user_id=x", {"quota_set": {"cores": 1}}).status_code == 400
    assert root.delete(f"{path}?user_id=x").status_code == 400
    assert root.delete(path).status_code == 202 and not QuotaLimit.objects.exists()


def test_extensions(cloud: Cloud, alice: Persona) -> None:
    listed = alice.get("/compute/v2.1/extensions").json()["extensions"]
    assert {"alias", "name", "description", "namespace", "updated", "links"} == set(listed[0])
    assert alice.get("/compute/v2.1/extensions/os-consoles").json()["extension"]["alias"] == "os-consoles"
    assert alice.get("/compute/v2.1/extensions/os-nothing").status_code == 404


def test_discovery_needs_no_token(anyone: Persona, db: None) -> None:
    versions = anyone.get("/compute/").json()["versions"]
    assert [one["id"] for one in versions] == ["v2.0", "v2.1"] and anyone.get("/compute").json()["versions"] == versions
    assert (versions[1]["status"], versions[1]["min_version"], versions[1]["version"]) == ("CURRENT", "2.1", "2.100")
    for version in versions:
        link = version["links"][0]["href"]
        for path in (link, link.rstrip("/")):
            shown = anyone.get(
                path.split("//", 1)[1].partition("/")[1] + path.split("//", 1)[1].partition("/")[2]
            ).json()["version"]
            assert shown["links"] == version["links"] and shown["media-types"]
    assert anyone.get("/compute/v2.1/versions/v2.1").json()["version"]["id"] == "v2.1"
    assert anyone.get("/compute/versions/v9").status_code == 404


@pytest.mark.parametrize(
    ("headers", "version"),
    [
        ({}, "2.1"),
        ({"OpenStack-API-Version": "compute 2.53"}, "2.53"),
        ({"OpenStack-API-Version": "volume 3.5, compute 2.53"}, "2.53"),
        ({"X-OpenStack-Nova-API-Version": "2.40"}, "2.40"),
        ({"X-OpenStack-Nova-API-Version": "2.40", "OpenStack-API-Version": "compute 2.53"}, "2.53"),
        ({"OpenStack-API-Version": "compute latest"}, NEWEST),
        ({"OpenStack-API-Version": "volume 3.5"}, "2.1"),
    ],
)
def test_both_headers_are_read_and_echoed(cloud: Cloud, alice: Persona, headers: dict[str, str], version: str) -> None:
    for path, status in (("/compute/v2.1/flavors", 200), ("/compute/v2.1/flavors/none", 404)):
        response = alice.get(path, headers=headers)
        assert response.status_code == status
        assert response["OpenStack-API-Version"] == f"compute {version}"
        assert response["X-OpenStack-Nova-API-Version"] == version
        assert "OpenStack-API-Version" in response["Vary"] and "X-OpenStack-Nova-API-Version" in response["Vary"]
        assert response["X-Compute-Request-Id"] == response["X-Openstack-Request-Id"]


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("9.9", 406),
        ("2.0", 406),
        ("2.101", 406),
        ("1.1", 406),
        ("x", 400),
        ("2", 400),
        ("2.01", 400),
        ("2.1.1", 400),
        ("-2.1", 400),
    ],
)
def test_versions_that_are_not_served(cloud: Cloud, alice: Persona, text: str, status: int) -> None:
    for headers in ({"OpenStack-API-Version": f"compute {text}"}, {"X-OpenStack-Nova-API-Version": text}):
        response = alice.get("/compute/v2.1/flavors", headers=headers)
        assert response.status_code == status and message(response), response.content
        if status == 406:
            assert "2.1" in message(response) and "2.100" in message(response)


def test_the_legacy_path_has_no_microversions(web: Instance, cloud: Cloud, alice: Persona) -> None:
    for path in (f"/compute/v2/servers/{web.id}", f"/compute/v2/{cloud.demo.id}/servers/{web.id}"):
        response = alice.get(path, headers=at(NEWEST))
        assert "tags" not in response.json()["server"] and "OpenStack-API-Version" not in response
        assert response.json()["server"]["links"][0]["href"].endswith(path)


def test_an_unscoped_token_may_nothing(cloud: Cloud, alice: Persona, anyone: Persona) -> None:
    from portal.identity.tokens import Scope, issue

    assert alice.user is not None
    token, _ = issue(alice.user, Scope(), ("password",))
    for path in ("servers", "flavors", "limits", "os-keypairs"):
        response: Any = anyone.get(f"/compute/v2.1/{path}", headers={"X-Auth-Token": token})
        assert response.status_code == 403, path
