"""What is only looked at here: instances and their history, images, networks, samples, the change feed."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from compute.models import (
    Action,
    Block,
    Change,
    Event,
    Fault,
    Fencing,
    HostCheck,
    HostEvent,
    Image,
    Instance,
    Migration,
    Network,
    NetworkRemoval,
    Port,
    PortAddress,
    QuotaUsage,
    Reading,
    Relocation,
    RelocationItem,
    Sample,
    SecurityGroup,
    SecurityGroupRule,
    Series,
    Snapshot,
    SnapshotSchedule,
    Subnet,
)
from portal.dashboard.admin.base import LookOnly


@admin.register(Instance)
class InstanceAdmin(LookOnly):
    """Instances, deleted ones too. Operations alone change them."""

    # Neither project nor image is joined: a deleted instance may outlive both.
    list_display = (
        "name",
        "project_id",
        "status",
        "vm_state",
        "task_state",
        "power_state",
        "locked",
        "host",
        "created_at",
        "deleted_at",
        "id",
    )
    list_filter = ("vm_state", "task_state", "power_state", "host")
    list_select_related = ("host",)
    search_fields = ("name", "id", "project_id", "hostname")
    fields = (
        "id", "name", "description", "hostname", "project_id", "user_id", "status", "vm_state", "task_state",
        "power_state", "locked", "locked_reason", "host", "zone", "flavor", "vcpus", "memory_mb", "disk_gb",
        "image_id", "image_name", "key_name", "metadata", "tags", "reservation_id",
        "created_at", "updated_at", "launched_at", "terminated_at", "deleted_at",
    )  # fmt: skip


@admin.register(Migration)
class MigrationAdmin(LookOnly):
    """Instances on their way to another flavor or another host."""

    list_display = ("instance", "migration_type", "status", "source_host", "dest_host", "created_at", "updated_at")
    list_filter = ("status", "migration_type")
    list_select_related = ("instance", "source_host", "dest_host")
    search_fields = ("instance__name", "uuid")


@admin.register(Snapshot)
class SnapshotAdmin(LookOnly):
    """Moments that instances can go back to."""

    list_display = ("name", "instance", "state", "memory", "current", "size_bytes", "user_name", "created_at")
    list_filter = ("state", "memory")
    list_select_related = ("instance",)
    search_fields = ("name", "instance__name", "id")


@admin.register(SnapshotSchedule)
class SnapshotScheduleAdmin(LookOnly):
    """When snapshots and backups are made by themselves."""

    list_display = ("name", "instance", "kind", "frequency", "keep", "enabled", "next_run_at", "last_run_at")
    list_filter = ("kind", "frequency", "enabled")
    list_select_related = ("instance",)
    search_fields = ("name", "instance__name", "id")


@admin.register(Fault)
class FaultAdmin(LookOnly):
    """What went wrong."""

    list_display = ("message", "code", "instance", "created_at")
    list_select_related = ("instance",)
    search_fields = ("message", "instance__name")


class EventInline(admin.TabularInline[Event, Action]):
    """The steps of an action."""

    model = Event
    fields = ("name", "attempt", "host", "started_at", "finished_at", "result", "message")
    readonly_fields = fields
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """No."""
        return False


@admin.register(Action)
class ActionAdmin(LookOnly):
    """What was done to instances."""

    exclude = ("secret",)
    list_display = (
        "operation",
        "instance",
        "state",
        "user_name",
        "project_name",
        "request_id",
        "attempts",
        "created_at",
        "finished_at",
    )
    list_filter = ("state", "operation")
    list_select_related = ("instance",)
    search_fields = ("request_id", "instance__name", "user_name", "project_name")
    inlines = (EventInline,)


@admin.register(Event)
class EventAdmin(LookOnly):
    """The steps of all actions, with their tracebacks."""

    list_display = ("name", "action", "attempt", "host", "started_at", "finished_at", "result", "message")
    list_filter = ("result", "name")
    list_select_related = ("action",)
    search_fields = ("action__request_id", "message")


@admin.register(Image)
class ImageAdmin(LookOnly):
    """Images. The portal and the API upload, change and delete them, with their bytes."""

    list_display = (
        "name",
        "project",
        "status",
        "visibility",
        "disk_format",
        "size",
        "virtual_size",
        "protected",
        "created_at",
        "id",
    )
    list_filter = ("status", "visibility", "disk_format")
    list_select_related = ("project",)
    search_fields = ("name", "id")


@admin.register(Sample)
class SampleAdmin(LookOnly):
    """When hosts were measured. The portal's own charts show what."""

    list_display = ("host", "at")
    list_filter = ("host",)
    list_select_related = ("host",)
    fields = ("host", "at")


@admin.register(Series)
class SeriesAdmin(LookOnly):
    """What is measured: hosts, and instances on them."""

    list_display = ("id", "host", "instance_id")
    list_filter = ("host",)
    list_select_related = ("host",)
    fields = ("id", "host", "instance_id")


@admin.register(Block)
class BlockAdmin(LookOnly):
    """Averages over hours and days."""

    list_display = ("series_id", "level", "start")
    list_filter = ("level",)
    fields = ("series_id", "level", "start")


@admin.register(Reading)
class ReadingAdmin(LookOnly):
    """The counters of each host and its guests when they were read last."""

    list_display = ("host", "at")
    list_select_related = ("host",)
    fields = ("host", "at", "counters")


@admin.register(HostCheck)
class HostCheckAdmin(LookOnly):
    """What the last look at each host has brought to light."""

    list_display = ("host", "at")
    list_select_related = ("host",)
    search_fields = ("host__name",)


@admin.register(Fencing)
class FencingAdmin(LookOnly):
    """Each time that a host was fenced."""

    list_display = ("host", "method", "automatic", "state", "result", "user_name", "created_at", "finished_at")
    list_filter = ("state", "host")
    list_select_related = ("host",)


@admin.register(HostEvent)
class HostEventAdmin(LookOnly):
    """What happened to hosts."""

    list_display = ("at", "host", "kind", "message", "user_name")
    list_filter = ("kind", "host")
    list_select_related = ("host",)


@admin.register(Relocation)
class RelocationAdmin(LookOnly):
    """Many instances moved in one undertaking."""

    list_display = ("kind", "host", "state", "at_once", "automatic", "user_name", "created_at", "finished_at")
    list_filter = ("kind", "state", "host")
    list_select_related = ("host",)


@admin.register(RelocationItem)
class RelocationItemAdmin(LookOnly):
    """Each of their instances."""

    list_display = ("relocation", "instance", "state", "target", "message", "finished_at")
    list_filter = ("state",)
    list_select_related = ("relocation", "instance", "target")


@admin.register(QuotaUsage)
class QuotaUsageAdmin(LookOnly):
    """What projects take; derived from their instances."""

    list_display = ("project", "instances", "cores", "memory_mb")
    list_select_related = ("project",)


class SubnetInline(admin.TabularInline[Subnet, Network]):
    """The subnets of a network."""

    model = Subnet
    fields = ("name", "cidr", "gateway_ip", "enable_dhcp")
    readonly_fields = fields
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """No."""
        return False


@admin.register(Network)
class NetworkAdmin(LookOnly):
    """Networks. The API makes, changes and deletes them."""

    list_display = ("name", "project", "shared", "external", "admin_state_up", "mtu", "created_at", "id")
    list_filter = ("shared", "external")
    list_select_related = ("project",)
    search_fields = ("name", "id")
    inlines = (SubnetInline,)


@admin.register(NetworkRemoval)
class NetworkRemovalAdmin(LookOnly):
    """Deleted networks that are still on a host."""

    list_display = ("network_id", "host", "taken_until")
    list_select_related = ("host",)


@admin.register(Subnet)
class SubnetAdmin(LookOnly):
    """Subnets."""

    list_display = ("name", "network", "cidr", "gateway_ip", "enable_dhcp", "project", "id")
    list_select_related = ("network", "project")
    search_fields = ("name", "cidr", "id")


@admin.register(Port)
class PortAdmin(LookOnly):
    """Ports."""

    list_display = ("mac", "network", "instance", "status", "project", "preserve", "id")
    list_filter = ("status", "network")
    list_select_related = ("network", "instance", "project")
    search_fields = ("mac", "id", "instance__name")


@admin.register(PortAddress)
class PortAddressAdmin(LookOnly):
    """Addresses in use."""

    list_display = ("address", "subnet", "port")
    list_select_related = ("subnet", "port")
    search_fields = ("address",)


@admin.register(SecurityGroup)
class SecurityGroupAdmin(LookOnly):
    """Security groups."""

    list_display = ("name", "project", "description", "id")
    list_select_related = ("project",)
    search_fields = ("name", "project__name", "id")


@admin.register(SecurityGroupRule)
class SecurityGroupRuleAdmin(LookOnly):
    """Their rules."""

    list_display = (
        "group",
        "direction",
        "ethertype",
        "protocol",
        "port_range_min",
        "port_range_max",
        "remote_ip_prefix",
    )
    list_filter = ("direction", "ethertype")
    list_select_related = ("group",)


@admin.register(Change)
class ChangeAdmin(LookOnly):
    """The change feed of the last hour."""

    list_display = ("id", "kind", "object_id", "project_id", "at")
    list_filter = ("kind",)
