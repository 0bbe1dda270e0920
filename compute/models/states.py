"""The three states of an instance, with Nova's names, and the status that the API makes of them."""

from __future__ import annotations

from django.db import models


class VmState(models.TextChoices):
    """What the user asked for."""

    BUILDING = "building"
    ACTIVE = "active"
    STOPPED = "stopped"
    PAUSED = "paused"
    SUSPENDED = "suspended"
    RESCUED = "rescued"
    RESIZED = "resized"
    SHELVED = "shelved"
    SHELVED_OFFLOADED = "shelved_offloaded"
    SOFT_DELETED = "soft-delete"
    DELETED = "deleted"
    ERROR = "error"


class TaskState(models.TextChoices):
    """What is under way."""

    SCHEDULING = "scheduling"
    NETWORKING = "networking"
    BLOCK_DEVICE_MAPPING = "block_device_mapping"
    SPAWNING = "spawning"
    POWERING_OFF = "powering-off"
    POWERING_ON = "powering-on"
    REBOOTING = "rebooting"
    REBOOT_PENDING = "reboot_pending"
    REBOOT_STARTED = "reboot_started"
    REBOOTING_HARD = "rebooting_hard"
    REBOOT_PENDING_HARD = "reboot_pending_hard"
    REBOOT_STARTED_HARD = "reboot_started_hard"
    DELETING = "deleting"
    PAUSING = "pausing"
    UNPAUSING = "unpausing"
    SUSPENDING = "suspending"
    RESUMING = "resuming"
    REBUILDING = "rebuilding"
    REBUILD_BLOCK_DEVICE_MAPPING = "rebuild_block_device_mapping"
    REBUILD_SPAWNING = "rebuild_spawning"
    RESCUING = "rescuing"
    UNRESCUING = "unrescuing"
    RESIZE_PREP = "resize_prep"
    RESIZE_MIGRATING = "resize_migrating"
    RESIZE_MIGRATED = "resize_migrated"
    RESIZE_FINISH = "resize_finish"
    RESIZE_CONFIRMING = "resize_confirming"
    RESIZE_REVERTING = "resize_reverting"
    MIGRATING = "migrating"
    IMAGE_SNAPSHOT_PENDING = "image_snapshot_pending"
    IMAGE_SNAPSHOT = "image_snapshot"
    IMAGE_PENDING_UPLOAD = "image_pending_upload"
    IMAGE_UPLOADING = "image_uploading"
    IMAGE_BACKUP = "image_backup"
    SHELVING = "shelving"
    SHELVING_IMAGE_PENDING_UPLOAD = "shelving_image_pending_upload"
    SHELVING_IMAGE_UPLOADING = "shelving_image_uploading"
    SHELVING_OFFLOADING = "shelving_offloading"
    UNSHELVING = "unshelving"
    SOFT_DELETING = "soft-deleting"
    RESTORING = "restoring"
    UPDATING_PASSWORD = "updating_password"  # noqa: S105  (a state's name)
    SNAPSHOT_CREATING = "snapshot_creating"  # in place: Nacelle's own, as the two below
    SNAPSHOT_REVERTING = "snapshot_reverting"
    SNAPSHOT_DELETING = "snapshot_deleting"


class PowerState(models.IntegerChoices):
    """What the hypervisor says (the numbers are Nova's, and the driver's)."""

    NOSTATE = 0, "No State"
    RUNNING = 1, "Running"
    PAUSED = 3, "Paused"
    SHUTDOWN = 4, "Shut Down"
    CRASHED = 6, "Crashed"
    SUSPENDED = 7, "Suspended"


# (vm_state → status without a task, then by task), after Nova's table in its API guide.
_STATUS: dict[str, tuple[str, dict[str, str]]] = {
    VmState.ACTIVE: (
        "ACTIVE",
        {
            TaskState.REBOOTING: "REBOOT",
            TaskState.REBOOT_PENDING: "REBOOT",
            TaskState.REBOOT_STARTED: "REBOOT",
            TaskState.REBOOTING_HARD: "HARD_REBOOT",
            TaskState.REBOOT_PENDING_HARD: "HARD_REBOOT",
            TaskState.REBOOT_STARTED_HARD: "HARD_REBOOT",
            TaskState.REBUILDING: "REBUILD",
            TaskState.REBUILD_BLOCK_DEVICE_MAPPING: "REBUILD",
            TaskState.REBUILD_SPAWNING: "REBUILD",
            TaskState.RESIZE_PREP: "RESIZE",
            TaskState.RESIZE_MIGRATING: "RESIZE",
            TaskState.RESIZE_MIGRATED: "RESIZE",
            TaskState.RESIZE_FINISH: "RESIZE",
            TaskState.UPDATING_PASSWORD: "PASSWORD",
            TaskState.MIGRATING: "MIGRATING",
        },
    ),
    VmState.BUILDING: ("BUILD", {}),
    VmState.STOPPED: (
        "SHUTOFF",
        {
            TaskState.REBOOTING_HARD: "HARD_REBOOT",
            TaskState.REBOOT_PENDING_HARD: "HARD_REBOOT",
            TaskState.REBOOT_STARTED_HARD: "HARD_REBOOT",
            TaskState.REBUILDING: "REBUILD",
            TaskState.REBUILD_BLOCK_DEVICE_MAPPING: "REBUILD",
            TaskState.REBUILD_SPAWNING: "REBUILD",
            TaskState.RESIZE_PREP: "RESIZE",
            TaskState.RESIZE_MIGRATING: "RESIZE",
            TaskState.RESIZE_MIGRATED: "RESIZE",
            TaskState.RESIZE_FINISH: "RESIZE",
        },
    ),
    VmState.PAUSED: ("PAUSED", {TaskState.MIGRATING: "MIGRATING"}),
    VmState.SUSPENDED: ("SUSPENDED", {}),
    VmState.RESCUED: ("RESCUE", {}),
    VmState.RESIZED: ("VERIFY_RESIZE", {TaskState.RESIZE_REVERTING: "REVERT_RESIZE"}),
    VmState.SHELVED: ("SHELVED", {}),
    VmState.SHELVED_OFFLOADED: ("SHELVED_OFFLOADED", {}),
    VmState.SOFT_DELETED: ("SOFT_DELETED", {}),
    VmState.DELETED: ("DELETED", {}),
    VmState.ERROR: (
        "ERROR",
        {
            TaskState.REBUILDING: "REBUILD",
            TaskState.REBUILD_BLOCK_DEVICE_MAPPING: "REBUILD",
            TaskState.REBUILD_SPAWNING: "REBUILD",
        },
    ),
}


def status(vm_state: str, task_state: str | None) -> str:
    """The API's status of an instance in these states; UNKNOWN for a pair that cannot be."""
    default, by_task = _STATUS.get(vm_state, ("UNKNOWN", {}))
    return by_task.get(task_state or "", default)


def states_of_status(wanted: str) -> list[tuple[str, list[str]]]:
    """The inverse, for filters: (vm_state, task_states) pairs that show as this status.

    An empty list of task states means: any but those that show as another status.
    """
    found: list[tuple[str, list[str]]] = []
    for vm_state, (default, by_task) in _STATUS.items():
        if default == wanted:
            found.append((vm_state, []))
        elif tasks := [task for task, name in by_task.items() if name == wanted]:
            found.append((vm_state, tasks))
    return found


def other_tasks(vm_state: str) -> list[str]:
    """The task states under which this vm_state shows as another status than its own."""
    return list(_STATUS[vm_state][1])
