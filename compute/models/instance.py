"""Instances: the guests that projects own (servers, on the wire)."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models import ProtectedError
from django.utils import timezone

from compute.models.states import PowerState, TaskState, VmState, status

if TYPE_CHECKING:
    from portal.identity.actor import Actor


def protect_the_living(collector: Any, field: Any, rows: Any, using: str) -> None:
    """For ``on_delete``: instances that are there protect their project; deleted ones are history and keep its id."""
    living = list(rows.filter(deleted_at=None))
    if living:
        raise ProtectedError("The project still owns instances.", set(living))


class InstanceQuerySet(models.QuerySet["Instance"]):
    """Reads of instances."""

    def visible_to(self, actor: Actor, all_projects: bool = False) -> InstanceQuerySet:
        """The project's own; those of all projects when an administrator asks for them."""
        if all_projects and actor.is_admin:
            return self
        return self.filter(project_id=actor.project_id)

    def alive(self) -> InstanceQuerySet:
        """Those not deleted."""
        return self.filter(deleted_at=None)


class Instance(models.Model):
    """One instance. Only ``compute.operations`` writes its three states."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    name = models.CharField(max_length=255)
    description = models.CharField(max_length=255, null=True, blank=True)  # null on the wire
    hostname = models.CharField(max_length=255)
    # No constraint on these two in the database: who had it outlives the project and the user, as in Nova.
    project = models.ForeignKey(
        "identity.Project", on_delete=protect_the_living, db_constraint=False, related_name="instances"
    )
    user = models.ForeignKey(
        "identity.User", on_delete=models.DO_NOTHING, null=True, db_constraint=False, related_name="+"
    )

    flavor = models.JSONField(help_text="A copy of the flavor as it was (Flavor.snapshot).")
    vcpus = models.PositiveIntegerField()
    memory_mb = models.PositiveIntegerField()
    disk_gb = models.PositiveIntegerField(help_text="Root, ephemeral and swap together, as claimed.")
    # No constraint and nothing done: a server says what it was made of, also when that is gone.
    image = models.ForeignKey(
        "compute.Image",
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        null=True,
        blank=True,
        related_name="instances",
    )
    image_name = models.CharField(max_length=255, blank=True, default="")
    # Filters read them at each placement, and by then the image may be another or gone.
    image_properties = models.JSONField(default=dict, blank=True, help_text="A copy of the image's, as they were.")
    key_name = models.CharField(max_length=255, null=True, blank=True)
    key_public = models.TextField(blank=True, default="")
    user_data = models.TextField(null=True, blank=True)  # base64, as given
    config_drive = models.BooleanField(default=False, help_text="The user asked for one; every instance has one.")
    metadata = models.JSONField(default=dict, blank=True)
    tags = models.JSONField(default=list, blank=True)
    access_ipv4 = models.CharField(max_length=15, blank=True, default="")
    access_ipv6 = models.CharField(max_length=39, blank=True, default="")
    reservation_id = models.CharField(max_length=32, blank=True, default="", db_index=True)
    launch_index = models.PositiveIntegerField(default=0)
    disk_config = models.CharField(
        max_length=8, default="MANUAL", choices=[("AUTO", "AUTO"), ("MANUAL", "MANUAL")], help_text="As the user said."
    )
    # Only living instances count as members; a group that goes leaves its instances where they are.
    server_group = models.ForeignKey(
        "compute.ServerGroup", on_delete=models.SET_NULL, null=True, blank=True, related_name="instances"
    )
    scheduler_hints = models.JSONField(default=dict, blank=True)
    asked_host = models.CharField(
        max_length=255, blank=True, default="", help_text="The one host asked for; empty: any."
    )
    host_forced = models.BooleanField(default=False, help_text="On the host asked for, whatever the filters say.")

    vm_state = models.CharField(max_length=24, choices=VmState.choices, default=VmState.BUILDING)
    task_state = models.CharField(max_length=32, choices=TaskState.choices, null=True, blank=True)
    power_state = models.IntegerField(choices=PowerState.choices, default=PowerState.NOSTATE)
    locked = models.BooleanField(default=False)
    locked_reason = models.CharField(max_length=255, null=True, blank=True)
    locked_by_admin = models.BooleanField(default=False)
    progress = models.PositiveSmallIntegerField(default=0)
    volume_names = models.JSONField(
        default=dict, blank=True, help_text="The disks whose volumes are not called as they usually are: role to name."
    )

    # Empty for all others. The guest keeps the definition that it has on its host; the rows do not say what it is.
    adopted = models.JSONField(default=dict, blank=True, help_text="What it was when it was adopted from its host.")

    host = models.ForeignKey("compute.Host", on_delete=models.PROTECT, null=True, blank=True, related_name="instances")
    zone = models.CharField(max_length=255, blank=True, default="", help_text="The zone asked for; empty: any.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(default=timezone.now)
    launched_at = models.DateTimeField(null=True, blank=True)
    # Like ``image``: of no concern to whoever deletes the image. Both are set while it is shelved.
    shelved_image_id = models.UUIDField(null=True, blank=True, help_text="The image that holds its disk meanwhile.")
    shelved_at = models.DateTimeField(null=True, blank=True)
    terminated_at = models.DateTimeField(null=True, blank=True)
    deleted_at = models.DateTimeField(null=True, blank=True)

    objects = InstanceQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(fields=["project", "deleted_at", "-created_at", "-id"], name="instance_list"),
            models.Index(fields=["host", "deleted_at"], name="instance_on_host"),
            models.Index(fields=["host"], condition=models.Q(task_state__isnull=False), name="busy_instances"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def domain_name(self) -> str:
        """Its name on the hypervisor (OS-EXT-SRV-ATTR:instance_name); made of the uuid alone, unless it was adopted."""
        return str(self.adopted["name"]) if self.is_adopted else f"instance-{self.id}"

    @property
    def is_adopted(self) -> bool:
        """Whether its guest was there before it, and is as its host defines it."""
        return bool(self.adopted)

    @property
    def status(self) -> str:
        """The API's status."""
        return status(self.vm_state, self.task_state)

    def volume(self, role: str) -> str:
        """The name of the volume that is its disk of this role; every volume of the instance begins with its uuid."""
        return f"{self.id}-{self.volume_names.get(role, role)}"

    @property
    def root_volume(self) -> str:
        """Its root disk's volume name."""
        return self.volume("root")

    @property
    def config_volume(self) -> str:
        """Its config drive's volume name."""
        return self.volume("config")


class Fault(models.Model):
    """What went wrong with an instance: a sentence for its owner, details for administrators."""

    instance = models.ForeignKey(Instance, on_delete=models.CASCADE, related_name="faults")
    code = models.PositiveSmallIntegerField(default=500)
    message = models.CharField(max_length=255)
    details = models.TextField(blank=True, default="")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["created_at", "id"]

    def __str__(self) -> str:
        return self.message
