"""Discovery, and the catalog to be read."""

from __future__ import annotations

import pytest

from portal.identity.catalog import service_of_path
from tests.conftest import Cloud, Persona


@pytest.mark.parametrize("path", ["/identity", "/identity/"])
def test_all_versions(anyone: Persona, path: str) -> None:
    response = anyone.get(path)
    assert response.status_code == 300
    [version] = response.json()["versions"]["values"]
    assert version["id"] == "v3.14"
    assert version["links"][0]["href"].endswith("/identity/v3/")


@pytest.mark.parametrize("path", ["/identity/v3", "/identity/v3/"])
def test_the_version(anyone: Persona, path: str) -> None:
    response = anyone.get(path, headers={"Host": "localhost", "X-Auth-Token": "nonsense"})
    assert response.status_code == 200
    assert set(response.json()["version"]) == {"id", "status", "updated", "links", "media-types"}
    assert "localhost" not in response.content.decode()


def test_services_and_endpoints(root: Persona, alice: Persona, anyone: Persona) -> None:
    services = root.get("/identity/v3/services").json()["services"]
    assert {one["type"] for one in services} == {"identity", "compute", "image", "network", "placement"}
    [nova] = root.get("/identity/v3/services?type=compute&name=None").json()["services"]
    assert root.get(f"/identity/v3/services/{nova['id']}").json() == {"service": nova}
    public = root.get(f"/identity/v3/endpoints?interface=public&service_id={nova['id']}").json()["endpoints"]
    assert [one["url"].rsplit("/", 2)[1:] for one in public] == [["compute", "v2.1"]]
    assert root.get(f"/identity/v3/endpoints/{public[0]['id']}").json() == {"endpoint": public[0]}
    assert len(root.get("/identity/v3/endpoints").json()["endpoints"]) == 15
    for kind in ("services", "endpoints", "regions"):
        assert root.get(f"/identity/v3/{kind}/nothing").status_code == 404
        assert anyone.get(f"/identity/v3/{kind}").status_code == 401
        assert root.post(f"/identity/v3/{kind}", {}).status_code == 405
    assert alice.get("/identity/v3/services").status_code == alice.get("/identity/v3/endpoints").status_code == 403
    [region] = alice.get("/identity/v3/regions").json()["regions"]
    assert alice.get(f"/identity/v3/regions/{region['id']}").json() == {"region": region}


def test_the_same_ids_as_in_tokens(root: Persona, cloud: Cloud) -> None:
    catalog = root.get("/identity/v3/auth/catalog").json()["catalog"]
    endpoints = {one["id"]: one["url"] for one in root.get("/identity/v3/endpoints").json()["endpoints"]}
    assert {one["id"]: one["url"] for service in catalog for one in service["endpoints"]} == endpoints


def test_which_service_a_path_goes_to() -> None:
    assert service_of_path("/compute/v2.1/servers") == ("compute", "/v2.1/servers")
    assert service_of_path("/identity") == ("identity", "/")
    assert service_of_path("/computers/v2.1") == ("", "/computers/v2.1")
