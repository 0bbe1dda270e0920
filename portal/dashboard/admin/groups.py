"""Groups of hosts and of instances. The portal's own pages change them; here they are looked at."""

from __future__ import annotations

from django.contrib import admin

from compute.models import Aggregate, ImageDelivery, ServerGroup
from portal.dashboard.admin.base import LookOnly


@admin.register(Aggregate)
class AggregateAdmin(LookOnly):
    """Groups of hosts, and the zones that they make."""

    list_display = ("name", "zone", "metadata", "created_at", "updated_at", "id", "uuid")
    search_fields = ("name", "uuid")
    fields = ("id", "uuid", "name", "metadata", "hosts", "created_at", "updated_at")


@admin.register(ImageDelivery)
class ImageDeliveryAdmin(LookOnly):
    """Images on their way to hosts, ahead of boots."""

    list_display = ("image", "host", "tries", "message", "created_at", "next_at")
    list_select_related = ("image", "host")
    list_filter = ("host",)


@admin.register(ServerGroup)
class ServerGroupAdmin(LookOnly):
    """Instances that belong together, or apart."""

    list_display = ("name", "project", "policy", "max_server_per_host", "created_at", "id")
    list_filter = ("policy",)
    list_select_related = ("project",)
    search_fields = ("name", "id", "project__name")
    fields = ("id", "name", "project", "user_id", "policy", "max_server_per_host", "created_at")
