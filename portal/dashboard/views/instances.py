"""The instances table, and what is done from it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Exists, OuterRef, Q
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from compute.errors import ComputeError, NotFound
from compute.models import Instance, PortAddress
from compute.models.instance import InstanceQuerySet
from compute.models.states import other_tasks, states_of_status
from compute.operations import OPERATIONS
from compute.operations.engine import Operation
from compute.operations.engine import request as request_operation
from portal.dashboard import answers, menus
from portal.dashboard.access import PortalRequest, action, admin_page, page
from portal.identity.actor import Actor

PAGE_SIZE = 50
BULK_AT_MOST = 200
# The column's name in the address → the fields that it sorts by.
SORTS = {
    "name": ("name", "id"),
    "image": ("image_name", "id"),
    "status": ("vm_state", "task_state", "id"),
    "power": ("power_state", "id"),
    "age": ("created_at", "id"),
    "host": ("host__name", "id"),
    "project": ("project__name", "id"),
}
STATUSES = (
    "ACTIVE",
    "BUILD",
    "SHUTOFF",
    "REBOOT",
    "HARD_REBOOT",
    "PAUSED",
    "SUSPENDED",
    "RESIZE",
    "VERIFY_RESIZE",
    "RESCUE",
    "SHELVED",
    "SHELVED_OFFLOADED",
    "SOFT_DELETED",
    "ERROR",
)


@dataclass(frozen=True)
class Row:
    """An instance and its menu."""

    instance: Instance
    addresses: list[str]
    menu: list[menus.Entry]


def rows_of(instances: Iterable[Instance], actor: Actor) -> list[Row]:
    """Instances whose addresses are loaded, each with its menu."""
    shown = list(instances)
    menus_of_each = menus.entries_of_each(shown, actor)
    return [Row(one, addresses_of(one), menu) for one, menu in zip(shown, menus_of_each, strict=True)]


def addresses_of(instance: Instance) -> list[str]:
    """Its addresses, from rows that are already loaded."""
    return [one.address for port in instance.ports.all() for one in port.addresses.all()]


def with_addresses(rows: InstanceQuerySet) -> InstanceQuerySet:
    """Load ports and addresses with the rows."""
    return rows.prefetch_related("ports__addresses")


def with_status(rows: InstanceQuerySet, status: str) -> InstanceQuerySet:
    """Those that show as this status."""
    wanted = Q(pk__in=[])
    for vm_state, tasks in states_of_status(status):
        if tasks:
            wanted |= Q(vm_state=vm_state, task_state__in=tasks)
        else:
            plain = Q(task_state=None) | ~Q(task_state__in=other_tasks(vm_state))
            wanted |= Q(vm_state=vm_state) & plain
    return rows.filter(wanted)


def matching(rows: InstanceQuerySet, text: str) -> InstanceQuerySet:
    """Those whose name, id, address, image or key pair holds the text."""
    held = PortAddress.objects.filter(port__instance=OuterRef("pk"), address__icontains=text)
    return rows.filter(
        Q(name__icontains=text)
        | Q(id__icontains=text)
        | Q(image_name__icontains=text)
        | Q(key_name__icontains=text)
        | Exists(held)
    )


def _table(request: PortalRequest, rows: InstanceQuerySet) -> dict[str, Any]:
    """The table's page with its filters and its order applied."""
    text, status = request.GET.get("q", "").strip()[:255], request.GET.get("status", "")
    if text:
        rows = matching(rows, text)
    if status in STATUSES:
        rows = with_status(rows, status)
    sort = request.GET.get("sort", "")
    if sort.removeprefix("-") not in SORTS:
        sort = "-age"
    fields = SORTS[sort.removeprefix("-")]
    rows = rows.order_by(*(f"-{name}" if sort.startswith("-") else name for name in fields))
    found = Paginator(with_addresses(rows.select_related("host", "project")), PAGE_SIZE)
    shown = found.get_page(request.GET.get("page"))
    return {
        "rows": rows_of(shown, request.actor),
        "page_of": shown,
        "sort": sort,
        "q": text,
        "status": status,
        "statuses": STATUSES,
        "filtered": bool(text or status),
        "bulk": menus.bulk_entries(request.actor),
    }


@page
def instances(request: PortalRequest) -> HttpResponse:
    """The project's instances."""
    rows = Instance.objects.alive().visible_to(request.actor)
    return render(request, "instances/list.html", _table(request, rows))


@admin_page
def all_instances(request: PortalRequest) -> HttpResponse:
    """The instances of all projects."""
    rows = Instance.objects.alive().visible_to(request.actor, all_projects=True)
    return render(request, "instances/list.html", {**_table(request, rows), "all_projects": True})


def instance_of(actor: Actor, instance_id: UUID | str) -> Instance:
    """The instance, if it is there and the actor may see it. Raises NotFound."""
    rows = with_addresses(Instance.objects.alive().visible_to(actor, all_projects=True))
    try:
        found = rows.select_related("host", "project", "image", "user").filter(pk=UUID(str(instance_id))).first()
    except ValueError:
        found = None
    if found is None:
        raise NotFound(f"Instance {instance_id} could not be found.")
    return found


def _operation(name: str) -> type[Operation]:
    operation = OPERATIONS.get(name)
    if operation is None or not operation.in_menu:
        raise Http404(name)
    return operation


@action
def act(request: PortalRequest, instance_id: UUID, operation: str) -> HttpResponse:
    """Start an operation on one instance, or do what is done at once: lock it, say."""
    wanted = menus.DOINGS.get(operation) or _operation(operation)
    instance = instance_of(request.actor, instance_id)
    try:
        if isinstance(wanted, menus.Doing):
            wanted.do(request.actor, instance, request.POST.get("reason", ""))
            label = wanted.entry.label
        else:
            label = wanted.label_for(request_operation(wanted, instance, request.actor).params)
        messages.success(request, f"{label}: {instance.name}")
    except ComputeError as error:
        answers.refused(request, error)
    return answers.done(request, _back(request, instance), stay=True)


def _back(request: PortalRequest, instance: Instance) -> str:
    """The page that the button was on."""
    if request.POST.get("from") == "instance":
        return reverse("instance", args=[instance.pk])
    return reverse("all_instances" if request.POST.get("from") == "all" else "instances")


@action
def bulk(request: PortalRequest) -> HttpResponse:
    """Start an operation on each of the instances that were ticked."""
    wanted = _operation(request.POST.get("operation", ""))
    ids = request.POST.getlist("instance")[:BULK_AT_MOST]
    asked, refusals = 0, []
    for instance_id in ids:
        try:
            request_operation(wanted, instance_of(request.actor, instance_id), request.actor)
            asked += 1
        except ComputeError as error:
            refusals.append(str(error))
    if asked:
        messages.success(request, f"{wanted.label}: {asked} instance{'' if asked == 1 else 's'}")
    for sentence in refusals[:5]:
        messages.error(request, sentence)
    if not ids:
        messages.info(request, "No instance was ticked.")
    back = "all_instances" if request.POST.get("from") == "all" else "instances"
    return answers.done(request, back, stay=True)
