"""Images: list, detail, upload, change, delete."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from compute.errors import ComputeError
from compute.images import verbs
from compute.models import Image, ImageVisibility
from portal.dashboard import answers
from portal.dashboard.access import PortalRequest, action, page
from portal.identity.actor import Actor
from portal.identity.policy import allows, enforce

# What a person uploads; kernels and ramdisks come by the API.
FORMATS = (("qcow2", "qcow2"), ("raw", "raw"), ("vmdk", "VMDK"), ("vdi", "VDI"), ("vhd", "VHD"), ("iso", "ISO"))


class DetailsForm(forms.Form):
    """What an image is called, who sees it, and what it asks of a flavor."""

    name = forms.CharField(max_length=255, error_messages={"required": "Give the image a name."})
    visibility = forms.ChoiceField()
    min_disk_gb = forms.IntegerField(min_value=0, max_value=1_000_000, initial=0, required=False)
    min_memory_mb = forms.IntegerField(min_value=0, max_value=100_000_000, initial=0, required=False)
    protected = forms.BooleanField(required=False)

    def __init__(self, actor: Actor, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        allowed = [one for one in ImageVisibility if one != ImageVisibility.PUBLIC or allows(actor, "image:publicize")]
        self.fields["visibility"].choices = [(one.value, one.label) for one in allowed]  # type: ignore[attr-defined]  # a choice field

    def details(self) -> dict[str, Any]:
        """The fields of the model."""
        given = self.cleaned_data
        return {
            "name": given["name"],
            "visibility": given["visibility"],
            "min_disk_gb": given["min_disk_gb"] or 0,
            "min_memory_mb": given["min_memory_mb"] or 0,
            "protected": given["protected"],
        }


class UploadForm(DetailsForm):
    """The same, and the file."""

    disk_format = forms.ChoiceField(choices=FORMATS)
    file = forms.FileField(error_messages={"required": "Choose the image's file."})


def _may_change(actor: Actor, image: Image) -> bool:
    return allows(actor, "image:modify", image.project_id)


@page
def images(request: PortalRequest) -> HttpResponse:
    """The images that the project may boot."""
    rows = Image.objects.visible_to(request.actor).select_related("project").order_by("name", "id")
    context = {
        "images": [(one, _may_change(request.actor, one)) for one in rows],
        "may_upload": allows(request.actor, "image:create", request.actor.project_id),
    }
    return render(request, "images/list.html", context)


@page
def image(request: PortalRequest, image_id: str) -> HttpResponse:
    """One image."""
    found = verbs.find(actor=request.actor, image_id=image_id)
    context = {"image": found, "may_change": _may_change(request.actor, found)}
    return render(request, "images/detail.html", context)


@page
def upload(request: PortalRequest) -> HttpResponse:
    """The form; the browser sends details and file at once."""
    enforce(request.actor, "image:create", request.actor.project_id)
    sent = request.method == "POST"
    form = UploadForm(
        request.actor,
        request.POST if sent else None,
        request.FILES if sent else None,
        initial={"visibility": "private"},
    )
    if sent and form.is_valid() and (made := _uploaded(request, form)):
        messages.success(request, f"The image {made} is ready.")
        return answers.done(request, reverse("image", args=[made.pk]))
    return render(request, "images/upload.html", {"form": form}, status=400 if form.errors else 200)


def _uploaded(request: PortalRequest, form: UploadForm) -> Image | None:
    """The image with its data; None, with the reason in the form and nothing left behind."""
    wanted = verbs.ImageRequest(**form.details(), disk_format=form.cleaned_data["disk_format"], container_format="bare")
    try:
        made = verbs.create_image(actor=request.actor, wanted=wanted)
    except ComputeError as error:
        form.add_error(None, str(error))
        return None
    try:
        return verbs.upload(actor=request.actor, image=made, stream=form.cleaned_data["file"])
    except ComputeError as error:
        form.add_error("file", str(error))
        verbs.update_image(actor=request.actor, image=made, changes={"protected": False})
        verbs.delete_image(actor=request.actor, image=made)
        return None


@page
def edit(request: PortalRequest, image_id: str) -> HttpResponse:
    """Change the details."""
    found = verbs.find(actor=request.actor, image_id=image_id)
    enforce(request.actor, "image:modify", found.project_id)
    now = {name: getattr(found, name) for name in ("name", "visibility", "min_disk_gb", "min_memory_mb", "protected")}
    form = DetailsForm(request.actor, request.POST if request.method == "POST" else None, initial=now)
    if request.method == "POST" and form.is_valid():
        try:
            verbs.update_image(actor=request.actor, image=found, changes=form.details())
        except ComputeError as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, "Saved")
            return redirect("image", found.pk)
    return render(request, "images/edit.html", {"form": form, "image": found}, status=400 if form.errors else 200)


@action
def delete(request: PortalRequest, image_id: str) -> HttpResponse:
    """Delete it. Instances that run from it go on."""
    found = verbs.find(actor=request.actor, image_id=image_id)
    try:
        verbs.delete_image(actor=request.actor, image=found)
        messages.success(request, f"Deleted the image {found}")
    except ComputeError as error:
        answers.refused(request, error)
    return answers.done(request, "images")
