"""Live migration: the page where a host is chosen, and the button that brings one to its end."""

from __future__ import annotations

from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from compute.destinations import outlook
from compute.errors import ComputeError
from compute.operations import migration_control
from compute.operations.engine import request as request_operation
from compute.operations.live_migration import LiveMigration
from portal.dashboard import answers
from portal.dashboard.access import PortalRequest, action, page
from portal.dashboard.views.instances import instance_of
from portal.identity.policy import enforce


class HostForm(forms.Form):
    """The host; empty: the best one that can take it."""

    host = forms.CharField(required=False, max_length=255)


@page
def live_migrate(request: PortalRequest, instance_id: UUID) -> HttpResponse:
    """Choose where it goes."""
    instance = instance_of(request.actor, instance_id)
    enforce(request.actor, LiveMigration.policy, instance.project_id)
    form = HostForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            request_operation(LiveMigration, instance, request.actor, host=form.cleaned_data["host"])
        except ComputeError as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, "It goes to another host, and runs on meanwhile.")
            return redirect("instance", instance.pk)
    refusal = LiveMigration.refusal(instance, request.actor)
    context = {
        "instance": instance,
        "form": form,
        "refusal": refusal,
        "outlook": None if refusal else outlook(request.actor, instance),
    }
    return render(request, "instances/live_migrate.html", context, status=400 if form.errors else 200)


@action
def force_complete(request: PortalRequest, instance_id: UUID, migration_id: int) -> HttpResponse:
    """Bring a live migration to its end."""
    instance = instance_of(request.actor, instance_id)
    try:
        migration_control.force_complete(request.actor, instance, str(migration_id))
        messages.success(request, "It is being brought to its end.")
    except ComputeError as error:
        answers.refused(request, error)
    return answers.done(request, reverse("instance", args=[instance.pk]), stay=True)
