"""Flavors: the list for everybody, create and delete for administrators."""

from __future__ import annotations

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from compute.errors import ComputeError, NotFound
from compute.flavors import create_flavor, delete_flavor
from compute.models import Flavor
from portal.dashboard import answers
from portal.dashboard.access import PortalRequest, admin_action, admin_page, page

LARGEST = 2_147_483_647


class FlavorForm(forms.Form):
    """A size. The fields carry the model's names."""

    name = forms.CharField(max_length=255, error_messages={"required": "Give the flavor a name."})
    vcpus = forms.IntegerField(min_value=1, max_value=LARGEST, initial=1, label="vCPUs")
    memory_mb = forms.IntegerField(min_value=1, max_value=LARGEST, initial=1024, label="Memory, MiB")
    disk_gb = forms.IntegerField(
        min_value=0, max_value=LARGEST, initial=10, label="Disk, GiB", help_text="0: as large as the image"
    )
    description = forms.CharField(max_length=65_535, required=False)
    is_public = forms.BooleanField(required=False, initial=True, label="Every project may use it")


@page
def flavors(request: PortalRequest) -> HttpResponse:
    """The flavors that the project may use."""
    rows = Flavor.objects.visible_to(request.actor)
    if not request.actor.is_admin:
        rows = rows.filter(disabled=False)
    return render(request, "flavors/list.html", {"flavors": rows})


@admin_page
def create(request: PortalRequest) -> HttpResponse:
    """A new flavor."""
    form = FlavorForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        given = {**form.cleaned_data, "description": form.cleaned_data["description"] or None}
        try:
            made = create_flavor(request.actor, flavor_id=None, **given)
        except ComputeError as error:
            form.add_error("name", str(error))
        else:
            messages.success(request, f"Created the flavor {made.name}")
            return redirect("flavors")
    return render(request, "flavors/create.html", {"form": form}, status=400 if form.errors else 200)


@admin_action
def delete(request: PortalRequest, flavor_id: str) -> HttpResponse:
    """Delete a flavor; instances keep their copy of it."""
    found = Flavor.objects.filter(pk=flavor_id).first()
    if found is None:
        raise NotFound(f"Flavor {flavor_id} could not be found.")
    delete_flavor(request.actor, found)
    messages.success(request, f"Deleted the flavor {found.name}")
    return answers.done(request, "flavors")
