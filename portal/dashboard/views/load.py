"""The load of hosts and instances over time: what the charts draw, and the instance's tab with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.http import HttpResponse, JsonResponse
from django.shortcuts import render

from compute.models import Host
from compute.statistics import reading
from compute.statistics.reading import RANGES, Load
from portal.dashboard.access import PortalRequest, admin_page, page
from portal.dashboard.views.instance import tab_context
from portal.dashboard.views.instances import instance_of
from portal.dashboard.views.one_host import find_host
from portal.identity.policy import enforce

RULE = "nacelle:server-stats"


@dataclass(frozen=True)
class Line:
    """One line of a chart: a column of the load, and its name where there are two."""

    column: str
    name: str = ""


@dataclass(frozen=True)
class Chart:
    """One chart. ``note`` says what is not plain from the title."""

    title: str
    unit: str
    lines: tuple[Line, ...]
    note: str = ""


NETWORK = (Line("receive", "in"), Line("transmit", "out"))
TRAFFIC = (Line("read", "read"), Line("write", "written"))
OF_HOST = (
    Chart("CPU", "%", (Line("cpu"),)),
    Chart("Memory", "MiB", (Line("memory"),)),
    Chart("Disk", "GiB", (Line("disk"),)),
    Chart("Instances running", "", (Line("guests"),)),
    Chart("Network", "B/s", NETWORK, "of its instances"),
    Chart("Disk traffic", "B/s", TRAFFIC, "of its instances"),
)
OF_INSTANCE = (
    Chart("CPU", "%", (Line("cpu"),), "of its vCPUs"),
    Chart("Memory", "MiB", (Line("memory"),)),
    Chart("Network", "B/s", NETWORK),
    Chart("Disk traffic", "B/s", TRAFFIC),
    Chart("Disk requests", "/s", (Line("read_requests", "reads"), Line("write_requests", "writes"))),
)


def _answer(load: Load, tops: Mapping[str, float]) -> JsonResponse:
    """``tops``: the whole of what there is of a column."""
    body = {"from": load.since, "to": load.until, "slice": load.step, "tops": tops, "at": load.at, **load.columns}
    return JsonResponse(body)


def _range(request: PortalRequest) -> str:
    asked = request.GET.get("range", "")
    return asked if asked in RANGES else next(iter(RANGES))


@admin_page
def host_samples(request: PortalRequest, host_id: int) -> HttpResponse:
    """The load of a host as JSON."""
    host = find_host(host_id)
    tops = {"cpu": 100, "memory": host.memory_mb, "disk": host.disk_gb}
    return _answer(reading.load_of_host(host, _range(request)), tops)


@admin_page
def hosts_samples(request: PortalRequest) -> HttpResponse:
    """How busy the processors of every host were in the last hour, by the minute, for the list."""
    return JsonResponse({"hosts": reading.busy_lately(Host.objects.values_list("pk", flat=True))})


@page
def tab(request: PortalRequest, instance_id: UUID) -> HttpResponse:
    """The instance's tab with its charts."""
    instance = instance_of(request.actor, instance_id)
    enforce(request.actor, RULE, instance.project_id)
    context: dict[str, Any] = {
        **tab_context(request, instance, "instance_load"),
        "charts": OF_INSTANCE,
        "ranges": RANGES,
    }
    return render(request, "instances/load.html", context)


@page
def instance_samples(request: PortalRequest, instance_id: UUID) -> HttpResponse:
    """The load of an instance as JSON."""
    instance = instance_of(request.actor, instance_id)
    enforce(request.actor, RULE, instance.project_id)
    return _answer(reading.load_of_instance(instance, _range(request)), {"cpu": 100, "memory": instance.memory_mb})
