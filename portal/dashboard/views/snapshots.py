"""The tab of an instance's in-place snapshots and schedules."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django import forms
from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from compute.errors import ComputeError
from compute.models import Instance, SnapshotSchedule
from compute.operations import in_place, schedules
from compute.operations.engine import Operation
from compute.operations.engine import request as request_operation
from portal.dashboard import answers
from portal.dashboard.access import PortalRequest, action, page
from portal.dashboard.snapshot_tree import lines_of
from portal.dashboard.views.instance import tab_context, under_way
from portal.dashboard.views.instances import instance_of
from portal.identity.actor import Actor
from portal.identity.policy import allows, enforce

# What the buttons say of how to go back: the memory, and whether to boot afresh.
WAYS: dict[str, dict[str, bool]] = {
    "memory": {"memory": True},
    "boot": {"memory": False, "start": True},
    "off": {"memory": False, "start": False},
}


class SnapshotForm(forms.Form):
    """A snapshot to take."""

    name = forms.CharField(max_length=255, error_messages={"required": "Give the snapshot a name."})
    description = forms.CharField(max_length=255, required=False)
    memory = forms.BooleanField(required=False)


def _may(operation: type[Operation], instance: Instance, actor: Actor) -> bool:
    """Whether its buttons are shown: the actor may, and the instance allows it now."""
    return allows(actor, operation.policy, instance.project_id) and not operation.refusal(instance, actor)


@page
def snapshots(request: PortalRequest, instance_id: UUID) -> HttpResponse:
    """The tree, the schedules, and the form of a new snapshot."""
    instance = instance_of(request.actor, instance_id)
    enforce(request.actor, "nacelle:snapshots:get", instance.project_id)
    if request.method == "POST":
        enforce(request.actor, in_place.CreateSnapshot.policy, instance.project_id)
    form = SnapshotForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            request_operation(in_place.CreateSnapshot, instance, request.actor, **form.cleaned_data)
        except ComputeError as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, f"The snapshot {form.cleaned_data['name']} is being taken.")
            return redirect("instance_snapshots", instance.pk)
    return _tab(request, instance, form)


def _tab(request: PortalRequest, instance: Instance, form: SnapshotForm) -> HttpResponse:
    actor = request.actor
    rows = list(instance.snapshots.select_related("schedule"))
    plans = SnapshotSchedule.objects.filter(instance=instance).select_related("instance", "last_action")
    context: dict[str, Any] = {
        **tab_context(request, instance, "instance_snapshots"),
        **under_way(instance, actor),
        "lines": lines_of(rows),
        "count": len(rows),
        "most": settings.SNAPSHOTS_PER_INSTANCE,
        "schedules": plans if allows(actor, schedules.GET, instance.project_id) else [],
        "form": form,
        "is_on": instance.vm_state in in_place.ON,
        "may_create": allows(actor, in_place.CreateSnapshot.policy, instance.project_id),
        "may_revert": _may(in_place.RevertSnapshot, instance, actor),
        "may_delete": _may(in_place.DeleteSnapshot, instance, actor),
        "may_schedule": allows(actor, schedules.MODIFY, instance.project_id),
    }
    return render(request, "instances/snapshots.html", context, status=400 if form.errors else 200)


def _asked(request: PortalRequest, instance_id: UUID, operation: type[Operation], **params: Any) -> HttpResponse:
    """Ask for it, and stay on the tab."""
    instance = instance_of(request.actor, instance_id)
    enforce(request.actor, operation.policy, instance.project_id)
    try:
        snapshot = in_place.find(instance, params["snapshot"])
        request_operation(operation, instance, request.actor, **params)
        messages.success(request, f"{operation.label}: {snapshot.name}")
    except ComputeError as error:
        answers.refused(request, error)
    return answers.done(request, reverse("instance_snapshots", args=[instance.pk]), stay=True)


@action
def revert(request: PortalRequest, instance_id: UUID, snapshot_id: UUID) -> HttpResponse:
    """Go back to it, in one of the ``WAYS``."""
    way = WAYS.get(request.POST.get("way", ""), {})
    return _asked(request, instance_id, in_place.RevertSnapshot, snapshot=str(snapshot_id), **way)


@action
def delete(request: PortalRequest, instance_id: UUID, snapshot_id: UUID) -> HttpResponse:
    """Let it go; one that is being made is cancelled."""
    return _asked(request, instance_id, in_place.DeleteSnapshot, snapshot=str(snapshot_id))
