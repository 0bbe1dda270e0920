"""/image/v2/images on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone

from compute.models import Image

pytestmark = pytest.mark.django_db
IMAGES = "/image/v2/images"
NOBODYS = "c0ffee00-0000-4000-8000-000000000000"
PATCH_2_1 = "application/openstack-images-v2.1-json-patch"
PATCH_2_0 = "application/openstack-images-v2.0-json-patch"
# What Glance always shows; clients read them without asking whether they are there.
ALWAYS = {
    "id", "name", "status", "visibility", "protected", "os_hidden", "checksum", "os_hash_algo", "os_hash_value",
    "owner", "size", "virtual_size", "container_format", "disk_format", "created_at", "updated_at", "tags",
    "min_ram", "min_disk", "self", "file", "schema",
}  # fmt: skip


def new(persona: Any, **body: Any) -> dict[str, Any]:
    answer = persona.post(IMAGES, {"name": "one", "disk_format": "raw", "container_format": "bare", **body})
    assert answer.status_code == 201, answer.content
    created: dict[str, Any] = answer.json()
    return created


def names(persona: Any, query: str = "") -> list[str]:
    answer = persona.get(f"{IMAGES}?{query}")
    assert answer.status_code == 200, answer.content
    return [image["name"] for image in answer.json()["images"]]


def patch(persona: Any, image: dict[str, Any], *steps: Any, media_type: str = PATCH_2_1) -> Any:
    return persona.patch(f"{IMAGES}/{image['id']}", list(steps), content_type=media_type)


def message(answer: Any, status: int) -> str:
    assert answer.status_code == status, answer.content
    body = answer.json()
    assert set(body) == {"code", "title", "message"}
    assert body["code"].startswith(str(status))
    return str(body["message"])


# create ------------------------------------------------------------------------------------------------
def test_create(alice: Any) -> None:
    answer = alice.post(
        IMAGES,
        {
            "name": "one", "disk_format": "qcow2", "container_format": "bare", "min_ram": 64, "min_disk": 1,
            "tags": ["b", "a", "b"], "protected": True, "visibility": "private", "os_distro": "debian",
            "owner_specified.openstack.md5": "",
        },
    )  # fmt: skip
    assert answer.status_code == 201
    image = answer.json()
    assert set(image) == ALWAYS | {"os_distro", "owner_specified.openstack.md5"}
    assert answer["Location"].endswith(f"/image/v2/images/{image['id']}")
    assert answer["X-Openstack-Request-Id"].startswith("req-")
    assert (image["status"], image["owner"], image["tags"]) == ("queued", alice.project.id, ["a", "b"])
    assert (image["min_ram"], image["min_disk"], image["protected"]) == (64, 1, True)
    assert (image["checksum"], image["size"], image["os_hash_algo"]) == (None, None, None)
    assert image["file"] == f"/v2/images/{image['id']}/file"
    datetime.strptime(image["created_at"], "%Y-%m-%dT%H:%M:%SZ")
    assert alice.get(f"{IMAGES}/{image['id']}").json() == image


def test_create_with_nothing_at_all(alice: Any) -> None:
    image = alice.post(IMAGES, {}).json()
    assert (image["name"], image["visibility"], image["disk_format"]) == (None, "shared", None)


def test_create_with_an_id_of_ones_own_once(alice: Any) -> None:
    wanted = str(uuid4())
    assert new(alice, id=wanted)["id"] == wanted
    assert "already exists" in message(alice.post(IMAGES, {"id": wanted}), 409)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"name": 12345}, "name: it must be of type null or string"),
        ({"name": "x" * 256}, "more than 255"),
        ({"name": "a\x00b"}, "NUL"),
        ({"disk_format": "wrong"}, "disk_format: it must be one of"),
        ({"container_format": "wrong"}, "container_format"),
        ({"visibility": "everybody"}, "visibility"),
        ({"protected": "yes"}, "protected"),
        ({"min_ram": -1}, "min_ram: it must be from 0"),
        ({"min_disk": 1 << 40}, "min_disk"),
        ({"min_disk": True}, "min_disk"),
        ({"tags": "a"}, "tags"),
        ({"tags": [1]}, "tags"),
        ({"tags": ["x" * 256]}, "more than 255"),
        ({"id": "../../etc/passwd"}, "id: it has not the right form"),
        ({"os_distro": 7}, "os_distro: it must be of type string"),
        ({"x" * 256: "y"}, "1 to 255 characters"),
        ({"": "y"}, "1 to 255 characters"),
        ([], "JSON object"),
        (b"{", "not valid JSON"),
    ],
)
def test_create_refuses_what_the_schema_does_not_allow(alice: Any, body: Any, said: str) -> None:
    before = Image.objects.count()
    assert said in message(alice.post(IMAGES, body), 400)
    assert Image.objects.count() == before


@pytest.mark.parametrize(
    "name",
    ["status", "size", "virtual_size", "checksum", "os_hash_algo", "os_hash_value", "created_at", "updated_at",
     "self", "file", "schema", "direct_url", "locations", "location", "deleted", "deleted_at", "stores",
     "os_glance_foo"],
)  # fmt: skip
def test_nobody_sets_what_the_cloud_says(alice: Any, root: Any, name: str) -> None:
    image = new(alice)
    for persona in (alice, root):
        assert name in message(persona.post(IMAGES, {name: "active"}), 403)
        assert name in message(patch(persona, image, {"op": "replace", "path": f"/{name}", "value": "active"}), 403)
    assert alice.get(f"{IMAGES}/{image['id']}").json()["status"] == "queued"


def test_create_needs_the_role_and_a_token(bob: Any, anyone: Any, cloud: Any) -> None:
    before = Image.objects.count()
    message(bob.post(IMAGES, {"name": "one"}), 403)
    assert anyone.post(IMAGES, {"name": "one"}).status_code == 401
    assert Image.objects.count() == before


def test_public_and_foreign_images_are_made_by_administrators(alice: Any, root: Any, cloud: Any) -> None:
    message(alice.post(IMAGES, {"visibility": "public"}), 403)
    message(alice.post(IMAGES, {"owner": cloud.other.id}), 403)
    assert new(root, visibility="public", owner=cloud.other.id)["owner"] == cloud.other.id
    assert "existing project" in message(root.post(IMAGES, {"owner": "nobody"}), 400)


# show, delete ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("image_id", ["tiny", "0" * 36, NOBODYS, "x" * 300])
def test_an_unknown_image_is_cleanly_not_there(alice: Any, image_id: str) -> None:
    for method in ("GET", "DELETE"):
        message(alice.request(method, f"{IMAGES}/{image_id}"), 404)
    message(patch(alice, {"id": image_id}), 404)


@pytest.mark.parametrize("visibility", ["private", "shared"])
def test_a_stranger_sees_nothing(alice: Any, bob: Any, charlie: Any, root: Any, visibility: str) -> None:
    image = new(alice, visibility=visibility)
    path = f"{IMAGES}/{image['id']}"
    for method, where in (
        ("GET", path), ("DELETE", path), ("GET", f"{path}/file"), ("PUT", f"{path}/file"), ("GET", f"{path}/members"),
        ("PUT", f"{path}/tags/x"), ("DELETE", f"{path}/tags/x"),
        ("POST", f"{path}/actions/deactivate"), ("POST", f"{path}/actions/reactivate"),
    ):  # fmt: skip
        message(charlie.request(method, where, content_type="application/octet-stream"), 404)
    message(patch(charlie, image), 404)
    assert names(charlie) == ["tiny"]
    assert names(charlie, "visibility=all") == ["tiny"]
    assert names(charlie, f"visibility={visibility}") == []
    assert names(charlie, f"id=in:{image['id']}") == []
    assert bob.get(path).status_code == root.get(path).status_code == 200
    message(bob.delete(path), 403)
    message(patch(bob, image, {"op": "replace", "path": "/name", "value": "mine"}), 403)


def test_a_public_image_is_seen_and_not_touched(charlie: Any, cloud: Any) -> None:
    image = {"id": str(cloud.image.id)}
    path = f"{IMAGES}/{image['id']}"
    assert charlie.get(path).status_code == 200
    message(charlie.delete(path), 403)
    message(patch(charlie, image, {"op": "replace", "path": "/name", "value": "mine"}), 403)
    message(charlie.put(f"{path}/tags/mine"), 403)
    message(charlie.post(f"{path}/actions/deactivate"), 403)
    cloud.image.refresh_from_db()
    assert (cloud.image.name, cloud.image.tags, cloud.image.status) == ("tiny", [], "active")


def test_without_a_token_nothing_but_versions(anyone: Any, cloud: Any) -> None:
    path = f"{IMAGES}/{cloud.image.id}"
    for where in (IMAGES, path, f"{path}/file", f"{path}/members", "/image/v2/schemas/image", "/image/v2/info/import"):
        assert anyone.get(where).status_code == 401
    for header in ("X-Roles", "X-User-Id", "X-Project-Id", "X-Identity-Status"):
        assert anyone.get(path, headers={header: "admin"}).status_code == 401


def test_a_protected_image_is_not_deleted(alice: Any) -> None:
    image = new(alice, protected=True)
    assert "protected" in message(alice.delete(f"{IMAGES}/{image['id']}"), 403)
    assert patch(alice, image, {"op": "replace", "path": "/protected", "value": False}).status_code == 200
    answer = alice.delete(f"{IMAGES}/{image['id']}")
    assert (answer.status_code, answer.content) == (204, b"")
    message(alice.delete(f"{IMAGES}/{image['id']}"), 404)


# change ------------------------------------------------------------------------------------------------
def test_both_dialects_of_patch(alice: Any) -> None:
    image = new(alice, os_distro="debian")
    changed = patch(
        alice,
        image,
        {"op": "replace", "path": "/name", "value": "two"},
        {"op": "add", "path": "/os_version", "value": "12"},
        {"op": "add", "path": "/a~1b~0c", "value": "slash"},
        {"op": "remove", "path": "/os_distro"},
        {"op": "replace", "path": "/tags", "value": ["z"]},
    )
    assert changed.status_code == 200, changed.content
    body = changed.json()
    assert (body["name"], body["os_version"], body["a/b~c"], body["tags"]) == ("two", "12", "slash", ["z"])
    assert "os_distro" not in body
    older = ({"replace": "/name", "value": "three"}, {"add": "/x", "value": "y"})
    changed = patch(alice, image, *older, media_type=PATCH_2_0)
    assert (changed.json()["name"], changed.json()["x"]) == ("three", "y")
    assert alice.get(f"{IMAGES}/{image['id']}").json() == changed.json()


@pytest.mark.parametrize(
    ("step", "status", "said"),
    [
        ({"op": "replace", "path": "/nothing", "value": "x"}, 409, "does not exist"),
        ({"op": "remove", "path": "/nothing"}, 409, "does not exist"),
        ({"op": "remove", "path": "/name"}, 403, "may not be removed"),
        ({"op": "replace", "path": "/id", "value": NOBODYS}, 403, "read-only"),
        ({"op": "replace", "path": "/visibility", "value": "public"}, 403, "Policy"),
        ({"op": "add", "path": "/locations/-", "value": {"url": "file:///etc/passwd"}}, 403, "reserved"),
        ({"op": "replace", "path": "/name", "value": 7}, 400, "name"),
        ({"op": "add", "path": "/x", "value": 7}, 400, "x: it must be of type string"),
        ({"op": "add", "path": "/x"}, 400, "requires a member named"),
        ({"op": "test", "path": "/name", "value": "one"}, 400, "must be one of"),
        ({"op": "add", "path": "name", "value": "x"}, 400, "does not start with"),
        ({"op": "add", "path": "/a/b", "value": "x"}, 400, "Invalid JSON pointer"),
        ({"op": "add", "path": "/", "value": "x"}, 400, "Invalid JSON pointer"),
        ({"op": "add", "path": None, "value": "x"}, 400, "does not start with"),
        ("x", 400, "must be JSON objects"),
    ],
)
def test_patch_refuses_and_changes_nothing(alice: Any, step: Any, status: int, said: str) -> None:
    image = new(alice)
    assert said in message(patch(alice, image, {"op": "replace", "path": "/name", "value": "two"}, step), status)
    assert alice.get(f"{IMAGES}/{image['id']}").json() == image


def test_patch_takes_its_own_media_types_alone(alice: Any) -> None:
    image = new(alice)
    path = f"{IMAGES}/{image['id']}"
    message(alice.patch(path, [], content_type="application/json"), 415)
    message(alice.patch(path, [], content_type=PATCH_2_0.replace("2.0", "2.7")), 415)
    assert "JSON array" in message(alice.patch(path, {}, content_type=PATCH_2_1), 400)


def test_tags(alice: Any, bob: Any) -> None:
    path = f"{IMAGES}/{new(alice)['id']}"
    for _ in range(2):
        assert alice.put(f"{path}/tags/web server").status_code == 204
    assert alice.get(path).json()["tags"] == ["web server"]
    message(alice.put(f"{path}/tags/{'x' * 256}"), 400)
    message(bob.delete(f"{path}/tags/web server"), 403)
    assert alice.delete(f"{path}/tags/web server").status_code == 204
    message(alice.delete(f"{path}/tags/web server"), 404)
    message(alice.put(f"{IMAGES}/{uuid4()}/tags/x"), 404)


def test_members_of_a_shared_image_are_none(alice: Any, cloud: Any) -> None:
    shared, private = new(alice), new(alice, visibility="private")
    body = alice.get(f"{IMAGES}/{shared['id']}/members").json()
    assert body == {"members": [], "schema": "/v2/schemas/members"}
    message(alice.get(f"{IMAGES}/{private['id']}/members"), 404)
    message(alice.get(f"{IMAGES}/{cloud.image.id}/members"), 404)


# list --------------------------------------------------------------------------------------------------
@pytest.fixture
def gallery(cloud: Any, alice: Any) -> None:
    """Five images of demo and one community image of other."""
    for number, (name, size, disk_format) in enumerate(
        [("a", 10, "raw"), ("b", 30, "qcow2"), ("c, d", None, None), ("e", 20, "iso"), (None, 30, "raw")]
    ):
        Image.objects.create(
            name=name, size=size, disk_format=disk_format, container_format="bare" if disk_format else None,
            project=cloud.demo, visibility="private", tags=[f"t{number % 2}", 'quo"te', "ünï"],
            status="active" if size else "queued", protected=number == 1, hidden=name == "e",
            properties={"os_distro": "debian" if number < 2 else "fedora", "it's": "odd", "a.b": "dotted"},
            created_at=timezone.now().replace(year=2020 + number), min_memory_mb=number,
        )  # fmt: skip
    Image.objects.create(name="ours", project=cloud.other, visibility="community")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["tiny", None, "c, d", "b", "a"]),
        ("os_hidden=true", ["e"]),
        ("name=a", ["a"]),
        ("name=in:a,b", ["b", "a"]),
        ('name=in:a,"c, d"', ["c, d", "a"]),
        ("name=", []),
        ("status=queued", ["c, d"]),
        ("status=in:queued,active", ["tiny", None, "c, d", "b", "a"]),
        ("disk_format=raw", ["tiny", None, "a"]),
        ("disk_format=in:qcow2,iso", ["b"]),
        ("container_format=bare&disk_format=raw", ["tiny", None, "a"]),
        ("size=30", [None, "b"]),
        ("size_min=30&size_max=100", [None, "b"]),
        ("min_ram=1", ["b"]),
        ("protected=true", ["b"]),
        ("tag=t1", ["b"]),
        ("tag=t0&tag=t1", []),
        ('tag=t0&tag=quo"te', [None, "c, d", "a"]),
        ("tag=ünï&name=a", ["a"]),
        ("tag=t", []),
        ("visibility=public", ["tiny"]),
        ("visibility=private", [None, "c, d", "b", "a"]),
        ("visibility=shared", []),
        ("visibility=community", ["ours"]),
        ("visibility=all&name=in:ours,tiny,a", ["ours", "tiny", "a"]),
        ("os_distro=debian", ["b", "a"]),
        ("it's=odd&a.b=dotted&name=a", ["a"]),
        ("a.b=other", []),
        ("nothing=x", []),
        ("created_at=lt:2021-06-01T00:00:00Z", ["a"]),
        ("created_at=gte:2022-01-01&status=queued", ["c, d"]),
        ("created_at=neq:2022-01-01T00:00:00&name=a", ["a"]),
        ("id=in:not-an-id", []),
        ("checksum=0000", []),
        ("sort=name:asc", [None, "a", "b", "c, d", "tiny"]),
        ("sort=size:desc,name:asc", ["tiny", None, "b", "a", "c, d"]),
        ("sort_key=size&sort_dir=asc", ["c, d", "a", "b", None, "tiny"]),
        ("sort_key=size&sort_dir=asc&sort_key=name&sort_dir=desc", ["c, d", "a", "b", None, "tiny"]),
        ("sort_key=name", ["tiny", "c, d", "b", "a", None]),
        ("limit=2", ["tiny", None]),
        ("limit=0", []),
    ],
)
def test_filters_and_order(alice: Any, gallery: None, query: str, expected: list[str | None]) -> None:
    found: list[Any] = names(alice, query)
    assert found == expected


def test_owner_and_ids(alice: Any, root: Any, cloud: Any, gallery: None) -> None:
    assert names(alice, f"owner={cloud.other.id}&visibility=community") == ["ours"]
    assert names(alice, f"owner={cloud.other.id}") == []
    assert len(names(root, f"owner={cloud.demo.id}")) == 4
    a, b = Image.objects.get(name="a"), Image.objects.get(name="b")
    assert names(alice, f"id=in:{a.id},{b.id}") == ["b", "a"]
    assert names(alice, f"id={a.id}") == ["a"]


@pytest.mark.parametrize(
    "query",
    ["limit=-1", "limit=x", "visibility=mine", "member_status=maybe", "protected=maybe", "os_hidden=2", "size_min=x",
     "size_max=-1", "created_at=yesterday", "updated_at=gt:", "sort_key=color", "sort_dir=up", "sort=name:up",
     "sort=name&sort_key=name", "sort_key=name&sort_key=name", "sort_key=a&sort_dir=asc&sort_dir=desc",
     "marker=nothing", f"marker={NOBODYS}", "name=a%00b", "a%00b=c"],
)  # fmt: skip
def test_a_query_that_makes_no_sense_is_said_so(alice: Any, query: str) -> None:
    assert message(alice.get(f"{IMAGES}?{query}"), 400)


@pytest.mark.parametrize(
    "order", ["", "&sort=name:asc", "&sort=size:desc", "&sort=size:asc,name:desc", "&sort_key=disk_format"]
)
def test_pages_are_the_whole_list_whatever_the_order(alice: Any, gallery: None, order: str) -> None:
    whole = names(alice, order[1:])
    path, found = f"{IMAGES}?limit=2{order}", []
    for _ in range(10):
        body = alice.get(path).json()
        found += [image["name"] for image in body["images"]]
        assert body["first"].startswith("/v2/images?limit=2")
        assert "marker" not in body["first"]
        if "next" not in body:
            break
        assert body["next"].startswith("/v2/images?")
        path = "/image" + body["next"]
    assert found == whole


def test_another_ones_image_is_no_marker(charlie: Any, gallery: None) -> None:
    image = Image.objects.get(name="a")
    assert "marker" in message(charlie.get(f"{IMAGES}?marker={image.id}"), 400)


def test_a_list_costs_the_same_whatever_its_length(alice: Any, cloud: Any, django_assert_num_queries: Any) -> None:
    Image.objects.bulk_create(Image(name=f"n{n}", project=cloud.demo) for n in range(50))
    alice.get(IMAGES)
    with django_assert_num_queries(4):  # three for the token, one for the images
        assert len(alice.get(IMAGES).json()["images"]) == 51


def test_a_reader_lists_and_shows(bob: Any, gallery: None) -> None:
    assert "a" in names(bob)


# discovery ---------------------------------------------------------------------------------------------
def test_versions(anyone: Any) -> None:
    for path, status in (("/image", 300), ("/image/", 300), ("/image/versions", 200)):
        answer = anyone.get(path)
        assert answer.status_code == status
        newest = answer.json()["versions"][0]
        assert (newest["id"], newest["status"]) == ("v2.17", "CURRENT")
        assert newest["links"][0]["href"].endswith("/image/v2/")
        assert [one["status"] for one in answer.json()["versions"]].count("CURRENT") == 1


@pytest.mark.parametrize("name", ["image", "images", "member", "members"])
def test_schemas(alice: Any, name: str) -> None:
    body = alice.get(f"/image/v2/schemas/{name}").json()
    assert body["name"] == name
    assert body["properties"]


def test_the_schema_knows_every_attribute_that_is_shown(alice: Any) -> None:
    assert set(alice.get("/image/v2/schemas/image").json()["properties"]) == ALWAYS
    message(alice.get("/image/v2/schemas/nothing"), 404)


def test_there_is_nothing_to_import_and_one_store(alice: Any) -> None:
    assert alice.get("/image/v2/info/import").json()["import-methods"]["value"] == []
    message(alice.get("/image/v2/info/stores"), 404)
    path = f"{IMAGES}/{new(alice)['id']}"
    for method, where in (("PUT", "stage"), ("POST", "import"), ("GET", "locations")):
        message(alice.request(method, f"{path}/{where}"), 404)
    assert alice.get(f"{path}/tasks").json() == {"tasks": []}
    message(alice.get("/image/v2/"), 404)
    message(alice.delete(f"{IMAGES}/"), 404)
    message(alice.delete(IMAGES), 405)
