"""What can be done to images, without any API: states, owners, and nothing left behind."""

from __future__ import annotations

import io
import os
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings
from django.utils import timezone

from compute.errors import ComputeError, Conflict, Invalid, NotAllowed, NotFound, TooLarge
from compute.images import store, verbs
from compute.images.registration import register_image
from compute.images.sweep import sweep
from compute.images.verbs import ImageRequest
from compute.models import Change, Image, ImageStatus
from portal.identity.policy import Forbidden
from tests.images import corpus

pytestmark = pytest.mark.django_db
RAW = ImageRequest(name="one", disk_format="raw", container_format="bare")


def files_of(image: Image) -> list[str]:
    return sorted(path.name for path in Path(settings.IMAGE_STORE).glob(f"{image.id}*"))


def changes_of(image: Image) -> int:
    return Change.objects.filter(kind="image", object_id=str(image.id)).count()


def test_create_upload_delete(alice: Any, django_capture_on_commit_callbacks: Any) -> None:
    image = verbs.create_image(actor=alice.actor, wanted=RAW)
    assert (image.status, image.visibility, image.project_id) == ("queued", "shared", alice.project.id)
    ready = verbs.upload(actor=alice.actor, image=image, stream=io.BytesIO(b"x" * 1000))
    assert (ready.status, ready.size, ready.virtual_size) == ("active", 1000, 1000)
    assert files_of(image) == [str(image.id)]
    assert changes_of(image) == 3
    with django_capture_on_commit_callbacks(execute=True):
        verbs.delete_image(actor=alice.actor, image=image)
    assert files_of(image) == []
    assert not Image.objects.filter(pk=image.pk).exists()
    with pytest.raises(NotFound):
        verbs.delete_image(actor=alice.actor, image=image)


def test_data_is_never_replaced(alice: Any) -> None:
    image = verbs.create_image(actor=alice.actor, wanted=RAW)
    verbs.upload(actor=alice.actor, image=image, stream=io.BytesIO(b"first"))
    with pytest.raises(Conflict, match="while it is active"):
        verbs.upload(actor=alice.actor, image=image, stream=io.BytesIO(b"second"))
    assert b"".join(store.open_bytes(image)) == b"first"


def test_a_refused_upload_leaves_the_image_queued_with_the_reason(alice: Any, tmp_path: Path) -> None:
    image = verbs.create_image(actor=alice.actor, wanted=RAW)
    with pytest.raises(Invalid, match="looks like qcow2"):
        verbs.upload(actor=alice.actor, image=image, stream=io.BytesIO(corpus.with_backing(tmp_path / "evil")))
    image.refresh_from_db()
    assert image.status == ImageStatus.QUEUED
    assert "looks like qcow2" in image.message
    assert (image.size, image.checksum, files_of(image)) == (None, None, [])
    verbs.upload(actor=alice.actor, image=image, stream=io.BytesIO(b"good"))
    image.refresh_from_db()
    assert (image.status, image.message) == ("active", "")


def test_a_broken_upload_leaves_the_image_queued(alice: Any) -> None:
    class Broken:
        def read(self, size: int = -1) -> bytes:
            raise ConnectionResetError(104, "reset")

    image = verbs.create_image(actor=alice.actor, wanted=RAW)
    with pytest.raises(ComputeError):
        verbs.upload(actor=alice.actor, image=image, stream=Broken())
    image.refresh_from_db()
    assert (image.status, files_of(image)) == ("queued", [])


def test_an_image_deleted_while_it_is_uploaded_leaves_nothing(
    alice: Any, django_capture_on_commit_callbacks: Any
) -> None:
    image = verbs.create_image(actor=alice.actor, wanted=RAW)

    class Deleting(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            chunk = super().read(size)
            if not chunk and Image.objects.filter(pk=image.pk).exists():
                assert Image.objects.get(pk=image.pk).status == ImageStatus.SAVING
                with django_capture_on_commit_callbacks(execute=True):
                    verbs.delete_image(actor=alice.actor, image=image)
            return chunk

    with pytest.raises(NotFound, match="was deleted while"):
        verbs.upload(actor=alice.actor, image=image, stream=Deleting(b"x" * 100))
    assert files_of(image) == []
    assert not Image.objects.filter(pk=image.pk).exists()


def test_formats_are_needed_for_data_and_fixed_by_it(alice: Any) -> None:
    image = verbs.create_image(actor=alice.actor, wanted=ImageRequest(name="one"))
    with pytest.raises(Invalid, match="must be set"):
        verbs.upload(actor=alice.actor, image=image, stream=io.BytesIO(b"x"))
    formats = {"disk_format": "raw", "container_format": "bare"}
    image = verbs.update_image(actor=alice.actor, image=image, changes=formats)
    verbs.upload(actor=alice.actor, image=image, stream=io.BytesIO(b"x"))
    with pytest.raises(NotAllowed, match="queued"):
        verbs.update_image(actor=alice.actor, image=image, changes={"disk_format": "qcow2"})


def test_who_may_what(alice: Any, bob: Any, charlie: Any, root: Any, cloud: Any) -> None:
    image = verbs.create_image(actor=alice.actor, wanted=RAW)
    with pytest.raises(Forbidden):
        verbs.create_image(actor=bob.actor, wanted=RAW)
    with pytest.raises(Forbidden):
        verbs.create_image(actor=alice.actor, wanted=ImageRequest(visibility="public"))
    with pytest.raises(Forbidden):
        verbs.update_image(actor=alice.actor, image=image, changes={"visibility": "public"})
    with pytest.raises(NotAllowed):
        verbs.create_image(actor=alice.actor, wanted=ImageRequest(owner=cloud.other.id))
    for stranger in (bob, charlie):
        with pytest.raises(Forbidden):
            verbs.update_image(actor=stranger.actor, image=image, changes={"name": "mine"})
        with pytest.raises(Forbidden):
            verbs.upload(actor=stranger.actor, image=image, stream=io.BytesIO(b"x"))
        with pytest.raises(Forbidden):
            verbs.delete_image(actor=stranger.actor, image=image)
        with pytest.raises(Forbidden):
            verbs.deactivate(actor=stranger.actor, image=image)
    assert verbs.find(actor=bob.actor, image_id=image.id) == image
    with pytest.raises(NotFound):
        verbs.find(actor=charlie.actor, image_id=image.id)
    public = verbs.update_image(actor=root.actor, image=image, changes={"visibility": "public"})
    assert public.visibility == "public"
    assert verbs.find(actor=charlie.actor, image_id=image.id) == image


@pytest.mark.parametrize("image_id", ["", "x" * 300, "../../etc/passwd", "0" * 32 + "/..", "\x00"])
def test_an_id_that_is_none_is_not_found(alice: Any, image_id: str) -> None:
    with pytest.raises(NotFound):
        verbs.find(actor=alice.actor, image_id=image_id)


def test_limits_on_tags_and_properties(alice: Any) -> None:
    many = {f"p{n}": "v" for n in range(129)}
    with pytest.raises(TooLarge, match="128 properties"):
        verbs.create_image(actor=alice.actor, wanted=ImageRequest(properties=many))
    image = verbs.create_image(actor=alice.actor, wanted=ImageRequest(tags=tuple(f"t{n}" for n in range(128))))
    verbs.add_tag(actor=alice.actor, image=image, tag="t7")
    with pytest.raises(TooLarge, match="128 tags"):
        verbs.add_tag(actor=alice.actor, image=image, tag="one more")


def test_deactivated_images_and_back(alice: Any) -> None:
    image = verbs.create_image(actor=alice.actor, wanted=RAW)
    with pytest.raises(NotAllowed, match="while it is queued"):
        verbs.deactivate(actor=alice.actor, image=image)
    verbs.upload(actor=alice.actor, image=image, stream=io.BytesIO(b"x"))
    image.refresh_from_db()
    for _ in range(2):
        verbs.deactivate(actor=alice.actor, image=image)
        assert Image.objects.get(pk=image.pk).status == "deactivated"
    for _ in range(2):
        verbs.reactivate(actor=alice.actor, image=image)
        assert Image.objects.get(pk=image.pk).status == "active"


def test_a_protected_image_is_not_deleted(alice: Any) -> None:
    image = verbs.create_image(actor=alice.actor, wanted=ImageRequest(protected=True))
    with pytest.raises(NotAllowed, match="protected"):
        verbs.delete_image(actor=alice.actor, image=image)
    assert Image.objects.filter(pk=image.pk).exists()


def test_the_same_id_twice_is_a_conflict(alice: Any, charlie: Any) -> None:
    image = verbs.create_image(actor=alice.actor, wanted=RAW)
    with pytest.raises(Conflict, match="already exists"):
        verbs.create_image(actor=charlie.actor, wanted=ImageRequest(id=image.id))
    assert Image.objects.get(pk=image.pk).project_id == alice.project.id


def test_images_of_the_cloud_are_registered_once(cloud: Any, tmp_path: Path) -> None:
    path = tmp_path / "made.qcow2"
    corpus.qcow2(path)
    said: dict[str, Any] = {"disk_format": "qcow2", "visibility": "public", "properties": {"a": "b"}}
    first = register_image(name="base", path=path, project=cloud.admin_project, **said)
    assert (first.status, first.visibility, first.properties) == ("active", "public", {"a": "b"})
    path.unlink()
    assert register_image(name="base", path=path, project=cloud.admin_project, **said) == first
    with pytest.raises(ComputeError, match=r"made\.qcow2 cannot be read"):
        register_image(name="another", path=path, project=cloud.admin_project, **said)
    corpus.qcow2(path)
    again = register_image(name="another", path=path, project=cloud.admin_project, **said)
    assert (again.status, Image.objects.filter(name="another").count()) == ("active", 1)


def test_what_a_killed_upload_left_is_swept(alice: Any) -> None:
    def saving(age: timedelta) -> Image:
        image = verbs.create_image(actor=alice.actor, wanted=RAW)
        Image.objects.filter(pk=image.pk).update(status=ImageStatus.SAVING, updated_at=timezone.now() - age)
        return image

    def part(image: Image, age: timedelta) -> Path:
        path = Path(settings.IMAGE_STORE) / f"{image.id}.abc.part"
        path.touch()
        moment = (timezone.now() - age).timestamp()
        os.utime(path, (moment, moment))
        return path

    hour, minute = timedelta(hours=1), timedelta(minutes=1)
    dead, slow, fresh = saving(hour), saving(hour), saving(minute)
    parts = [part(dead, hour), part(slow, minute), part(fresh, minute)]
    store.path_of(dead.id).touch()
    whole = Path(settings.IMAGE_STORE) / str(uuid4())
    whole.touch()
    assert sweep() == 1
    assert [Image.objects.get(pk=one.pk).status for one in (dead, slow, fresh)] == ["queued", "saving", "saving"]
    assert [path.exists() for path in parts] == [False, True, True]
    assert files_of(dead) == []
    assert "died" in Image.objects.get(pk=dead.pk).message
    assert whole.exists()
    assert sweep() == 0


def test_a_slow_upload_never_replaces_the_data_of_a_later_one(alice: Any) -> None:
    """The sweep took the first for dead; it wakes up when somebody else's data is there already."""
    image = verbs.create_image(actor=alice.actor, wanted=RAW)

    class Sleeping(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            chunk = super().read(size)
            if not chunk and Image.objects.get(pk=image.pk).status == "saving":
                verbs.queue_again(image, "taken for dead")
                verbs.upload(actor=alice.actor, image=Image.objects.get(pk=image.pk), stream=io.BytesIO(b"second"))
            return chunk

    with pytest.raises(NotFound):
        verbs.upload(actor=alice.actor, image=image, stream=Sleeping(b"first"))
    now = Image.objects.get(pk=image.pk)
    assert (now.status, now.size) == ("active", 6)
    assert b"".join(store.open_bytes(now)) == b"second"
