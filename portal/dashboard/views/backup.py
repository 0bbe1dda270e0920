"""The page that backs an instance up: a snapshot of which only the last few of its kind are kept."""

from __future__ import annotations

from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from compute.errors import ComputeError
from compute.models import Image, ImageStatus, Instance
from compute.operations.engine import request as request_operation
from compute.operations.snapshot import CreateBackup
from portal.dashboard.access import PortalRequest, page
from portal.dashboard.views.instances import instance_of
from portal.identity.policy import enforce

MOST_KEPT = 100
SHOWN = 20


class BackupForm(forms.Form):
    """As the API's createBackup takes it."""

    name = forms.CharField(max_length=255, error_messages={"required": "Give the image a name."})
    backup_type = forms.CharField(
        max_length=255,
        initial="daily",
        label="Kind",
        help_text="Such as daily or weekly: each kind is counted by itself.",
        error_messages={"required": "Say which kind it is."},
    )
    rotation = forms.IntegerField(
        min_value=0,
        max_value=MOST_KEPT,
        initial=7,
        label="Keep",
        help_text="The oldest of this kind beyond so many are deleted, but protected ones.",
    )


@page
def backup(request: PortalRequest, instance_id: UUID) -> HttpResponse:
    """Back it up."""
    instance = instance_of(request.actor, instance_id)
    enforce(request.actor, CreateBackup.policy, instance.project_id)
    form = BackupForm(
        request.POST if request.method == "POST" else None, initial={"name": f"{instance.name[:248]}-backup"}
    )
    if request.method == "POST" and form.is_valid():
        try:
            request_operation(CreateBackup, instance, request.actor, **form.cleaned_data)
        except ComputeError as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, f"{CreateBackup.label}: {instance.name}")
            return redirect("instance", instance.pk)
    context = {
        "instance": instance,
        "form": form,
        "backups": _backups(instance),
        "refusal": CreateBackup.refusal(instance, request.actor),
    }
    return render(request, "instances/backup.html", context, status=400 if form.errors else 200)


def _backups(instance: Instance) -> list[Image]:
    """Those that there are, the newest first."""
    marks = {"properties__instance_uuid": str(instance.pk), "properties__image_type": "backup"}
    rows = Image.objects.filter(project_id=instance.project_id, status=ImageStatus.ACTIVE, **marks)
    return list(rows.order_by("-created_at", "-id")[:SHOWN])
