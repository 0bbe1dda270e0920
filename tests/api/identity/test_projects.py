"""Projects and domains on the wire."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from compute.models import Change, Image, Instance, SecurityGroup
from compute.networks.groups import default_group
from portal.identity.models import Assignment, Domain, Project, Role, User
from tests.conftest import Cloud, Persona

PROJECTS = "/identity/v3/projects"
DOMAINS = "/identity/v3/domains"


def _project(root: Persona, name: str = "new", **fields: Any) -> dict[str, Any]:
    response = root.post(PROJECTS, {"project": {"name": name, **fields}})
    assert response.status_code == 201, response.json()
    project: dict[str, Any] = response.json()["project"]
    return project


def _domain(root: Persona, name: str = "elsewhere", **fields: Any) -> dict[str, Any]:
    domain: dict[str, Any] = root.post(DOMAINS, {"domain": {"name": name, **fields}}).json()["domain"]
    return domain


def _instance(project_id: str, **fields: Any) -> Instance:
    return Instance.objects.create(
        name="one", hostname="one", project_id=project_id, flavor={}, vcpus=1, memory_mb=1, disk_gb=1, **fields
    )


def test_create_show_change_delete(root: Persona, cloud: Cloud) -> None:
    project = _project(root, description="d", tags=["b", "a"], color="blue")
    assert project["parent_id"] == project["domain_id"] == "default"
    assert (project["is_domain"], project["enabled"], project["options"]) == (False, True, {})
    assert (project["tags"], project["color"]) == (["b", "a"], "blue")
    path = f"{PROJECTS}/{project['id']}"
    assert root.get(path).json() == {"project": project}
    assert project in root.get(PROJECTS).json()["projects"]
    assert root.patch(path, {"project": {"name": "newer", "description": None}}).json()["project"]["description"] == ""
    assert root.delete(path).status_code == 204
    assert root.get(path).status_code == root.delete(path).status_code == 404
    assert Change.objects.filter(kind="project", object_id=project["id"], project_id=project["id"]).count() == 3


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"name": ""}, 400),
        ({"name": "x" * 65}, 400),
        ({"name": 5}, 400),
        ({"enabled": "true"}, 400),
        ({"tags": ["a", "a"]}, 400),
        ({"tags": ["a,b"]}, 400),
        ({"tags": "a"}, 400),
        ({"tags": [1]}, 400),
        ({"options": {"surprise": True}}, 400),
        ({"domain_id": "nowhere"}, 404),
        ({"parent_id": "nothing"}, 404),
        ({"name": "demo"}, 409),
        ({"is_domain": True, "domain_id": "default"}, 400),
    ],
)
def test_bad_projects(root: Persona, cloud: Cloud, fields: dict[str, Any], status: int) -> None:
    before = Project.objects.count()
    assert root.post(PROJECTS, {"project": {"name": "x", **fields}}).status_code == status
    assert Project.objects.count() == before


def test_who_may(cloud: Cloud, alice: Persona, bob: Persona, charlie: Persona, anyone: Persona) -> None:
    own = f"{PROJECTS}/{cloud.demo.id}"
    assert alice.get(own).status_code == bob.get(own).status_code == 200
    assert charlie.get(own).status_code == charlie.get(f"{PROJECTS}/nothing").status_code == 403
    assert anyone.get(own).status_code == 401
    for persona in (alice, bob, charlie):
        assert persona.get(PROJECTS).status_code == 403
        assert persona.post(PROJECTS, {"project": {"name": "x"}}).status_code == 403
        assert persona.patch(own, {"project": {"name": "x"}}).status_code == 403
        assert persona.delete(own).status_code == 403
    assert Project.objects.get(pk=cloud.demo.pk).name == "demo"


def test_filters(root: Persona, cloud: Cloud, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    child = _project(root, "child", parent_id=cloud.demo.id, tags=["red", "blue"])

    def names(query: str) -> list[str]:
        return [project["name"] for project in root.get(f"{PROJECTS}?{query}").json()["projects"]]

    assert names("name=demo&domain_id=None&parent_id=None") == ["demo"]
    assert names(f"parent_id={cloud.demo.id}") == ["child"]
    assert names("parent_id=default") == ["admin", "demo", "other"]
    assert names("tags=red,blue") == names("tags-any=red,green") == ["child"]
    assert names("tags=red,green") == []
    assert names("not-tags-any=red") == ["admin", "demo", "other"]
    assert names("is_domain=True") == ["Default"]
    root.patch(f"{PROJECTS}/{child['id']}", {"project": {"enabled": False}})
    assert names("enabled=false") == ["child"]
    with django_assert_num_queries(4):
        root.get(PROJECTS)


def test_trees(root: Persona, cloud: Cloud) -> None:
    parent_id, status = cloud.demo.id, 201
    for depth in range(3):
        parent_id = _project(root, f"level-{depth}", parent_id=parent_id)["id"]
    response = root.post(PROJECTS, {"project": {"name": "too deep", "parent_id": parent_id}})
    assert response.status_code == 403, status
    demo = f"{PROJECTS}/{cloud.demo.id}"
    assert root.delete(demo).status_code == 403
    assert root.patch(demo, {"project": {"enabled": False}}).status_code == 403
    assert root.patch(demo, {"project": {"parent_id": cloud.other.id}}).status_code == 403
    assert root.patch(demo, {"project": {"domain_id": "elsewhere"}}).status_code == 403
    assert root.patch(demo, {"project": {"parent_id": "default", "domain_id": "default"}}).status_code == 200


def test_a_project_that_owns_something_stays(root: Persona, cloud: Cloud) -> None:
    default_group(cloud.demo.id)
    instance = _instance(cloud.demo.id)
    image = Image.objects.create(name="own", project=cloud.demo)
    response = root.delete(f"{PROJECTS}/{cloud.demo.id}")
    assert response.status_code == 409
    assert "1 image and 1 instance" in response.json()["error"]["message"]
    assert SecurityGroup.objects.filter(project=cloud.demo).exists()
    assert Assignment.objects.filter(project=cloud.demo).exists()
    image.delete()
    Instance.objects.filter(pk=instance.pk).update(deleted_at=timezone.now())
    assert root.delete(f"{PROJECTS}/{cloud.demo.id}").status_code == 204
    assert Instance.objects.get(pk=instance.pk).project_id == cloud.demo.id  # history stays, and says whose
    assert not SecurityGroup.objects.filter(project_id=cloud.demo.id).exists()
    assert not Assignment.objects.filter(project_id=cloud.demo.id).exists()


def test_the_history_keeps_the_user_too(root: Persona, cloud: Cloud) -> None:
    alice = User.objects.get(name="alice")
    instance = _instance(cloud.demo.id, user=alice)
    assert root.delete(f"/identity/v3/users/{alice.id}").status_code == 204
    assert Instance.objects.get(pk=instance.pk).user_id == alice.id


def test_immutable(root: Persona, cloud: Cloud) -> None:
    path = f"{PROJECTS}/{_project(root, options={'immutable': True})['id']}"
    assert root.delete(path).status_code == 403
    assert root.patch(path, {"project": {"name": "x"}}).status_code == 403
    assert root.patch(path, {"project": {"name": "x", "options": {"immutable": False}}}).status_code == 200
    assert root.delete(path).status_code == 204


def test_tags(root: Persona, bob: Persona, charlie: Persona, cloud: Cloud) -> None:
    path = f"{PROJECTS}/{cloud.demo.id}/tags"
    assert root.put(f"{path}/one").status_code == 201
    assert root.put(f"{path}/one").status_code == 201
    assert bob.get(path).json()["tags"] == ["one"]
    assert bob.get(f"{path}/one").status_code == 204
    assert bob.get(f"{path}/two").status_code == 404
    assert bob.put(f"{path}/two").status_code == bob.delete(path).status_code == 403
    assert charlie.get(path).status_code == 403
    assert root.put(path, {"tags": ["a", "b"]}).json()["tags"] == ["a", "b"]
    assert root.put(path, {"tags": ["a", "a"]}).status_code == 400
    assert root.put(path, {"labels": []}).status_code == 400
    assert root.put(f"{path}/{'x' * 256}").status_code == 400
    assert root.delete(f"{path}/a").status_code == 204
    assert root.delete(f"{path}/a").status_code == 404
    assert root.delete(path).status_code == 204
    assert Project.objects.get(pk=cloud.demo.pk).tags == []
    assert root.get(f"{PROJECTS}/default/tags").status_code == 404


def test_domains(root: Persona, alice: Persona, anyone: Persona) -> None:
    domain = _domain(root, description="d")
    assert set(domain) == {"id", "name", "description", "enabled", "tags", "options", "links"}
    path = f"{DOMAINS}/{domain['id']}"
    assert root.get(path).json() == {"domain": domain}
    assert [one["name"] for one in root.get(f"{DOMAINS}?name=elsewhere").json()["domains"]] == ["elsewhere"]
    assert root.post(DOMAINS, {"domain": {"name": "elsewhere"}}).status_code == 409
    for bad in (
        {"name": ""},
        {"name": "x" * 65},
        {"name": "x", "surprise": 1},
        {"name": "x", "explicit_domain_id": "x"},
    ):
        assert root.post(DOMAINS, {"domain": bad}).status_code == 400
    assert root.patch(path, {"domain": {}}).status_code == 400
    assert root.delete(path).status_code == 403
    assert root.patch(path, {"domain": {"enabled": False, "name": "gone"}}).json()["domain"]["name"] == "gone"
    assert root.delete(path).status_code == 204
    assert root.get(path).status_code == root.delete(path).status_code == 404
    assert alice.get(DOMAINS).status_code == alice.get(f"{DOMAINS}/nowhere").status_code == 403
    assert alice.get(f"{DOMAINS}/default").status_code == 200  # that of her project
    assert alice.post(DOMAINS, {"domain": {"name": "x"}}).status_code == 403
    assert alice.delete(f"{DOMAINS}/default").status_code == 403
    assert anyone.get(DOMAINS).status_code == 401


def test_an_id_of_the_callers_choice(root: Persona, cloud: Cloud) -> None:
    chosen = uuid.uuid4().hex
    assert _domain(root, explicit_domain_id=chosen)["id"] == chosen
    assert root.post(DOMAINS, {"domain": {"name": "again", "explicit_domain_id": chosen}}).status_code == 409


def test_a_domain_takes_with_it_all_that_is_in_it(root: Persona, cloud: Cloud) -> None:
    domain = _domain(root)
    parent = _project(root, "parent", domain_id=domain["id"])
    _project(root, "child", parent_id=parent["id"])
    user = root.post("/identity/v3/users", {"user": {"name": "eve", "domain_id": domain["id"]}}).json()["user"]
    root.post("/identity/v3/roles", {"role": {"name": "local", "domain_id": domain["id"]}})
    instance = _instance(Project.objects.get(name="child").id)
    path = f"{DOMAINS}/{domain['id']}"
    root.patch(path, {"domain": {"enabled": False}})
    assert root.delete(path).status_code == 409
    assert Project.objects.filter(domain_id=domain["id"]).count() == 2  # all of it, or none
    Instance.objects.filter(pk=instance.pk).update(deleted_at=timezone.now())
    assert root.delete(path).status_code == 204
    for model in (Project, User, Role):
        assert not model.objects.filter(domain_id=domain["id"]).exists()
    assert root.get(f"/identity/v3/users/{user['id']}").status_code == 404


def test_a_domain_by_way_of_the_projects(root: Persona, cloud: Cloud) -> None:
    project = _project(root, "as project", is_domain=True)
    assert (project["is_domain"], project["domain_id"], project["parent_id"]) == (True, None, None)
    assert Domain.objects.filter(pk=project["id"]).exists()
    path = f"{PROJECTS}/{project['id']}"
    assert root.get(path).json() == {"project": project}
    assert root.patch(path, {"project": {"enabled": False}}).json()["project"]["enabled"] is False
    assert root.delete(path).status_code == 204
    assert not Domain.objects.filter(pk=project["id"]).exists()
