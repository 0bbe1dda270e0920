"""Moving an instance to another host: the pages where one is chosen, and bringing a live migration to its end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from compute.destinations import Outlook, cold_outlook, live_outlook
from compute.errors import ComputeError
from compute.models import Instance
from compute.operations import migration_control
from compute.operations.engine import Operation
from compute.operations.engine import request as request_operation
from compute.operations.live_migration import LiveMigration
from compute.operations.resize import Migrate
from portal.dashboard import answers
from portal.dashboard.access import PortalRequest, action, page
from portal.dashboard.views.instances import instance_of
from portal.identity.actor import Actor
from portal.identity.policy import enforce


class HostForm(forms.Form):
    """The host; empty: the best one that can take it."""

    host = forms.CharField(required=False, max_length=255)


@dataclass(frozen=True)
class Way:
    """One way to move: what is asked for, where to, and what is said of it before and afterwards."""

    operation: type[Operation]
    outlook: Callable[[Actor, Instance], Outlook]
    before: str
    afterwards: str

    @property
    def label(self) -> str:
        """On the button."""
        return self.operation.label


LIVE = Way(
    LiveMigration,
    live_outlook,
    "It goes on running and keeps its addresses. At the end it stands still for less than a second, and open consoles "
    "must be opened again. Where the hosts do not see the same storage, its disks are copied.",
    "It goes to another host, and runs on meanwhile.",
)
COLD = Way(
    Migrate,
    cold_outlook,
    "It is shut down, brought to the other host with its disks, and started there if it ran. It keeps its addresses. "
    "Where the hosts do not see the same storage, its disks are copied. Until it is confirmed, it can be taken back.",
    "It goes to another host; then confirm it, or take it back.",
)


def _choose(request: PortalRequest, instance_id: UUID, way: Way) -> HttpResponse:
    """Choose where it goes."""
    instance = instance_of(request.actor, instance_id)
    enforce(request.actor, way.operation.policy, instance.project_id)
    form = HostForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            request_operation(way.operation, instance, request.actor, host=form.cleaned_data["host"])
        except ComputeError as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, way.afterwards)
            return redirect("instance", instance.pk)
    refusal = way.operation.refusal(instance, request.actor)
    context = {
        "instance": instance,
        "form": form,
        "way": way,
        "refusal": refusal,
        "outlook": None if refusal else way.outlook(request.actor, instance),
    }
    return render(request, "instances/migrate.html", context, status=400 if form.errors else 200)


@page
def live_migrate(request: PortalRequest, instance_id: UUID) -> HttpResponse:
    """Choose where it goes while it runs."""
    return _choose(request, instance_id, LIVE)


@page
def migrate(request: PortalRequest, instance_id: UUID) -> HttpResponse:
    """Choose where it goes while it is off."""
    return _choose(request, instance_id, COLD)


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
