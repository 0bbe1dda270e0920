"""What can be done to images, for the API, the pages and the commands alike: every check, then the change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from django.db import IntegrityError, transaction
from django.utils import timezone

from compute.errors import ComputeError, Conflict, Invalid, NotAllowed, NotFound, TooLarge
from compute.images import store
from compute.models import Image, ImageStatus, ImageVisibility, announce
from portal.identity.actor import Actor
from portal.identity.models import Project
from portal.identity.policy import enforce

MAX_PROPERTIES, MAX_TAGS = 128, 128
DISK_FORMATS = ("ami", "ari", "aki", "vhd", "vhdx", "vmdk", "raw", "qcow2", "vdi", "ploop", "iso")
CONTAINER_FORMATS = ("ami", "ari", "aki", "bare", "ovf", "ova", "docker", "compressed")


@dataclass(frozen=True)
class ImageRequest:
    """What somebody wants to be an image. ``owner`` None: the caller's project. Sizes as the names say."""

    name: str | None = None
    id: UUID | None = None
    visibility: str = ImageVisibility.SHARED
    disk_format: str | None = None
    container_format: str | None = None
    min_disk_gb: int = 0
    min_memory_mb: int = 0
    protected: bool = False
    hidden: bool = False
    tags: tuple[str, ...] = ()
    properties: dict[str, str] = field(default_factory=dict)
    owner: str | None = None


def find(*, actor: Actor, image_id: str | UUID) -> Image:
    """An image that the actor may see. Raises NotFound."""
    try:
        image = Image.objects.visible_to(actor).filter(pk=UUID(str(image_id))).first()
    except ValueError:
        image = None
    if image is None:
        raise NotFound(f"No image found with ID {str(image_id)[:64]}")
    return image


def create_image(*, actor: Actor, wanted: ImageRequest) -> Image:
    """A queued image, without data yet. Raises Invalid, Conflict (the id is in use), TooLarge and Forbidden."""
    enforce(actor, "image:create", actor.project_id)
    owner = wanted.owner or actor.project_id
    if owner is None:
        raise Invalid("An image belongs to a project; the token is not scoped to one.")
    _check_owner(actor, owner)
    _check_visibility(actor, wanted.visibility)
    image = Image(
        id=wanted.id or uuid4(),
        name=wanted.name,
        project_id=owner,
        visibility=wanted.visibility,
        disk_format=wanted.disk_format,
        container_format=wanted.container_format,
        min_disk_gb=wanted.min_disk_gb,
        min_memory_mb=wanted.min_memory_mb,
        protected=wanted.protected,
        hidden=wanted.hidden,
        tags=sorted(set(wanted.tags)),
        properties=dict(wanted.properties),
    )
    check_quota(image)
    try:
        with transaction.atomic():
            image.save(force_insert=True)
            _announce(image)
    except IntegrityError as error:
        raise Conflict(f"Image ID {image.id} already exists!") from error
    return image


def upload(*, actor: Actor, image: Image, stream: store.Readable) -> Image:
    """Take a queued image's data; it is active afterwards.

    Raises Conflict (it has data already, or somebody else uploads), Invalid and TooLarge (the image is
    queued again, its ``message`` says why), NotFound (deleted meanwhile) and Forbidden. No bytes are
    kept unless the image becomes active.
    """
    enforce(actor, "image:upload", image.project_id)
    if image.disk_format is None or image.container_format is None:
        raise Invalid("disk_format and container_format must be set before data is uploaded.")
    _turn(image, ImageStatus.QUEUED, ImageStatus.SAVING, "upload data to")
    try:
        with store.receive(image.id, stream, image.disk_format) as received:
            activate(image, received)
    except BaseException as error:
        queue_again(image, str(error) if isinstance(error, ComputeError) else "The upload was broken off.")
        raise
    image.refresh_from_db()
    return image


def activate(image: Image, received: store.Received) -> None:
    """Bytes that were received become the image's. Raises NotFound: it was deleted meanwhile."""
    stored = received.stored
    with transaction.atomic():
        done = Image.objects.filter(pk=image.pk, status=ImageStatus.SAVING).update(
            status=ImageStatus.ACTIVE,
            size=stored.size,
            virtual_size=stored.virtual_size,
            checksum=stored.checksum,
            hash_algorithm=store.HASH_ALGORITHM,
            hash_value=stored.hash_value,
            message="",
            updated_at=timezone.now(),
        )
        if not done:
            raise NotFound(f"Image {image.id} was deleted while its data was uploaded.")
        received.keep()
        _announce(image)


def queue_again(image: Image, why: str) -> None:
    """An upload came to nothing: the image waits for data again, and says why."""
    with transaction.atomic():
        queued = Image.objects.filter(pk=image.pk, status=ImageStatus.SAVING).update(
            status=ImageStatus.QUEUED, message=why, updated_at=timezone.now()
        )
        if queued:
            store.delete(image.id)
            _announce(image)


def update_image(*, actor: Actor, image: Image, changes: dict[str, Any]) -> Image:
    """Set fields of the model (``name``, ``properties``, ``tags``, ``visibility`` …) to new values.

    Raises Forbidden, Invalid, NotAllowed (formats are fixed once there is data) and NotFound.
    """
    return edit_image(actor=actor, image=image, edit=lambda now: changes)


def edit_image(*, actor: Actor, image: Image, edit: Callable[[Image], dict[str, Any]]) -> Image:
    """As ``update_image``, with changes that ``edit`` makes of the image as it is now, nobody else in between."""
    enforce(actor, "image:modify", image.project_id)
    with transaction.atomic():
        now = Image.objects.select_for_update().filter(pk=image.pk).first()
        if now is None:
            raise NotFound(f"No image found with ID {image.pk}")
        changes = edit(now)
        for name, value in changes.items():
            _check_change(actor, now, name, value)
            setattr(now, name, sorted(set(value)) if name == "tags" else value)
        check_quota(now)
        now.updated_at = timezone.now()
        now.save(update_fields=[*changes, "updated_at"])
        _announce(now)
    return now


def _check_change(actor: Actor, image: Image, name: str, value: Any) -> None:
    if name == "visibility" and value != image.visibility:
        _check_visibility(actor, value)
    if name == "project_id" and value != image.project_id:
        _check_owner(actor, value)
    if name in ("disk_format", "container_format") and image.status != ImageStatus.QUEUED:
        raise NotAllowed(f"Attribute {name} can be only replaced for a queued image.")


def add_tag(*, actor: Actor, image: Image, tag: str) -> Image:
    """Tag an image; once is enough."""
    return edit_image(actor=actor, image=image, edit=lambda now: {"tags": [*now.tags, tag]})


def remove_tag(*, actor: Actor, image: Image, tag: str) -> Image:
    """Take a tag off. Raises NotFound when it is not there."""

    def without(now: Image) -> dict[str, Any]:
        if tag not in now.tags:
            raise NotFound(f"Image {now.id} does not have the tag {tag[:64]}.")
        return {"tags": [one for one in now.tags if one != tag]}

    return edit_image(actor=actor, image=image, edit=without)


def deactivate(*, actor: Actor, image: Image) -> None:
    """Stop the image's data from being read and booted. Doing it again changes nothing."""
    enforce(actor, "image:deactivate", image.project_id)
    if image.status != ImageStatus.DEACTIVATED:
        _turn(image, ImageStatus.ACTIVE, ImageStatus.DEACTIVATED, "deactivate", NotAllowed)


def reactivate(*, actor: Actor, image: Image) -> None:
    """Undo ``deactivate``."""
    enforce(actor, "image:deactivate", image.project_id)
    if image.status != ImageStatus.ACTIVE:
        _turn(image, ImageStatus.DEACTIVATED, ImageStatus.ACTIVE, "reactivate", NotAllowed)


def delete_image(*, actor: Actor, image: Image) -> None:
    """Delete an image and its data. Servers that run from it go on: their hosts keep the base volume.

    Raises NotAllowed for a protected image, NotFound when somebody else was first, and Forbidden.
    """
    enforce(actor, "image:delete", image.project_id)
    with transaction.atomic():
        now = Image.objects.select_for_update().filter(pk=image.pk).first()
        if now is None:
            raise NotFound(f"No image found with ID {image.pk}")
        if now.protected:
            raise NotAllowed(f"Image {now.pk} is protected and cannot be deleted.")
        now.delete()
        _announce(image)
        transaction.on_commit(lambda: store.delete(image.pk))


def check_quota(image: Image) -> None:
    """Raise TooLarge for more tags or properties than an image may have."""
    if len(image.properties) > MAX_PROPERTIES:
        raise TooLarge(f"An image may have {MAX_PROPERTIES} properties; this would be {len(image.properties)}.")
    if len(image.tags) > MAX_TAGS:
        raise TooLarge(f"An image may have {MAX_TAGS} tags; this would be {len(image.tags)}.")


def _check_owner(actor: Actor, owner: str | None) -> None:
    if owner != actor.project_id and not actor.is_admin:
        raise NotAllowed("You are not permitted to create images owned by another project.")
    if not Project.objects.filter(pk=owner).exists():
        raise Invalid("The owner of an image must be an existing project.")


def _check_visibility(actor: Actor, visibility: str) -> None:
    if visibility not in ImageVisibility.values:
        raise Invalid(f"visibility must be one of {', '.join(ImageVisibility.values)}.")
    if visibility == ImageVisibility.PUBLIC:
        enforce(actor, "image:publicize")


def _turn(image: Image, before: str, after: str, what: str, refusal: type[ComputeError] = Conflict) -> None:
    with transaction.atomic():
        if not Image.objects.filter(pk=image.pk, status=before).update(
            status=after, message="", updated_at=timezone.now()
        ):
            now = Image.objects.filter(pk=image.pk).values_list("status", flat=True).first()
            if now is None:
                raise NotFound(f"No image found with ID {image.pk}")
            raise refusal(f"Cannot {what} image {image.pk} while it is {now}; it must be {before}.")
        _announce(image)
    image.status = after


def _announce(image: Image) -> None:
    announce("image", image.pk, image.project_id)
