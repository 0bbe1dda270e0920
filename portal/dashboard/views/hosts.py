"""Hosts, for administrators: state, facts, what is used, and the load over time."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib import messages
from django.db.models import Avg, F, Func, IntegerField, Max
from django.http import HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils import timezone

from compute.hosts.service import REASON_CAP, set_enabled, set_forced_down
from compute.models import Host, HostSample, Instance
from portal.dashboard import answers, menus
from portal.dashboard.access import PortalRequest, admin_action, admin_page
from portal.dashboard.views.instances import Row, addresses_of, with_addresses
from portal.dashboard.views.one_host import about_fence, find_host
from scheduler.aggregates import ratios_of

# range → (how far back, seconds that one point of the chart stands for)
RANGES = {"1h": (timedelta(hours=1), 10), "24h": (timedelta(hours=24), 240), "7d": (timedelta(days=7), 1800)}
INSTANCES_SHOWN = 100


def state_of(host: Host) -> str:
    """One word for a host's state."""
    if host.is_up and host.silent_since:
        return "silent"
    return host.state_now if host.enabled or not host.is_up else "disabled"


def capacities(host: Host) -> list[dict[str, Any]]:
    """What is claimed of what may be claimed, by the overcommit of the host or its aggregates."""
    for field, ratio in ratios_of(host).items():
        setattr(host, field, ratio)  # for this page alone: the row is not saved
    return [
        {"name": "vCPUs", "used": host.vcpus_used, "total": host.vcpu_capacity, "unit": ""},
        {"name": "Memory", "used": host.memory_mb_used, "total": host.memory_capacity_mb, "unit": "mib"},
        {"name": "Disk", "used": host.disk_gb_used * 1024, "total": host.disk_capacity_gb * 1024, "unit": "mib"},
    ]


@admin_page
def hosts(request: PortalRequest) -> HttpResponse:
    """All hosts."""
    rows = [(host, state_of(host), capacities(host)) for host in Host.objects.prefetch_related("aggregates")]
    return render(request, "hosts/list.html", {"hosts": rows})


@admin_page
def host(request: PortalRequest, host_id: int) -> HttpResponse:
    """One host."""
    found = find_host(host_id)
    on_it = with_addresses(Instance.objects.alive().filter(host=found).select_related("host", "project"))
    context = {
        "host": found,
        "state": state_of(found),
        "capacities": capacities(found),
        "rows": [Row(one, addresses_of(one), menus.entries(one, request.actor)) for one in on_it[:INSTANCES_SHOWN]],
        "ranges": RANGES,
        **about_fence(found),
    }
    return render(request, "hosts/detail.html", context)


class Bucket(Func):
    """The number of the time slice that a moment lies in; ``seconds`` is the slice's length."""

    output_field = IntegerField()

    def __init__(self, moment: str, seconds: int) -> None:
        super().__init__(F(moment), seconds=int(seconds))

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """SQLite keeps times as text. The percent sign passes two formattings: the template's and the query's."""
        template = "CAST(strftime('%%%%s', %(expressions)s) AS INTEGER) / %(seconds)s"
        return self.as_sql(compiler, connection, template=template, **context)

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """PostgreSQL has the epoch as a number."""
        template = "(EXTRACT(EPOCH FROM %(expressions)s)::bigint / %(seconds)s)"
        return self.as_sql(compiler, connection, template=template, **context)


def load(host: Host, reach: timedelta, seconds: int) -> dict[str, list[float]]:
    """The load since ``reach`` ago as columns: time (seconds of the epoch), CPU %, memory MiB, disk GiB, guests."""
    rows = HostSample.objects.filter(host=host, at__gte=timezone.now() - reach).order_by()
    slices = (
        rows.annotate(slice=Bucket("at", seconds))
        .values("slice")
        .annotate(
            cpu=Avg("cpu_percent"), memory=Avg("memory_used_mb"), disk=Avg("disk_used_gb"), guests=Max("guests_running")
        )
    )
    points = slices.order_by("slice").values_list("slice", "cpu", "memory", "disk", "guests")
    names = ("at", "cpu", "memory", "disk", "guests")
    columns = {name: [round(float(point[index]), 2) for point in points] for index, name in enumerate(names)}
    columns["at"] = [number * seconds for number in columns["at"]]
    return columns


@admin_page
def samples(request: PortalRequest, host_id: int) -> HttpResponse:
    """The load as JSON, for the charts."""
    reach, seconds = RANGES.get(request.GET.get("range", ""), RANGES["1h"])
    found = find_host(host_id)
    now = timezone.now().timestamp()
    return JsonResponse(
        {
            "from": now - reach.total_seconds(),
            "to": now,
            "slice": seconds,
            "memory_mb": found.memory_mb,
            "disk_gb": found.disk_gb,
            **load(found, reach, seconds),
        }
    )


@admin_action
def enable(request: PortalRequest, host_id: int) -> HttpResponse:
    """Let the scheduler use a host, or not."""
    found = find_host(host_id)
    enabled = request.POST.get("enabled") == "yes"
    set_enabled(request.actor, found, enabled=enabled, reason=request.POST.get("reason", "").strip()[:REASON_CAP])
    messages.success(request, f"{found.name} {'takes' if enabled else 'takes no'} new instances")
    return answers.done(request, "hosts", stay=True)


@admin_action
def force_down(request: PortalRequest, host_id: int) -> HttpResponse:
    """Say that a host is down for sure, or believe the watcher again."""
    found = find_host(host_id)
    forced_down = request.POST.get("forced_down") == "yes"
    set_forced_down(request.actor, found, forced_down=forced_down)
    told = "counts as down until you say otherwise" if forced_down else "is as the watcher sees it"
    messages.success(request, f"{found.name} {told}")
    return answers.done(request, "hosts", stay=True)
