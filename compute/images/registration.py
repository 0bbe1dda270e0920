"""Images that come with the cloud."""

from __future__ import annotations

from pathlib import Path

from compute.errors import ComputeError
from compute.images.verbs import ImageRequest, create_image, upload
from compute.models import Image, ImageStatus
from portal.identity.actor import SYSTEM
from portal.identity.models import Project


def register_image(
    *, name: str, path: Path, disk_format: str, visibility: str, properties: dict[str, str], project: Project
) -> Image:
    """The active image of this name in the project, made from the file ``path`` when there is none yet.

    Safe to call at every start: what an earlier, broken-off call left queued is used. Raises ComputeError.
    """
    named = Image.objects.filter(project=project, name=name)
    if (ready := named.filter(status=ImageStatus.ACTIVE).first()) is not None:
        return ready
    wanted = ImageRequest(
        name=name,
        visibility=visibility,
        disk_format=disk_format,
        container_format="bare",
        properties=properties,
        owner=project.id,
    )
    image = named.filter(status=ImageStatus.QUEUED).first() or create_image(actor=SYSTEM, wanted=wanted)
    try:
        with path.open("rb") as stream:
            return upload(actor=SYSTEM, image=image, stream=stream)
    except OSError as error:
        raise ComputeError(f"The file {path.name} cannot be read: {error.strerror}.") from error
