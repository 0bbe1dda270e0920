"""What administrators change here: flavors, hosts' settings, quotas, key pairs."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db import transaction
from django.http import HttpRequest

from compute import flavors, keypairs
from compute.hosts import editing
from compute.models import Flavor, FlavorAccess, Host, KeyPair, QuotaLimit, announce
from portal.dashboard.admin.base import ByVerbs, actor_of


@admin.register(Flavor)
class FlavorAdmin(ByVerbs):
    """Sizes. Instances keep a copy, so a size that is there does not change; only what is said of it."""

    list_display = ("name", "vcpus", "memory_mb", "disk_gb", "ephemeral_gb", "swap_mb", "is_public", "disabled", "id")
    list_filter = ("is_public", "disabled")
    search_fields = ("name", "id")
    fields = ("name", "vcpus", "memory_mb", "disk_gb", "ephemeral_gb", "swap_mb", "is_public", "description")
    fixed = ("name", "vcpus", "memory_mb", "disk_gb", "ephemeral_gb", "swap_mb", "is_public")

    def make(self, request: HttpRequest, obj: Flavor) -> Flavor:
        """A new size."""
        given = {name: getattr(obj, name) for name in self.fields if name != "name"}
        return flavors.create_flavor(actor_of(request), flavor_id=None, name=obj.name, **given)

    def change(self, request: HttpRequest, obj: Flavor, changes: dict[str, Any]) -> None:
        """Describe it."""
        if "description" in changes:
            flavors.set_description(actor_of(request), obj, description=changes["description"])

    def drop(self, request: HttpRequest, obj: Flavor) -> None:
        """Instances keep their copy."""
        flavors.delete_flavor(actor_of(request), obj)


@admin.register(FlavorAccess)
class FlavorAccessAdmin(ByVerbs):
    """Which projects may use a private flavor."""

    list_display = ("flavor", "project")
    list_select_related = ("flavor", "project")
    autocomplete_fields = ("flavor", "project")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Given and taken away, never changed."""
        return False

    def make(self, request: HttpRequest, obj: FlavorAccess) -> FlavorAccess:
        """Let the project use it."""
        flavors.add_access(actor_of(request), obj.flavor, project_id=obj.project_id)
        return FlavorAccess.objects.get(flavor=obj.flavor, project_id=obj.project_id)

    def drop(self, request: HttpRequest, obj: FlavorAccess) -> None:
        """Take it away."""
        flavors.remove_access(actor_of(request), obj.flavor, project_id=obj.project_id)


@admin.register(Host)
class HostAdmin(ByVerbs):
    """Hosts. They are added, enabled and disabled on the portal's own pages; here their settings change."""

    list_display = (
        "name",
        "uri",
        "zone",
        "state",
        "enabled",
        "forced_down",
        "vcpus_used",
        "memory_mb_used",
        "disk_gb_used",
        "instances_used",
        "last_seen_at",
    )
    list_filter = ("state", "enabled", "zone")
    search_fields = ("name", "uri")
    settings = (
        "console_address",
        "migration_address",
        "domain_type",
        "cpu_ratio",
        "memory_ratio",
        "disk_ratio",
        "reserved_memory_mb",
        "reserved_disk_gb",
    )
    readonly_fields = (
        "name",
        "uri",
        "zone",
        "state",
        "state_reason",
        "enabled",
        "disabled_reason",
        "forced_down",
        "last_seen_at",
        "vcpus",
        "vcpus_used",
        "memory_mb",
        "memory_mb_used",
        "disk_gb",
        "disk_gb_used",
        "instances_used",
        "facts",
        "uuid",
        "service_uuid",
        "created_at",
    )
    fieldsets = (
        (None, {"fields": ("name", "uri", "zone", "console_address", "migration_address", "domain_type")}),
        (
            "Overcommit",
            {"fields": ("cpu_ratio", "memory_ratio", "disk_ratio", "reserved_memory_mb", "reserved_disk_gb")},
        ),
        ("State", {"fields": ("state", "state_reason", "enabled", "disabled_reason", "forced_down", "last_seen_at")}),
        (
            "Claims",
            {
                "fields": (
                    "vcpus",
                    "vcpus_used",
                    "memory_mb",
                    "memory_mb_used",
                    "disk_gb",
                    "disk_gb_used",
                    "instances_used",
                )
            },
        ),
        ("Facts", {"fields": ("facts", "uuid", "service_uuid", "created_at")}),
    )

    def has_add_permission(self, request: HttpRequest) -> bool:
        """A host is asked for its facts when it is added; the portal's page does that."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """The portal's page removes hosts, and says what is in the way."""
        return False

    def change(self, request: HttpRequest, obj: Host, changes: dict[str, Any]) -> None:
        """Write the settings, and nothing that the watcher or a claim may write at the same moment."""
        editing.edit_host(actor_of(request), obj, {name: changes[name] for name in changes if name in self.settings})


@admin.register(QuotaLimit)
class QuotaLimitAdmin(ByVerbs):
    """Limits that differ from the default."""

    list_display = ("project", "resource", "limit")
    list_filter = ("resource",)
    list_select_related = ("project",)
    search_fields = ("project__name",)
    autocomplete_fields = ("project",)
    fixed = ("project", "resource")

    def make(self, request: HttpRequest, obj: QuotaLimit) -> QuotaLimit:
        """A limit of its own."""
        with transaction.atomic():
            made = QuotaLimit.objects.create(project_id=obj.project_id, resource=obj.resource, limit=obj.limit)
            announce("project", obj.project_id, obj.project_id)
        return made

    def change(self, request: HttpRequest, obj: QuotaLimit, changes: dict[str, Any]) -> None:
        """Another limit."""
        with transaction.atomic():
            QuotaLimit.objects.filter(pk=obj.pk).update(limit=changes.get("limit", obj.limit))
            announce("project", obj.project_id, obj.project_id)

    def drop(self, request: HttpRequest, obj: QuotaLimit) -> None:
        """Back to the default."""
        with transaction.atomic():
            obj.delete()
            announce("project", obj.project_id, obj.project_id)


@admin.register(KeyPair)
class KeyPairAdmin(ByVerbs):
    """Users' public keys; they may be deleted here."""

    list_display = ("name", "user", "type", "fingerprint", "created_at")
    list_select_related = ("user",)
    search_fields = ("name", "user__name", "fingerprint")

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Users add their own."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A key does not change."""
        return False

    def drop(self, request: HttpRequest, obj: KeyPair) -> None:
        """Instances keep the copy that they were made with."""
        keypairs.delete_key(actor_of(request), obj)
