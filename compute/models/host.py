"""Hosts: libvirt daemons that guests run on, what they have, and how busy they are."""

from __future__ import annotations

from uuid import uuid4

from django.conf import settings
from django.db import models
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


class HostState(models.TextChoices):
    """Whether the watcher reaches the host."""

    NEW = "new"
    UP = "up"
    DOWN = "down"


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
    console_address = models.CharField(max_length=255, default="127.0.0.1")

    state = models.CharField(max_length=8, choices=HostState.choices, default=HostState.NEW)
    state_reason = models.TextField(blank=True, default="")
    last_seen_at = models.DateTimeField(null=True, blank=True)
    enabled = models.BooleanField(default=True)
    disabled_reason = models.TextField(blank=True, default="")
    forced_down = models.BooleanField(default=False)
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

    class Meta:
        ordering = ["name"]
        indexes = [models.Index(fields=["updated_at"], name="changed_hosts")]  # the scheduler reads what has changed

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
        """Whether operations may be sent there."""
        return self.state == HostState.UP and not self.forced_down

    @property
    def is_fenced(self) -> bool:
        """Whether it is confirmed to be off: by its fence, or by somebody's word."""
        return not self.is_up and (self.fenced_at is not None or self.forced_down)


class HostSample(models.Model):
    """One point of a host's load over time. Percentages are of the whole host."""

    host = models.ForeignKey(Host, on_delete=models.CASCADE, related_name="samples")
    at = models.DateTimeField(default=timezone.now)
    cpu_percent = models.FloatField()
    memory_used_mb = models.PositiveBigIntegerField()
    disk_used_gb = models.FloatField()
    guests_running = models.PositiveIntegerField()

    class Meta:
        ordering = ["at"]
        indexes = [models.Index(fields=["host", "at"])]

    def __str__(self) -> str:
        return f"{self.host} at {self.at:%F %T}"
