"""Hosts: libvirt daemons that guests run on, what they have, and how busy they are."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import uuid4

from django.conf import settings
from django.db import models
from django.db.models import Expression, Q
from django.utils import timezone


def default_memory_ratio() -> float:
    """The field's overcommit of memory."""
    return settings.RAM_ALLOCATION_RATIO


def default_disk_ratio() -> float:
    """The field's overcommit of disk."""
    return settings.DISK_ALLOCATION_RATIO


def default_cpu_ratio() -> float:
    """The field's overcommit of virtual CPUs."""
    return settings.CPU_ALLOCATION_RATIO


def default_zone() -> str:
    """The zone of a host that is in no aggregate with one."""
    return settings.DEFAULT_AVAILABILITY_ZONE


FORCED_DOWN = "An administrator says that it is down."
UNHEARD = "The watcher has not seen it for too long; the watcher may be down itself."


class HostState(models.TextChoices):
    """Whether the watcher reaches the host."""

    NEW = "new"
    UP = "up"
    DOWN = "down"


def heard_of_since() -> datetime:
    """A host that was seen last before this moment counts as down: its watch, or the whole watcher, is away."""
    return timezone.now() - timedelta(seconds=settings.HOST_DOWN_AFTER_SECONDS)


class HostQuerySet(models.QuerySet["Host"]):
    """Reads of hosts."""

    def up(self, since: datetime | Expression | None = None) -> HostQuerySet:
        """Those that operations may be sent to; as ``Host.is_up``. ``since``: instead of ``heard_of_since``."""
        return self.heard(since).filter(forced_down=False)

    def heard(self, since: datetime | Expression | None = None) -> HostQuerySet:
        """Those that the watcher hears, whatever administrators say of them."""
        heard_of = Q(last_seen_at=None) | Q(last_seen_at__gte=since or heard_of_since())
        return self.filter(heard_of, state=HostState.UP)

    def unheard(self, since: datetime | Expression | None = None) -> HostQuerySet:
        """Those that the rows call up and that nobody has seen for too long. Found by the index of ``last_seen_at``."""
        return self.filter(last_seen_at__lt=since or heard_of_since(), state=HostState.UP)


class Host(models.Model):
    """One compute host. ``*_used`` are claims, taken and given back by conditional updates alone."""

    id = models.BigAutoField(primary_key=True)
    uuid = models.UUIDField(unique=True, default=uuid4)
    service_uuid = models.UUIDField(unique=True, default=uuid4)
    name = models.CharField(max_length=255, unique=True)
    uri = models.CharField(max_length=255, unique=True)
    machine_uuid = models.UUIDField(null=True, unique=True, editable=False, help_text="What libvirt knows it by.")
    # Derived from its aggregates, by compute.aggregates alone, so that filters and lists need no join.
    zone = models.CharField(max_length=255, default=default_zone, editable=False)
    domain_type = models.CharField(max_length=16, blank=True, default="", help_text="Empty: found out. Or kvm, qemu.")
    storage_id = models.CharField(
        max_length=64, blank=True, default="", editable=False, help_text="Which storage its pool lies on, as last seen."
    )
    storage_since = models.DateTimeField(null=True, blank=True, editable=False, help_text="It was another until then.")
    storage_seen_at = models.DateTimeField(null=True, blank=True, editable=False, help_text="When it was looked at.")
    console_address = models.CharField(max_length=255, default="127.0.0.1")
    migration_address = models.CharField(
        max_length=255,
        blank=True,
        default="",
        help_text="Where other hosts reach it. Empty: where its URI says.",
    )

    state = models.CharField(max_length=8, choices=HostState.choices, default=HostState.NEW)
    state_reason = models.TextField(blank=True, default="")
    last_seen_at = models.DateTimeField(null=True, blank=True)
    silent_since = models.DateTimeField(
        null=True, blank=True, help_text="It is connected and does not answer: operations wait in their rows."
    )
    enabled = models.BooleanField(default=True)
    disabled_reason = models.TextField(blank=True, default="")
    forced_down = models.BooleanField(default=False)
    maintenance = models.BooleanField(
        default=False, help_text="It is disabled to be serviced: being drained, or empty."
    )
    down_since = models.DateTimeField(null=True, blank=True, help_text="It has not answered since; empty: it answers.")
    fenced_at = models.DateTimeField(
        null=True, blank=True, help_text="It was confirmed to be off then, and has not answered since."
    )
    fence_method = models.CharField(
        max_length=64, blank=True, default="", help_text="How it is switched off from afar; empty: by hand alone."
    )
    fence_values = models.JSONField(default=dict, blank=True, help_text="What the method asks for: names to texts.")
    fence_timeout = models.PositiveIntegerField(default=60, help_text="Seconds until the method has failed.")

    facts = models.JSONField(default=dict, blank=True)
    vcpus = models.PositiveIntegerField(default=0)
    memory_mb = models.PositiveBigIntegerField(default=0)
    disk_gb = models.PositiveBigIntegerField(default=0)
    reserved_memory_mb = models.PositiveIntegerField(default=512)
    reserved_disk_gb = models.PositiveIntegerField(default=0)
    cpu_ratio = models.FloatField(default=default_cpu_ratio)
    memory_ratio = models.FloatField(default=default_memory_ratio)
    disk_ratio = models.FloatField(default=default_disk_ratio)

    vcpus_used = models.PositiveIntegerField(default=0)
    memory_mb_used = models.PositiveBigIntegerField(default=0)
    disk_gb_used = models.PositiveBigIntegerField(default=0)
    instances_used = models.PositiveIntegerField(default=0)
    build_failures = models.PositiveIntegerField(default=0, help_text="Since the last build that went well.")

    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(default=timezone.now)

    objects = HostQuerySet.as_manager()

    class Meta:
        ordering = ["name"]
        indexes = [
            models.Index(fields=["updated_at"], name="changed_hosts"),  # the scheduler reads what has changed
            models.Index(fields=["last_seen_at"], name="seen_hosts"),  # and who has not been seen
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def vcpu_capacity(self) -> float:
        """Virtual CPUs that may be claimed."""
        return self.vcpus * self.cpu_ratio

    @property
    def memory_capacity_mb(self) -> float:
        """Memory that may be claimed, MiB."""
        return max(0, self.memory_mb - self.reserved_memory_mb) * self.memory_ratio

    @property
    def disk_capacity_gb(self) -> float:
        """Disk that may be claimed, GiB."""
        return max(0, self.disk_gb - self.reserved_disk_gb) * self.disk_ratio

    @property
    def is_up(self) -> bool:
        """Whether operations may be sent there: an old row is not believed, whatever it says."""
        return self.state == HostState.UP and not self.forced_down and not self.is_unheard

    @property
    def is_unheard(self) -> bool:
        """Whether the row calls it up and nobody has seen it for too long."""
        return self.state == HostState.UP and self.last_seen_at is not None and self.last_seen_at < heard_of_since()

    @property
    def state_now(self) -> str:
        """The state as it counts: ``up``, ``down`` or ``new``."""
        return HostState.DOWN if self.forced_down or self.is_unheard else HostState(self.state)

    @property
    def why_down(self) -> str:
        """Why it is not up; empty when it is."""
        if self.is_up:
            return ""
        if self.forced_down:
            return FORCED_DOWN
        return UNHEARD if self.is_unheard else self.state_reason

    @property
    def is_fenced(self) -> bool:
        """Whether it is confirmed to be off: by its fence, or by somebody's word."""
        return not self.is_up and (self.fenced_at is not None or self.forced_down)
