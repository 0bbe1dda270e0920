"""Images whose data comes from a guest's disk instead of from somebody's upload."""

from __future__ import annotations

from uuid import UUID

from django.db import transaction
from django.utils import timezone

from compute.errors import ComputeError
from compute.images import store
from compute.images.verbs import activate
from compute.models import Image, ImageStatus, announce

WAITING = (ImageStatus.QUEUED, ImageStatus.SAVING)
DISK_FORMAT, CONTAINER_FORMAT = "qcow2", "bare"
GONE = "The image was deleted while it was made; it was given up."


def check_waiting(image_id: UUID | str) -> None:
    """Raise ComputeError unless the image is there and still without its data."""
    status = Image.objects.filter(pk=image_id).values_list("status", flat=True).first()
    if status is None:
        raise ComputeError(GONE)
    if status not in WAITING:
        raise ComputeError(f"Image {image_id} was given other data while it was made.")


def begin(image_id: UUID | str, *, again: bool = False) -> None:
    """The data is on its way. ``again``: an earlier try was, too. Raises ComputeError."""
    check_waiting(image_id)
    from_states = WAITING if again else (ImageStatus.QUEUED,)
    image = Image.objects.select_for_update().filter(pk=image_id, status__in=from_states).first()
    if image is None:
        raise ComputeError(f"Image {image_id} is given other data while it is made.")
    Image.objects.filter(pk=image.pk).update(
        status=ImageStatus.SAVING,
        disk_format=DISK_FORMAT,
        container_format=CONTAINER_FORMAT,
        updated_at=timezone.now(),
    )
    announce("image", image.pk, image.project_id)


def save(image_id: UUID | str, stream: store.Readable) -> None:
    """Take the data in, inspected as any upload; the image is active afterwards.

    Raises Invalid, TooLarge, NotFound (deleted meanwhile), ComputeError, and what the stream raises.
    """
    image = Image.objects.filter(pk=image_id).first()
    if image is None:
        raise ComputeError(GONE)
    store.discard_parts(image.pk)
    with store.receive(image.pk, stream, DISK_FORMAT) as received:
        activate(image, received)


def discard(image_id: UUID | str | None, *, only: tuple[ImageStatus, ...] = tuple(ImageStatus)) -> None:
    """The image is gone, with its data, if it is in one of the states ``only``. Nothing there is no error."""
    if image_id is None:
        return
    with transaction.atomic():
        image = Image.objects.select_for_update().filter(pk=image_id, status__in=only).first()
        if image is None:
            return
        key = image.pk
        image.delete()
        announce("image", key, image.project_id)
        transaction.on_commit(lambda: store.delete(key))


def discard_unprotected(image_id: UUID | str | None) -> None:
    """The image of a shelved instance's disk is of no more use: it is gone, unless somebody protected it."""
    if image_id is not None and not Image.objects.filter(pk=image_id, protected=True).exists():
        discard(image_id)
