"""The page of one instance: overview, log, consoles, action log, edit."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

from django import forms
from django.conf import settings
from django.contrib import messages
from django.db.models import Case, Prefetch, When
from django.http import HttpResponse, JsonResponse
from django.shortcuts import redirect, render

from compute.consoles import console_log
from compute.errors import ComputeError
from compute.instances import update_instance
from compute.models import OPEN_STATES, Action, ActionState, Event, Fault, Instance, MigrationType, VmState
from compute.operations import OPERATIONS
from compute.operations.cancellation import may_cancel
from compute.operations.held import open_migration
from compute.operations.migration_control import forcible
from compute.placements import explained
from consoleproxy import tokens
from portal.dashboard import menus
from portal.dashboard.access import PageView, PortalRequest, action, page
from portal.dashboard.middleware import nonce_for_styles
from portal.dashboard.views import interfaces
from portal.dashboard.views.instances import addresses_of, instance_of
from portal.identity.actor import Actor
from portal.identity.policy import allows, enforce

ACTIONS_SHOWN = 50
LOG_LINES = 2000
# Escape sequences of terminals (ECMA-48), and every other control character but tab and newline.
_ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[PX^_][^\x1b]*(?:\x1b\\)?|[ -/]*[0-~])"
)
# A guest's terminal may add its own carriage return to the line's.
_LINE_ENDS = re.compile(r"\r+\n|\r")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

# What is in the action log and is no operation, by Nova's name.
DONE_AT_ONCE = {
    "lock": "Lock",
    "unlock": "Unlock",
    "resetState": "Reset state",
    "live_migration_cancel": "Abort live migration",
    "live_migration_force_complete": "Force live migration to complete",
}
TABS = (
    ("instance", "Overview", "os_compute_api:servers:show"),
    ("instance_load", "Load", "nacelle:server-stats"),
    ("instance_log", "Log", "os_compute_api:os-console-output"),
    ("instance_console", "Console", tokens.RULE),
    ("instance_serial", "Serial console", tokens.RULE),
    ("instance_snapshots", "Snapshots", "nacelle:snapshots:get"),
    ("instance_actions", "Action log", "os_compute_api:os-instance-actions:list"),
)


def plain(text: str) -> str:
    """A console log without what a terminal would act on: what remains is text and nothing else."""
    lines = _LINE_ENDS.sub("\n", text)
    return _CONTROLS.sub("", _ESCAPES.sub("", lines))


def tab_context(request: PortalRequest, instance: Instance, here: str) -> dict[str, Any]:
    """What every tab shows."""
    actor = request.actor
    return {
        "instance": instance,
        "addresses": addresses_of(instance),
        "menu": menus.entries(instance, actor),
        "tabs": [(name, label) for name, label, rule in TABS if allows(actor, rule, instance.project_id)],
        "here": here,
        "may_edit": allows(actor, "os_compute_api:servers:update", instance.project_id),
        "sees_host": allows(actor, "os_compute_api:os-extended-server-attributes", instance.project_id),
    }


def _tab(name: str, template: str) -> PageView[[UUID]]:
    """The view of a tab whose content a script fills in."""
    rule = next(rule for tab, _, rule in TABS if tab == name)

    def view(request: PortalRequest, instance_id: UUID) -> HttpResponse:
        instance = instance_of(request.actor, instance_id)
        enforce(request.actor, rule, instance.project_id)
        context = tab_context(request, instance, name)
        if name == "instance_serial":
            context["style_nonce"] = nonce_for_styles(request)
        return render(request, template, context)

    return view


log_tab = page(_tab("instance_log", "instances/log.html"))
console_tab = page(_tab("instance_console", "instances/console.html"))
serial_tab = page(_tab("instance_serial", "instances/serial.html"))


@page
def overview(request: PortalRequest, instance_id: UUID) -> HttpResponse:
    """Everything about it."""
    instance = instance_of(request.actor, instance_id)
    ports = list(instance.ports.select_related("network").prefetch_related("addresses", "security_groups"))
    boot = Action.objects.filter(instance=instance, progress__has_key="placement").first()
    context = {
        **tab_context(request, instance, "instance"),
        "ports": ports,
        "groups": sorted({group.name for port in ports for group in port.security_groups.all()}),
        **interfaces.offers(request.actor, instance),
        "fault": _fault(instance),
        "may_label": allows(request.actor, "os_compute_api:server-metadata:update_all", instance.project_id),
        **under_way(instance, request.actor),
        "placement": explained(request.actor, boot) if boot else None,
    }
    return render(request, "instances/overview.html", context)


def _newest(instance: Instance) -> dict[str, Any]:
    """What was asked for last: under way, or failed (the fault of an instance in error is shown by itself)."""
    done = Case(When(state__in=OPEN_STATES, then=0), default=1)  # what is said to one under way is newer than it
    row = Action.objects.filter(instance=instance).order_by(done, "-created_at", "-id").first()
    failed = row is not None and row.state == ActionState.ERROR and instance.vm_state != VmState.ERROR
    return {
        "open_action": row if row is not None and row.state in OPEN_STATES else None,
        "failed_action": row if failed else None,
        "newest_label": label_of(row) if row else "",
    }


def under_way(instance: Instance, actor: Actor) -> dict[str, Any]:
    """The same, with whether this actor may cancel it."""
    found = _newest(instance)
    row = found["open_action"]
    return {
        **found,
        "may_cancel": row is not None and may_cancel(row, instance, actor),
        "forcible": forcible(row, instance, actor) if row is not None else None,
        "to_confirm": _to_confirm(instance) if row is None else "",
    }


def _to_confirm(instance: Instance) -> str:
    """What was done to it, where that waits for somebody's word; else empty."""
    found = open_migration(instance) if instance.vm_state == VmState.RESIZED else None
    if found is None:
        return ""
    done = "was brought to another host" if found.migration_type == MigrationType.MIGRATION else "has its new flavor"
    seconds = settings.RESIZE_CONFIRM_SECONDS
    return f"It {done}. Confirm it if all is well; until then it can be taken back." + (
        f" After {seconds} s it is confirmed by itself." if seconds else ""
    )


def _fault(instance: Instance) -> Fault | None:
    """The last fault, while the instance is in error (as the API shows it)."""
    if instance.vm_state != VmState.ERROR:
        return None
    return Fault.objects.filter(instance=instance).last()


@page
def log_text(request: PortalRequest, instance_id: UUID) -> HttpResponse:
    """The console log as plain text; the one answer that asks a host."""
    instance = instance_of(request.actor, instance_id)
    enforce(request.actor, "os_compute_api:os-console-output", instance.project_id)
    try:
        text = plain(console_log(instance, LOG_LINES))
    except ComputeError as error:
        return HttpResponse(str(error), status=409, content_type="text/plain; charset=utf-8")
    return HttpResponse(text, content_type="text/plain; charset=utf-8")


@action
def console_url(request: PortalRequest, instance_id: UUID, kind: tokens.Kind) -> HttpResponse:
    """A fresh websocket URL for the console in the page."""
    instance = instance_of(request.actor, instance_id)
    try:
        url = tokens.issue(instance, request.actor, kind)
    except ComputeError as error:
        return JsonResponse({"message": str(error)}, status=409)
    token = parse_qs(urlsplit(url).query)["token"][0]
    return JsonResponse({"url": tokens.websocket_url(token, kind), "page": url})


@page
def actions(request: PortalRequest, instance_id: UUID) -> HttpResponse:
    """What was done to it, step by step."""
    instance = instance_of(request.actor, instance_id)
    rows = Action.objects.filter(instance=instance).prefetch_related(Prefetch("events", Event.objects.all()))
    shown = list(rows[:ACTIONS_SHOWN])
    context = {
        **tab_context(request, instance, "instance_actions"),
        "actions": [(row, label_of(row), explained(request.actor, row)) for row in shown],
        "cancellable": {row.pk for row in shown if may_cancel(row, instance, request.actor)},
        "sees_traces": _sees_traces(request.actor, instance),
    }
    return render(request, "instances/actions.html", context)


def label_of(row: Action) -> str:
    """What the operation is called on its button."""
    operation = OPERATIONS.get(row.operation)
    return operation.label_for(row.params) if operation else DONE_AT_ONCE.get(row.operation, row.operation)


def _sees_traces(actor: Actor, instance: Instance) -> bool:
    return allows(actor, "os_compute_api:os-instance-actions:events:details", instance.project_id)


class EditForm(forms.Form):
    """What a user calls an instance."""

    name = forms.CharField(max_length=255, error_messages={"required": "Give the instance a name."})
    description = forms.CharField(max_length=255, required=False)


@page
def edit(request: PortalRequest, instance_id: UUID) -> HttpResponse:
    """Change name and description."""
    instance = instance_of(request.actor, instance_id)
    enforce(request.actor, "os_compute_api:servers:update", instance.project_id)
    now = {"name": instance.name, "description": instance.description or ""}
    form = EditForm(request.POST if request.method == "POST" else None, initial=now)
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        fields = {"name": given["name"], "description": given["description"] or None}
        try:
            update_instance(request.actor, instance, fields=fields)
        except ComputeError as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, "Saved")
            return redirect("instance", instance.pk)
    context = {**tab_context(request, instance, "instance"), "form": form}
    return render(request, "instances/edit.html", context, status=400 if form.errors else 200)
