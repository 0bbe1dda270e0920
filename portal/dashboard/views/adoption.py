"""Adopting a guest that is on a host already."""

from __future__ import annotations

from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from compute.errors import ComputeError, NotFound
from compute.hosts.checks import strangers
from compute.operations.adopt import AdoptRequest, adopt
from portal.dashboard.access import PortalRequest, admin_page
from portal.dashboard.views.one_host import find_host
from portal.identity.models import Project


class AdoptForm(forms.Form):
    """Whose instance it becomes, and how."""

    project_id = forms.ChoiceField(label="Project", error_messages={"required": "Choose a project."})
    name = forms.CharField(max_length=255, required=False, help_text="Empty: its title, or its name on the host")
    delete_disks = forms.BooleanField(required=False)
    anyway = forms.BooleanField(required=False)

    def __init__(self, data: object, here: str | None) -> None:
        super().__init__(data, initial={"project_id": here})  # type: ignore[arg-type]  # a request's POST, or None
        rows = Project.objects.filter(enabled=True).order_by("name", "id")
        self.fields["project_id"].choices = [(row.pk, row.name) for row in rows]  # type: ignore[attr-defined]


@admin_page
def adopt_guest(request: PortalRequest, host_id: int, guest_id: UUID) -> HttpResponse:
    """What the guest is, and the form."""
    host = find_host(host_id)
    guest = next((one for one in strangers(host) if one["id"] == str(guest_id)), None)
    if guest is None:
        raise NotFound(f"No guest {guest_id} was seen on {host.name} that is not this cloud's.")
    form = AdoptForm(request.POST if request.method == "POST" else None, request.actor.project_id)
    if request.method == "POST" and form.is_valid():
        try:
            made = adopt(request.actor, host, guest_id, AdoptRequest(**form.cleaned_data))
        except ComputeError as error:
            about = {"project": "project_id", "name": "name"}.get(getattr(error, "about", ""))
            form.add_error(about, str(error))
        else:
            messages.success(request, f"{made.name} is an instance of {made.project.name} now")
            return redirect("host", host.pk)
    deletable = [disk["source"] for disk in guest["disks"] if disk["deletable"]]
    context = {"form": form, "host": host, "guest": guest, "deletable": deletable}
    return render(request, "hosts/adopt.html", context, status=400 if form.errors else 200)
