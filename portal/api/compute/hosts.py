"""Hosts as Nova shows them: hypervisors, and the availability zones that they are in."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from django.db.models import QuerySet
from rest_framework.exceptions import ParseError
from rest_framework.request import Request
from rest_framework.response import Response

from compute.errors import NotFound
from compute.hosts.uptime import uptimes
from compute.models import Host, Instance
from portal.api.compute.base import ComputeView, as_uuid, call
from portal.api.compute.server_query import flag
from portal.api.paging import limit_of, next_link
from portal.api.shape import Shape, field
from portal.api.wire import microseconds

RULE = "os_compute_api:os-hypervisors"


def _state(row: Host, view: Any) -> str:
    return "up" if row.is_up else "down"


def _status(row: Host, view: Any) -> str:
    return "enabled" if row.enabled else "disabled"


def _cpu_info(row: Host, view: Any) -> dict[str, Any]:
    facts = row.facts
    topology = {
        "sockets": facts.get("cpu_sockets", 1),
        "cores": facts.get("cpu_cores", 1),
        "threads": facts.get("cpu_threads", 1),
    }
    return {
        "arch": facts.get("architecture", ""),
        "model": facts.get("cpu_model", ""),
        "vendor": facts.get("cpu_vendor", ""),
        "topology": topology,
        "features": list(facts.get("cpu_features", ())),
    }


def _service(row: Host, view: ComputeView) -> dict[str, Any]:
    key: Any = str(row.service_uuid) if view.at("2.53") else row.pk
    return {"host": row.name, "id": key, "disabled_reason": row.disabled_reason or None}


def memory_used(row: Host) -> int:
    """Claimed memory and what is kept back for the host itself, MiB, as Nova counts it."""
    return row.memory_mb_used + row.reserved_memory_mb


def disk_used(row: Host) -> int:
    """Claimed disk and what is kept back, GiB."""
    return row.disk_gb_used + row.reserved_disk_gb


BRIEF: Shape[Host] = Shape(
    field("id", lambda row, view: row.pk, until="2.52"),
    field("id", lambda row, view: str(row.uuid), since="2.53"),
    field("hypervisor_hostname", lambda row, view: row.name),
    field("state", _state),
    field("status", _status),
)
DETAIL: Shape[Host] = Shape(
    *BRIEF.fields,
    field("hypervisor_type", lambda row, view: row.facts.get("hypervisor_type", "QEMU")),
    field("hypervisor_version", lambda row, view: row.facts.get("hypervisor_version", 0)),
    field("host_ip", lambda row, view: row.console_address),
    field("service", _service),
    field("cpu_info", lambda row, view: json.dumps(_cpu_info(row, view)), until="2.27"),
    field("cpu_info", _cpu_info, since="2.28", until="2.87"),
    field("current_workload", lambda row, view: view.workloads[row.pk], until="2.87"),
    field("vcpus", lambda row, view: row.vcpus, until="2.87"),
    field("vcpus_used", lambda row, view: row.vcpus_used, until="2.87"),
    field("memory_mb", lambda row, view: row.memory_mb, until="2.87"),
    field("memory_mb_used", lambda row, view: memory_used(row), until="2.87"),
    field("free_ram_mb", lambda row, view: row.memory_mb - memory_used(row), until="2.87"),
    field("local_gb", lambda row, view: row.disk_gb, until="2.87"),
    field("local_gb_used", lambda row, view: disk_used(row), until="2.87"),
    field("free_disk_gb", lambda row, view: row.disk_gb - disk_used(row), until="2.87"),
    field("disk_available_least", lambda row, view: row.disk_gb - disk_used(row), until="2.87"),
    field("running_vms", lambda row, view: row.instances_used, until="2.87"),
    field("uptime", lambda row, view: view.uptimes.get(row.pk), since="2.88"),
)
SHAPES = (BRIEF, DETAIL)


class HostsView(ComputeView):
    """What is read beside the hosts' rows, for all that are shown at once."""

    shown: Sequence[Host] = ()

    @cached_property
    def workloads(self) -> Counter[int]:
        """On how many of each host's instances something is under way."""
        busy = Instance.objects.alive().filter(host__in=self.shown, task_state__isnull=False)
        return Counter(busy.order_by().values_list("host_id", flat=True))

    @cached_property
    def uptimes(self) -> dict[int, str]:
        """How long each host has been running, of those that are up."""
        return uptimes(self.shown)


class HypervisorList(HostsView):
    """What the lists share."""

    def answer(self, shape: Shape[Host]) -> Response:
        """The hosts asked for, a page of them from 2.33 on."""
        query = self.request.query_params
        rows = Host.objects.order_by("id")
        if self.at("2.53"):
            self.known_query("limit", "marker", "hypervisor_hostname_pattern", "with_servers", strict_since="2.53")
            if pattern := query.get("hypervisor_hostname_pattern"):
                rows = rows.filter(name__icontains=pattern)
                if not rows.exists():
                    raise NotFound(f"No hypervisor matching '{pattern[:60]}' could be found.")
        limit = limit_of(query) if self.at("2.33") else 1_000_000
        found = self.shown = list(self._after_marker(rows)[:limit])
        body: dict[str, Any] = {"hypervisors": [shape.render(row, self.version, self) for row in found]}
        add_servers(self, found, body["hypervisors"])
        if found and len(found) == limit:
            body["hypervisors_links"] = [next_link(self.request.path, query, str(body["hypervisors"][-1]["id"]))]
        return Response(body)

    def _after_marker(self, rows: QuerySet[Host]) -> QuerySet[Host]:
        marker = self.request.query_params.get("marker") if self.at("2.33") else None
        if marker is None:
            return rows
        try:
            return rows.filter(pk__gt=find_host(self, marker).pk)
        except NotFound as error:
            raise ParseError(f"marker [{marker[:60]}] not found") from error


class Hypervisors(HypervisorList):
    """/os-hypervisors"""

    @call("os_compute_api:os-hypervisors")
    def get(self, request: Request) -> Response:
        """List the hosts."""
        return self.answer(BRIEF)


class HypervisorsDetail(HypervisorList):
    """/os-hypervisors/detail"""

    @call("os_compute_api:os-hypervisors")
    def get(self, request: Request) -> Response:
        """List the hosts with what they have."""
        return self.answer(DETAIL)


class HypervisorView(HostsView):
    """/os-hypervisors/{id}"""

    @call("os_compute_api:os-hypervisors")
    def get(self, request: Request, hypervisor_id: str) -> Response:
        """Show a host."""
        self.known_query("with_servers", strict_since="2.53")
        row = find_host(self, hypervisor_id)
        self.shown = [row]
        body = DETAIL.render(row, self.version, self)
        add_servers(self, [row], [body])
        return Response({"hypervisor": body})


class HypervisorStatistics(ComputeView):
    """/os-hypervisors/statistics"""

    @call("os_compute_api:os-hypervisors", until="2.87")
    def get(self, request: Request) -> Response:
        """Show the sums over all enabled hosts (up to 2.87)."""
        rows = list(Host.objects.filter(enabled=True))
        sums = {
            "count": len(rows),
            "vcpus": sum(row.vcpus for row in rows),
            "vcpus_used": sum(row.vcpus_used for row in rows),
            "memory_mb": sum(row.memory_mb for row in rows),
            "memory_mb_used": sum(memory_used(row) for row in rows),
            "local_gb": sum(row.disk_gb for row in rows),
            "local_gb_used": sum(disk_used(row) for row in rows),
            "running_vms": sum(row.instances_used for row in rows),
            "current_workload": Instance.objects.alive().filter(host__in=rows, task_state__isnull=False).count(),
        }
        sums["free_ram_mb"] = sums["memory_mb"] - sums["memory_mb_used"]
        sums["free_disk_gb"] = sums["disk_available_least"] = sums["local_gb"] - sums["local_gb_used"]
        return Response({"hypervisor_statistics": sums})


class HypervisorSearch(ComputeView):
    """/os-hypervisors/{pattern}/search"""

    @call("os_compute_api:os-hypervisors", until="2.52")
    def get(self, request: Request, hypervisor_id: str) -> Response:
        """Find hosts by a part of their name (up to 2.52)."""
        rows = matching(hypervisor_id)
        return Response({"hypervisors": [BRIEF.render(row, self.version, self) for row in rows]})


class HypervisorServers(ComputeView):
    """/os-hypervisors/{pattern}/servers"""

    @call("os_compute_api:os-hypervisors", until="2.52")
    def get(self, request: Request, hypervisor_id: str) -> Response:
        """List the servers on hosts by a part of the host's name (up to 2.52)."""
        rows = matching(hypervisor_id)
        servers = servers_on(rows)
        bodies = [BRIEF.render(row, self.version, self) for row in rows]
        for row, body in zip(rows, bodies, strict=True):
            if row.pk in servers:
                body["servers"] = servers[row.pk]
        return Response({"hypervisors": bodies})


class HypervisorUptime(HostsView):
    """/os-hypervisors/{id}/uptime"""

    @call("os_compute_api:os-hypervisors", until="2.87")
    def get(self, request: Request, hypervisor_id: str) -> Response:
        """Show how long a host has been running (up to 2.87)."""
        row = find_host(self, hypervisor_id)
        self.shown = [row]
        if row.pk not in self.uptimes:
            raise ParseError(f"Compute service of {row.name} is unavailable at this time.")
        return Response({"hypervisor": {**BRIEF.render(row, self.version, self), "uptime": self.uptimes[row.pk]}})


def matching(pattern: str) -> list[Host]:
    """Hosts whose name holds a text. Raises NotFound."""
    found = list(Host.objects.filter(name__icontains=pattern).order_by("id"))
    if not found:
        raise NotFound(f"No hypervisor matching '{pattern[:60]}' could be found.")
    return found


def find_host(view: ComputeView, key: str) -> Host:
    """A host by its integer id, or by its UUID from 2.53 on. Raises NotFound, and ParseError for no UUID."""
    rows = Host.objects.all()
    if view.at("2.53"):
        uuid = as_uuid(key)
        if uuid is None:
            raise ParseError(f"Invalid uuid {key[:60]}")
        found = rows.filter(uuid=uuid).first()
    else:
        found = rows.filter(pk=int(key)).first() if key.isascii() and key.isdigit() and len(key) < 19 else None
    if found is None:
        raise NotFound(f"Compute host {key} could not be found.")
    return found


def servers_on(rows: list[Host]) -> dict[int, list[dict[str, str]]]:
    """The servers on each host."""
    found: dict[int, list[dict[str, str]]] = {}
    alive = Instance.objects.alive().filter(host__in=[row.pk for row in rows]).order_by("created_at", "id")
    for host_id, key, name in alive.values_list("host_id", "id", "name"):
        found.setdefault(host_id or 0, []).append({"uuid": str(key), "name": name})
    return found


def add_servers(view: ComputeView, rows: list[Host], bodies: list[dict[str, Any]]) -> None:
    """Add the servers of each host where the request asks for them (2.53); always a list from 2.75 on."""
    if not view.at("2.53") or not flag(view.request.query_params.get("with_servers", "false"), "with_servers"):
        return
    servers = servers_on(rows)
    for row, body in zip(rows, bodies, strict=True):
        if row.pk in servers or view.at("2.75"):
            body["servers"] = servers.get(row.pk, [])


class Zones(ComputeView):
    """/os-availability-zone"""

    @call("os_compute_api:os-availability-zone:list")
    def get(self, request: Request) -> Response:
        """List the availability zones."""
        return Response({"availabilityZoneInfo": [{**zone, "hosts": None} for zone, _ in zones()]})


class ZonesDetail(ComputeView):
    """/os-availability-zone/detail"""

    @call("os_compute_api:os-availability-zone:detail")
    def get(self, request: Request) -> Response:
        """List the availability zones with their hosts."""
        return Response({"availabilityZoneInfo": [{**zone, "hosts": hosts} for zone, hosts in zones()]})


def zones() -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Every zone, available while one of its hosts is enabled, with its hosts."""
    by_zone: dict[str, list[Host]] = {}
    for row in Host.objects.order_by("zone", "name"):
        by_zone.setdefault(row.zone, []).append(row)
    found = []
    for name, rows in by_zone.items():
        hosts = {
            row.name: {
                "nova-compute": {
                    "available": row.is_up,
                    "active": row.enabled,
                    "updated_at": microseconds(row.last_seen_at),
                }
            }
            for row in rows
        }
        available = any(row.enabled for row in rows)
        found.append(({"zoneName": name, "zoneState": {"available": available}}, hosts))
    return found
