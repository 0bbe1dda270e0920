"""From a guest's disk to an image: the steps that snapshots, backups and shelving share.

The driver copies the disk into a volume beside it, whose name begins with the instance's uuid, so that
a deletion finds it; the copy is streamed into the image store and then removed. The image's row is
there from the request on; whoever deletes it ends the operation.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from typing import Any

from django.db import transaction

from compute.errors import ComputeError, QuotaExceeded, TooLarge
from compute.hypervisor.interface import Busy
from compute.images import copies
from compute.images.verbs import ImageRequest, create_image
from compute.models import Action, Image, ImageStatus, ImageVisibility, Instance, announce
from compute.operations.engine import Operation
from compute.operations.leases import Lost
from portal.identity.actor import Actor

Check = Callable[[Operation], None]

TELL_SECONDS = 0.5
COPIED_PERCENT = 50  # of the whole way, when the copy is made and its upload begins
# What Nova never hands on from an instance's image to a snapshot of it.
NOT_INHERITED = frozenset(
    {
        "cache_in_nova",
        "bittorrent",
        "cinder_encryption_key_id",
        "cinder_encryption_key_deletion_policy",
        "img_signature",
        "img_signature_hash_method",
        "img_signature_key_type",
        "img_signature_certificate_uuid",
    }
)


def new_image(
    instance: Instance, actor: Actor, params: dict[str, Any], *, name: str, kind: str, metadata: dict[str, str]
) -> None:
    """The queued image that an operation will fill; its id goes into ``params``. As Nova makes it.

    It belongs to the instance's project. ``kind`` is "snapshot" or "backup". Raises QuotaExceeded.
    """
    origin = Image.objects.filter(pk=instance.image_id).first() if instance.image_id else None
    inherited = {key: value for key, value in (origin.properties if origin else {}).items() if key not in NOT_INHERITED}
    wanted = ImageRequest(
        name=name,
        visibility=ImageVisibility.PRIVATE if actor.project_id == instance.project_id else ImageVisibility.SHARED,
        min_disk_gb=max(origin.min_disk_gb if origin else 0, instance.flavor["disk_gb"]),
        min_memory_mb=origin.min_memory_mb if origin else 0,
        properties={**inherited, **_properties(instance, actor, kind), **metadata},
        owner=instance.project_id,
    )
    try:
        params["image"] = str(create_image(actor=actor, wanted=wanted).pk)
    except TooLarge as error:
        raise QuotaExceeded(str(error)) from error


def _properties(instance: Instance, actor: Actor, kind: str) -> dict[str, str]:
    return {
        "base_image_ref": str(instance.image_id or ""),
        "image_location": "snapshot",
        "image_state": "available",
        "image_type": kind,
        "instance_uuid": str(instance.id),
        "owner_id": instance.project_id,
        "user_id": actor.user_id,
    }


def copy_volume(instance: Instance) -> str:
    """The volume that a copy of the disk lies in until it is in the store."""
    return f"{instance.id}-copy"


def copy_disk(operation: Operation) -> None:
    """Copy the root disk as it is at this moment. Done is what an earlier attempt has noted."""
    instance, target = operation.instance, copy_volume(operation.instance)
    if is_stored(operation) or _is_copied(operation, target):
        return
    check_wanted(operation)
    operation.note(copied=False)
    try:
        operation.hypervisor.copy_disk(instance.id, instance.root_volume, target, Report(operation, 0, COPIED_PERCENT))
    except Busy:
        check_wanted(operation)
        raise
    operation.note(copied=True)


def begin_upload(operation: Operation) -> None:
    """From now on the image says that its data is coming."""
    if is_stored(operation):
        return
    with transaction.atomic():
        copies.begin(operation.action.params["image"], again=bool(operation.action.progress.get("saving")))
        operation.note(saving=True)


def upload(operation: Operation) -> None:
    """Stream the copy into the store, which looks at it as at any upload."""
    if is_stored(operation):
        return
    source = copy_volume(operation.instance)
    total = operation.hypervisor.stored_bytes(source)
    chunks = operation.hypervisor.download(source)
    copies.save(operation.action.params["image"], Stream(operation, chunks, total, COPIED_PERCENT))
    _tell(operation, 100)


def delete_copy(operation: Operation) -> None:
    """The host needs the copy no more."""
    operation.hypervisor.delete_volume(copy_volume(operation.instance))


def drop_image(operation: Operation) -> None:
    """For an undo: no image stays. One that somebody else gave its data is left alone."""
    is_ours = operation.action.progress.get("saving")
    copies.discard(operation.action.params["image"], only=tuple(ImageStatus) if is_ours else copies.WAITING)


def give_up(operation: Operation) -> None:
    """Undo of all: no image and no copy."""
    drop_image(operation)
    delete_copy(operation)


def forget_unfinished(action: Action) -> None:
    """The action is cancelled: its image goes, unless it is whole."""
    copies.discard(action.params.get("image"), only=copies.WAITING)


def is_stored(operation: Operation) -> bool:
    """Whether the image has its data, and from here: nobody else could give it any once that had begun."""
    if not operation.action.progress.get("saving"):
        return False
    return Image.objects.filter(pk=operation.action.params["image"]).exclude(status__in=copies.WAITING).exists()


def _is_copied(operation: Operation, target: str) -> bool:
    return bool(operation.action.progress.get("copied")) and target in operation.hypervisor.volumes(prefix=target)


def check_wanted(operation: Operation) -> None:
    """Raise Lost when the operation was cancelled, ComputeError when its image was deleted or filled by others."""
    operation.lease.renew()
    copies.check_waiting(operation.action.params["image"])


class Report:
    """Tells people how far a copy is, not too often; answers whether to go on.

    ``begin`` to ``end`` are percent of the whole way; ``check`` raises Lost or ComputeError when it is
    not wanted any more.
    """

    def __init__(self, operation: Operation, begin: int, end: int, check: Check = check_wanted) -> None:
        self._operation, self._begin, self._end, self._check = operation, begin, end, check
        self._next = 0.0

    def __call__(self, percent: int) -> bool:
        """``percent`` of this part is done."""
        if time.monotonic() < self._next:
            return True
        self._next = time.monotonic() + TELL_SECONDS
        try:
            self._check(self._operation)
        except (Lost, ComputeError):
            return False
        _tell(self._operation, self._begin + (self._end - self._begin) * min(percent, 100) // 100)
        return True


def _tell(operation: Operation, percent: int) -> None:
    if percent == operation.action.progress.get("percent"):
        return
    with transaction.atomic():
        operation.note(percent=percent)
        announce("server", operation.instance.pk, operation.instance.project_id)


class Reading(io.RawIOBase):
    """Chunks as a file to read from."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._rest = chunks, b""

    def read(self, size: int = -1, /) -> bytes:
        """Up to ``size`` bytes; none at the end."""
        while not self._rest:
            if (chunk := next(self._chunks, None)) is None:
                return b""
            self._rest = chunk
        data, self._rest = (self._rest, b"") if size < 0 else (self._rest[:size], self._rest[size:])
        return data


class Stream(Reading):
    """The same, and reading tells how far it is, and raises when nobody wants it any more.

    ``total`` is the number of bytes expected; ``begin`` is the percent at which the reading starts.
    """

    def __init__(
        self, operation: Operation, chunks: Iterator[bytes], total: int, begin: int = 0, check: Check = check_wanted
    ) -> None:
        super().__init__(chunks)
        self._operation, self._total, self._check = operation, max(total, 1), check
        self._report = Report(operation, begin, 100, check)
        self._seen = 0

    def read(self, size: int = -1, /) -> bytes:
        """Up to ``size`` bytes; none at the end."""
        data = super().read(size)
        self._seen += len(data)
        if data and not self._report(self._seen * 100 // self._total):
            self._check(self._operation)
        return data
