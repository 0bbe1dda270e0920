"""The page of an instance's metadata and tags: what its users note about it, and clients filter by."""

from __future__ import annotations

import re
from uuid import UUID

from django import forms
from django.contrib import messages
from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import redirect, render

from compute.errors import ComputeError
from compute.instances import set_metadata, set_tags
from portal.dashboard.access import PortalRequest, page
from portal.dashboard.views.instances import instance_of
from portal.identity.policy import enforce

# As the API takes them.
KEY = re.compile(r"[a-zA-Z0-9\-_:. ]{1,255}")
TAG = re.compile(r"[^,/]{1,60}")
VALUE_CAP = 255


class LabelsForm(forms.Form):
    """Both as text: a line for each item, commas between tags."""

    metadata = forms.CharField(
        required=False, widget=forms.Textarea(attrs={"rows": 8, "spellcheck": "false", "placeholder": "tier = web"})
    )
    tags = forms.CharField(required=False, widget=forms.TextInput(attrs={"placeholder": "web, nightly"}))

    def clean_metadata(self) -> dict[str, str]:
        """Names to values."""
        found: dict[str, str] = {}
        for line in filter(str.strip, self.cleaned_data["metadata"].splitlines()):
            name, equals, value = (part.strip() for part in line.partition("="))
            if not equals or not KEY.fullmatch(name):
                raise forms.ValidationError(f"Not 'name = value': {line[:60]}")
            if name in found:
                raise forms.ValidationError(f"Twice: {name[:60]}")
            if len(value) > VALUE_CAP:
                raise forms.ValidationError(f"The value of {name[:60]} has more than {VALUE_CAP} characters.")
            found[name] = value
        return found

    def clean_tags(self) -> list[str]:
        """Each once."""
        found = [tag.strip() for tag in self.cleaned_data["tags"].split(",") if tag.strip()]
        if wrong := [tag for tag in found if not TAG.fullmatch(tag)]:
            raise forms.ValidationError(f"A tag has at most 60 characters and no slash: {wrong[0][:60]}")
        return found


@page
def labels(request: PortalRequest, instance_id: UUID) -> HttpResponse:
    """Change its metadata and tags."""
    instance = instance_of(request.actor, instance_id)
    enforce(request.actor, "os_compute_api:server-metadata:update_all", instance.project_id)
    now = {
        "metadata": "\n".join(f"{name} = {value}" for name, value in sorted(instance.metadata.items())),
        "tags": ", ".join(instance.tags),
    }
    form = LabelsForm(request.POST if request.method == "POST" else None, initial=now)
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        try:
            with transaction.atomic():
                set_metadata(request.actor, instance, items=given["metadata"], replace=True)
                set_tags(request.actor, instance, tags=given["tags"])
        except ComputeError as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, "Saved")
            return redirect("instance", instance.pk)
    context = {"instance": instance, "form": form}
    return render(request, "instances/labels.html", context, status=400 if form.errors else 200)
