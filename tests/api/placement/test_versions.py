"""Versions of the placement API, and the form of its errors."""

from __future__ import annotations

from portal.identity.catalog import catalog
from tests.api.placement.conftest import at, fetch
from tests.conftest import Cloud, Persona


def test_discovery_needs_no_token(anyone: Persona, db: None) -> None:
    for path in ("/placement", "/placement/"):
        (version,) = anyone.get(path).json()["versions"]
        assert (version["id"], version["min_version"], version["max_version"]) == ("v1.0", "1.0", "1.39")


def test_it_is_in_the_catalog() -> None:
    (entry,) = (one for one in catalog() if one["type"] == "placement")
    assert {one["url"].rpartition("/")[2] for one in entry["endpoints"]} == {"placement"}


def test_a_version_that_is_not_served(root: Persona, anyone: Persona) -> None:
    for persona, path in ((root, "/placement/traits"), (anyone, "/placement/")):
        answer = persona.get(path, headers=at("1.40"))
        assert answer.status_code == 406
        (error,) = answer.json()["errors"]
        assert (error["min_version"], error["max_version"]) == ("1.0", "1.39")


def test_the_version_that_answered(root: Persona) -> None:
    answer = root.get("/placement/traits", headers=at("latest"))
    assert (answer["OpenStack-API-Version"], answer["Vary"]) == ("placement 1.39", "OpenStack-API-Version")
    assert root.get("/placement/resource_providers")["OpenStack-API-Version"] == "placement 1.0"


def test_another_services_version_is_none_of_ours(root: Persona) -> None:
    answer = root.get("/placement/resource_providers", headers={"OpenStack-API-Version": "compute 2.96"})
    assert answer["OpenStack-API-Version"] == "placement 1.0"


def test_errors_have_a_code_from_1_23_on(root: Persona, cloud: Cloud) -> None:
    old, new = (fetch(root, "/resource_providers/x", version).json()["errors"][0] for version in ("1.22", "1.23"))
    assert set(old) == {"status", "title", "detail", "request_id"}
    assert set(new) - set(old) == {"code"}
    assert (new["status"], new["title"], new["code"]) == (404, "Not Found", "placement.undefined_code")


def test_answers_are_dated_from_1_15_on(root: Persona, cloud: Cloud) -> None:
    path = f"/resource_providers/{cloud.host.uuid}"
    new = fetch(root, path, "1.15")
    assert (new["Cache-Control"], new["Last-Modified"].endswith("GMT")) == ("no-cache", True)
    assert "Last-Modified" not in fetch(root, path, "1.14")


def test_what_a_version_does_not_have_yet_is_not_there(root: Persona, cloud: Cloud) -> None:
    key = cloud.host.uuid
    for path, before in {
        f"/resource_providers/{key}/aggregates": "1.0", "/resource_classes": "1.1", "/resource_classes/VCPU": "1.1",
        "/traits": "1.5", "/traits/COMPUTE_NODE": "1.5", f"/resource_providers/{key}/traits": "1.5",
        f"/usages?project_id={cloud.demo.id}": "1.8", "/allocation_candidates?resources=VCPU:1": "1.9",
    }.items():  # fmt: skip
        assert fetch(root, path, before).status_code == 404, path
        major, _, minor = before.partition(".")
        assert fetch(root, path, f"{major}.{int(minor) + 1}").status_code in (200, 204), path
