"""Evacuating an instance whose host is off, or all of a host, with what becomes of the disks said beforehand."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from compute.errors import ComputeError
from compute.models import Host, Instance
from compute.operations import relocations, ways_off
from compute.operations.engine import request as request_operation
from compute.operations.evacuate import Evacuate, Surroundings, host_refusal, outlook
from portal.dashboard.access import PortalRequest, admin_page, page
from portal.dashboard.views.instances import instance_of
from portal.dashboard.views.one_host import find_host
from portal.identity.policy import enforce


class EvacuateForm(forms.Form):
    """Where to."""

    host = forms.ChoiceField(required=False)

    def __init__(self, *args: Any, choices: list[tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["host"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = choices


def _choices(instance: Instance, source: Host) -> list[tuple[str, str]]:
    """Each place with what becomes of the disks there."""
    around = Surroundings.now()
    anywhere = outlook(instance, around=around)
    found = [("", f"Wherever there is room. {anywhere.sentence}")]
    others = [one for one in around.hosts if one.is_up and one.enabled and one != source]
    return found + [(one.name, f"{one.name}. {outlook(instance, one, around).sentence}") for one in others]


@page
def instance(request: PortalRequest, instance_id: UUID) -> HttpResponse:
    """Choose where to, knowing what becomes of the disks."""
    found = instance_of(request.actor, instance_id)
    enforce(request.actor, Evacuate.policy, found.project_id)
    refused = host_refusal(found.host)
    refusal = refused[1] if refused else Evacuate.refusal(found, request.actor)
    choices = _choices(found, found.host) if found.host else []
    form = EvacuateForm(request.POST if request.method == "POST" else None, choices=choices)
    if request.method == "POST" and form.is_valid():
        try:
            request_operation(Evacuate, found, request.actor, host=form.cleaned_data["host"])
        except ComputeError as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, f"{found.name} is being started on another host.")
            return redirect("instance", found.pk)
    context = {"instance": found, "form": form, "refusal": refusal}
    return render(request, "instances/evacuate.html", context, status=400 if form.errors else 200)


@admin_page
def host(request: PortalRequest, host_id: int) -> HttpResponse:
    """All instances of a host: what becomes of each, and doing it."""
    found, problem = find_host(host_id), ""
    if request.method == "POST":
        try:
            relocations.evacuate_host(request.actor, found)
        except ComputeError as error:
            problem = str(error)
        else:
            messages.success(request, f"The instances of {found.name} are being started elsewhere.")
            return redirect("host", found.pk)
    refused = host_refusal(found)
    ways = ways_off.all_out_of(found)
    context = {
        "host": found,
        "ways": ways,
        "possible": sum(way.operation is not None for _, way in ways),
        "refusal": refused[1] if refused else "",
        "problem": problem,
    }
    return render(request, "hosts/evacuate.html", context, status=409 if problem else 200)
