"""Snapshots of an instance's disk as images, and backups: snapshots of which only the last few are kept."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any, ClassVar

from compute.errors import ComputeError, Invalid
from compute.images.verbs import delete_image
from compute.models import Action, Image, ImageStatus, Instance, TaskState, VmState
from compute.operations import saving
from compute.operations.engine import Operation, Step
from portal.identity.actor import SYSTEM, Actor

log = logging.getLogger(__name__)

# A disk of a terabyte at 50 MB/s, twice.
COPY_LIMIT = timedelta(hours=12)


def steps_of(task: TaskState) -> tuple[Step, ...]:
    """From the disk to the image; ``task`` is shown while the host copies."""
    return (
        Step("copy_disk", saving.copy_disk, saving.give_up, task),
        Step("begin_upload", saving.begin_upload, None, TaskState.IMAGE_PENDING_UPLOAD),
        Step("upload", saving.upload, None, TaskState.IMAGE_UPLOADING),
        Step("delete_copy", saving.delete_copy, final=True),
    )


class CreateImage(Operation):
    """Make an image of the disk as it is now; a running instance goes on running."""

    name = "create_image"
    wire = "createImage"
    label = "Create snapshot"
    policy = "os_compute_api:servers:create_image"
    lane = "transfer"
    allowed = frozenset({VmState.ACTIVE, VmState.STOPPED, VmState.PAUSED, VmState.SUSPENDED})
    during = TaskState.IMAGE_SNAPSHOT_PENDING
    leads_to = None
    while_locked = True
    in_menu = False  # the dashboard asks for a name
    cancellable = True
    limit: ClassVar[timedelta] = COPY_LIMIT
    steps = steps_of(TaskState.IMAGE_SNAPSHOT)

    @classmethod
    def prepare(cls, instance: Instance, actor: Actor, params: dict[str, Any]) -> None:
        """The image is there from the request on. ``params``: ``name`` and ``metadata``, both optional."""
        name = params.setdefault("name", f"{instance.name[:246]}-snapshot")
        saving.new_image(instance, actor, params, name=name, kind="snapshot", metadata=params.pop("metadata", {}))

    @classmethod
    def cancelled(cls, action: Action) -> None:
        """No image without data stays."""
        saving.forget_unfinished(action)


class CreateBackup(CreateImage):
    """Make an image of the disk as it is now, and delete the oldest of its kind beyond those that are kept."""

    name = "create_backup"
    wire = "createBackup"
    label = "Create backup"
    policy = "os_compute_api:os-create-backup"
    during = TaskState.IMAGE_BACKUP
    in_menu = True
    steps = steps_of(TaskState.IMAGE_BACKUP)

    @classmethod
    def prepare(cls, instance: Instance, actor: Actor, params: dict[str, Any]) -> None:
        """``params``: ``name``, ``backup_type``, ``rotation`` (how many to keep; 0: none) and ``metadata``.

        Raises Invalid without the first three, and QuotaExceeded.
        """
        if missing := {"name", "backup_type", "rotation"} - params.keys():
            raise Invalid(f"A backup needs {' and '.join(sorted(missing))}.")
        metadata = {**params.pop("metadata", {}), "backup_type": params["backup_type"]}
        saving.new_image(instance, actor, params, name=params["name"], kind="backup", metadata=metadata)

    def completed(self) -> None:
        """Rotate: the oldest backups of this instance and type go. A protected one stays."""
        for image in self._backups()[self.action.params["rotation"] :]:
            try:
                delete_image(actor=SYSTEM, image=image)
            except ComputeError as error:
                log.warning("backup %s of %s stays: %s", image.pk, self.instance.pk, error)

    def _backups(self) -> list[Image]:
        """The whole ones, the newest first."""
        backups = Image.objects.filter(project_id=self.instance.project_id, status=ImageStatus.ACTIVE)
        marks = {
            "image_type": "backup",
            "backup_type": self.action.params["backup_type"],
            "instance_uuid": str(self.instance.pk),
        }
        newest_first = backups.filter(properties__instance_uuid=marks["instance_uuid"]).order_by("-created_at", "-id")
        return [image for image in newest_first if marks.items() <= image.properties.items()]
