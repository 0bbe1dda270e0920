"""/os-hosts, up to 2.42: hosts with what each project has there. Later versions have hypervisors and services."""

from __future__ import annotations

from typing import Any

from django.db.models import Sum
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from compute.errors import NotFound
from compute.hosts.service import set_enabled
from compute.models import Host, Instance
from portal.api.compute.base import ComputeView, NotServed, call
from portal.api.compute.hosts import disk_used, memory_used

RULE = "os_compute_api:os-hosts"
SERVICE = "compute"
WORDS = ("enable", "disable")


class OsHosts(ComputeView):
    """/os-hosts"""

    @call(f"{RULE}:list", until="2.42")
    def get(self, request: Request) -> Response:
        """List the hosts with their zones (up to 2.42)."""
        query = request.query_params
        rows = Host.objects.order_by("id")
        if query.get("zone"):
            rows = rows.filter(zone=query["zone"])
        if query.get("service", SERVICE) not in ("", SERVICE):
            rows = rows.none()
        hosts = [{"host_name": row.name, "service": SERVICE, "zone": row.zone} for row in rows]
        return Response({"hosts": hosts})


class OsHost(ComputeView):
    """/os-hosts/{name}"""

    @call(f"{RULE}:show", until="2.42")
    def get(self, request: Request, host_name: str) -> Response:
        """Show what a host has, and what of it is used by whom (up to 2.42)."""
        row = host_named(host_name)
        sums = _by_project(row)
        most = {name: sum(one[name] for one in sums.values()) for name in ("cpu", "memory_mb", "disk_gb")}
        used = {"cpu": row.vcpus_used, "memory_mb": memory_used(row), "disk_gb": disk_used(row)}
        total = {"cpu": row.vcpus, "memory_mb": row.memory_mb, "disk_gb": row.disk_gb}
        named = {"(total)": total, "(used_now)": used, "(used_max)": most, **sums}
        resources = [{"resource": {"host": row.name, "project": name, **figures}} for name, figures in named.items()]
        return Response({"host": resources})

    @call(f"{RULE}:update", until="2.42")
    def put(self, request: Request, host_name: str) -> Response:
        """Let a host take new servers, or no more (up to 2.42)."""
        status, maintenance = _wanted(self.body)
        row = host_named(host_name)
        if maintenance:
            raise NotServed("Hosts are taken out of service by Nacelle's own API and in the portal.")
        set_enabled(self.actor, row, enabled=status == "enable")
        return Response({"host": row.name, "status": "enabled" if row.enabled else "disabled"})


class OsHostPower(ComputeView):
    """/os-hosts/{name}/startup, /shutdown and /reboot"""

    @call(f"{RULE}:power", until="2.42")
    def get(self, request: Request, host_name: str) -> Response:
        """Refuse to switch a host: libvirt cannot (up to 2.42)."""
        host_named(host_name)
        raise NotServed("A libvirt host cannot be started, shut down or rebooted from here.")


def host_named(name: str) -> Host:
    """A host by its name. Raises NotFound."""
    row = Host.objects.filter(name=name).first()
    if row is None:
        raise NotFound(f"Compute host {name[:60]} could not be found.")
    return row


def _by_project(row: Host) -> dict[str, dict[str, int]]:
    there = Instance.objects.alive().filter(host=row).order_by("project_id").values_list("project_id")
    sums = there.annotate(Sum("vcpus"), Sum("memory_mb"), Sum("disk_gb"))
    return {project: {"cpu": cpu, "memory_mb": memory, "disk_gb": disk} for project, cpu, memory, disk in sums}


def _wanted(body: dict[str, Any]) -> tuple[str | None, str | None]:
    """``status`` and ``maintenance_mode``, in whatever case. Raises ValidationError."""
    if not body or set(body) - {"status", "maintenance_mode"}:
        raise ValidationError("The body must hold 'status' or 'maintenance_mode' and nothing else.")
    found = []
    for name in ("status", "maintenance_mode"):
        value = str(body[name]).lower() if name in body else None
        if value not in (None, *WORDS):
            raise ValidationError(f"Invalid input for field/attribute {name}. It must be enable or disable.")
        found.append(value)
    return found[0], found[1]
