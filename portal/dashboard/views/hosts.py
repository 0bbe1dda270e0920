"""Hosts, for administrators: state, facts, what is used, and the load over time."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import render

from compute.hosts.checks import last_check, strangers
from compute.hosts.service import REASON_CAP, set_enabled, set_forced_down
from compute.models import Host, Instance
from compute.statistics.reading import RANGES
from portal.dashboard import answers
from portal.dashboard.access import PortalRequest, admin_action, admin_page
from portal.dashboard.views.instances import rows_of, with_addresses
from portal.dashboard.views.load import OF_HOST
from portal.dashboard.views.migrations import under_way_at
from portal.dashboard.views.one_host import about_fence, about_relocation, find_host
from scheduler.aggregates import show_overcommit

INSTANCES_SHOWN = 100


def state_of(host: Host) -> str:
    """One word for a host's state."""
    if host.is_up and host.silent_since:
        return "silent"
    if host.enabled or not host.is_up:
        return host.state_now
    return "maintenance" if host.maintenance else "disabled"


def capacities(host: Host) -> list[dict[str, Any]]:
    """What is claimed of what may be claimed, by the overcommit of the host or its aggregates."""
    show_overcommit(host)
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
        "rows": rows_of(on_it[:INSTANCES_SHOWN], request.actor),
        "charts": OF_HOST,
        "ranges": RANGES,
        "check": last_check(found),
        "strangers": strangers(found),
        "moving": under_way_at(found),
        **about_fence(found),
        **about_relocation(found),
    }
    return render(request, "hosts/detail.html", context)


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
