"""Networks: the list, and one with its subnets and the addresses in use."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.core.paginator import Paginator
from django.db.models import Count
from django.http import HttpResponse
from django.shortcuts import render

from compute.errors import NotFound
from compute.models import Network, Port, SecurityGroup, Subnet
from portal.dashboard.access import PortalRequest, page
from portal.dashboard.views.network_forms import MODIFY
from portal.identity.policy import allows

PAGE_SIZE = 100


def capacity(subnet: Subnet) -> int:
    """How many addresses the subnet's pools hold."""
    return sum(
        int(ipaddress.ip_address(pool["end"])) - int(ipaddress.ip_address(pool["start"])) + 1
        for pool in subnet.allocation_pools or []
    )


def _used(subnets: Iterable[Subnet]) -> list[dict[str, Any]]:
    """Each subnet with its addresses in use (annotated as ``taken``) and its capacity."""
    return [{"subnet": one, "used": one.taken, "total": capacity(one)} for one in subnets]  # type: ignore[attr-defined]  # annotated


@page
def networks(request: PortalRequest) -> HttpResponse:
    """The networks that the project may use, and its security groups."""
    rows = list(Network.objects.visible_to(request.actor).select_related("project"))
    subnets = Subnet.objects.filter(network__in=rows).annotate(taken=Count("addresses"))
    by_network: dict[UUID, list[Subnet]] = {}
    for subnet in subnets:
        by_network.setdefault(subnet.network_id, []).append(subnet)
    groups = SecurityGroup.objects.filter(project_id=request.actor.project_id).prefetch_related("rules__remote_group")
    context = {
        "networks": [(one, _used(by_network.get(one.id, []))) for one in rows],
        "groups": groups,
        "may_create": allows(request.actor, MODIFY, request.actor.project_id),
    }
    return render(request, "networks/list.html", context)


@page
def network(request: PortalRequest, network_id: UUID) -> HttpResponse:
    """One network. A project sees its own ports on a shared network; an administrator sees all."""
    found = Network.objects.visible_to(request.actor).select_related("project").filter(pk=network_id).first()
    if found is None:
        raise NotFound(f"Network {network_id} could not be found.")
    ports = Port.objects.filter(network=found).select_related("instance", "project").prefetch_related("addresses")
    if not request.actor.is_admin:
        ports = ports.filter(project_id=request.actor.project_id)
    context = {
        "network": found,
        "may_delete": allows(request.actor, MODIFY, found.project_id),
        "subnets": _used(found.subnets.annotate(taken=Count("addresses"))),
        "page_of": Paginator(ports.order_by("created_at", "id"), PAGE_SIZE).get_page(request.GET.get("page")),
    }
    return render(request, "networks/detail.html", context)
