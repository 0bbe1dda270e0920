"""/image/v2/images/{id}/file and the actions: bytes in, bytes out."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as live

from compute.models import Image
from portal.api.image.data import DataResponse
from tests.images import corpus

pytestmark = pytest.mark.django_db
IMAGES = "/image/v2/images"
OCTETS = "application/octet-stream"
CONTENT = b"\x07" * 70_000


def queued(persona: Any, disk_format: str = "raw", **body: Any) -> str:
    answer = persona.post(IMAGES, {"name": "one", "disk_format": disk_format, "container_format": "bare", **body})
    return f"{IMAGES}/{answer.json()['id']}"


def put(persona: Any, path: str, content: bytes, content_type: str = OCTETS) -> Any:
    return persona.put(f"{path}/file", content, content_type=content_type)


def kept(path: str) -> list[Path]:
    return list(Path(live.IMAGE_STORE).glob(f"{path.rsplit('/', 1)[1]}*"))


def test_up_and_down(alice: Any, bob: Any) -> None:
    path = queued(alice)
    assert (alice.get(f"{path}/file").status_code, alice.get(f"{path}/file").content) == (204, b"")
    answer = put(alice, path, CONTENT)
    assert (answer.status_code, answer.content) == (204, b"")
    image = alice.get(path).json()
    assert (image["status"], image["size"], image["virtual_size"]) == ("active", 70_000, 70_000)
    assert image["checksum"] == hashlib.md5(CONTENT).hexdigest()
    assert (image["os_hash_algo"], image["os_hash_value"]) == ("sha512", hashlib.sha512(CONTENT).hexdigest())
    for persona in (alice, bob):
        answer = persona.get(f"{path}/file")
        if persona is bob:
            assert answer.status_code == 403
            continue
        assert b"".join(answer.streaming_content) == CONTENT
        assert (answer["Content-Type"], answer["Content-Length"]) == (OCTETS, "70000")
        assert answer["Content-MD5"] == image["checksum"]


def test_qcow2_keeps_its_bytes_and_shows_its_virtual_size(alice: Any, tmp_path: Path) -> None:
    path, content = queued(alice, "qcow2"), corpus.qcow2(tmp_path / "one", "7M")
    assert put(alice, path, content).status_code == 204
    assert alice.get(path).json()["virtual_size"] == 7 << 20
    assert b"".join(alice.get(f"{path}/file").streaming_content) == content


@pytest.mark.parametrize("declared", ["qcow2", "raw", "iso", "vmdk"])
def test_hostile_data_is_refused_and_not_kept(alice: Any, tmp_path: Path, declared: str) -> None:
    path = queued(alice, declared)
    for content in (corpus.with_backing(tmp_path / "one"), corpus.with_data_file(tmp_path / "two")):
        answer = put(alice, path, content)
        assert answer.status_code == 400
        assert set(answer.json()) == {"code", "title", "message"}
        assert str(live.IMAGE_STORE) not in answer.json()["message"]
        image = alice.get(path).json()
        assert (image["status"], image["size"], image["checksum"], kept(path)) == ("queued", None, None, [])
        assert alice.get(f"{path}/file").status_code == 204


def test_active_data_is_not_replaced(alice: Any) -> None:
    path = queued(alice)
    put(alice, path, CONTENT)
    assert put(alice, path, b"other").status_code == 409
    assert b"".join(alice.get(f"{path}/file").streaming_content) == CONTENT


def test_more_than_the_cap(alice: Any, settings: Any) -> None:
    settings.IMAGE_SIZE_CAP_BYTES = 1000
    path = queued(alice)
    answer = put(alice, path, b"x" * 1001)
    assert answer.status_code == 413
    assert "1000 bytes" in answer.json()["message"]
    assert (alice.get(path).json()["status"], kept(path)) == ("queued", [])


def test_only_octets_and_only_with_formats(alice: Any) -> None:
    path = queued(alice)
    for content_type in ("application/json", "text/plain", "multipart/form-data; boundary=x"):
        assert put(alice, path, CONTENT, content_type).status_code == 415
    assert alice.get(path).json()["status"] == "queued"
    bare = f"{IMAGES}/{alice.post(IMAGES, {}).json()['id']}"
    answer = put(alice, bare, CONTENT)
    assert (answer.status_code, "must be set" in answer.json()["message"]) == (400, True)
    # The test client sends the type of an empty body only when it is told so by hand.
    assert alice.put(f"{path}/file", b"", headers={"Content-Type": OCTETS}).status_code == 400


def test_who_may_upload(alice: Any, bob: Any, charlie: Any, anyone: Any) -> None:
    path = queued(alice)
    assert [put(who, path, CONTENT).status_code for who in (bob, charlie, anyone)] == [403, 404, 401]
    assert (alice.get(path).json()["status"], kept(path)) == ("queued", [])


def test_everybody_with_the_role_downloads_a_public_image(charlie: Any, cloud: Any) -> None:
    answer = charlie.get(f"{IMAGES}/{cloud.image.id}/file")
    assert hashlib.md5(b"".join(answer.streaming_content)).hexdigest() == cloud.image.checksum


def test_a_deactivated_image_is_not_read(alice: Any, bob: Any, root: Any) -> None:
    path = queued(alice)
    put(alice, path, CONTENT)
    assert bob.post(f"{path}/actions/deactivate").status_code == 403
    assert alice.post(f"{path}/actions/deactivate").status_code == 204
    assert alice.get(path).json()["status"] == "deactivated"
    assert alice.get(f"{path}/file").status_code == 403
    assert b"".join(root.get(f"{path}/file").streaming_content) == CONTENT
    assert put(alice, path, b"other").status_code == 409
    assert alice.post(f"{path}/actions/reactivate").status_code == 204
    assert b"".join(alice.get(f"{path}/file").streaming_content) == CONTENT
    assert alice.post(f"{queued(alice)}/actions/deactivate").status_code == 403


def test_delete_takes_the_bytes(alice: Any, django_capture_on_commit_callbacks: Any) -> None:
    path = queued(alice)
    put(alice, path, CONTENT)
    assert len(kept(path)) == 1
    with django_capture_on_commit_callbacks(execute=True):
        assert alice.delete(path).status_code == 204
    assert kept(path) == []


def test_lost_bytes_are_said_so(alice: Any) -> None:
    path = queued(alice)
    put(alice, path, CONTENT)
    kept(path)[0].unlink()
    answer = alice.get(f"{path}/file")
    assert answer.status_code == 500
    assert "not in the store" in answer.json()["message"]
    assert Image.objects.filter(name="one").exists()


def test_under_asgi_chunks_come_one_by_one() -> None:
    read: list[int] = []

    def chunks() -> Any:
        for number in range(3):
            read.append(number)
            yield bytes([number])

    async def first() -> bytes:
        async for chunk in DataResponse(chunks()):
            return chunk
        return b""

    assert asyncio.run(first()) == b"\0"
    assert read == [0]


@pytest.mark.parametrize("disk_format", ["vmdk", "vdi"])
def test_booting_what_cannot_be_booted_says_so(alice: Any, cloud: Any, tmp_path: Path, disk_format: str) -> None:
    path = queued(alice, disk_format)
    assert put(alice, path, corpus.qemu_img(tmp_path / "one", disk_format).read_bytes()).status_code == 204
    wanted = {"name": "one", "imageRef": path.rsplit("/", 1)[1], "flavorRef": cloud.nano.id, "networks": "none"}
    answer = alice.post("/compute/v2.1/servers", {"server": wanted}, headers={"OpenStack-API-Version": "compute 2.37"})
    assert answer.status_code == 400
    assert f"disk_format {disk_format}, which cannot be booted yet" in answer.json()["badRequest"]["message"]
