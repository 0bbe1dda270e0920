"""What is made of an instance: the pages where a new flavor, a new image or a rescue image is chosen."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from compute.errors import ComputeError
from compute.headroom import headroom_of
from compute.models import Flavor, Instance
from compute.operations.engine import Operation
from compute.operations.engine import request as request_operation
from compute.operations.live_resize import LiveResize, misfit_live
from compute.operations.rebuild import Rebuild, RebuildRequest
from compute.operations.rebuild import rebuild as request_rebuild
from compute.operations.rescue import Rescue
from compute.operations.resize import Resize, misfit
from portal.dashboard.access import PortalRequest, page
from portal.dashboard.views.instances import instance_of
from portal.dashboard.views.launch import bootable_images, quota_left
from portal.dashboard.views.launch import misfit as over_quota
from portal.identity.actor import Actor
from portal.identity.policy import enforce

# Whether it goes on running, what is asked for, and what is said then.
HOW: dict[bool, tuple[type[Operation], str]] = {
    False: (Resize, "It is being resized; then confirm the new size, or go back."),
    True: (LiveResize, "It grows while it runs."),
}


class ResizeForm(forms.Form):
    """The new flavor."""

    flavor = forms.CharField(error_messages={"required": "Choose a flavor."})


class ImageForm(forms.Form):
    """The image."""

    image = forms.UUIDField(error_messages={"required": "Choose an image.", "invalid": "Choose an image."})


def _flavors(actor: Actor, instance: Instance) -> list[tuple[Flavor, str, bool]]:
    """Every flavor, each with why it cannot be this one's, and whether it can be while it runs.

    The present one is not among them.
    """
    may_live = not LiveResize.refusal(instance, actor)
    left = quota_left(instance.project_id)
    for name, amount in (("instances", 1), ("cores", instance.vcpus), ("memory_mb", instance.memory_mb)):
        left[name]["used"] -= amount
    rows = Flavor.objects.visible_to(actor).filter(disabled=False).exclude(pk=instance.flavor["id"])
    return [
        (flavor, _why_not(instance, flavor, left), may_live and not misfit_live(instance, flavor)) for flavor in rows
    ]


def _why_not(instance: Instance, flavor: Flavor, left: dict[str, dict[str, int]]) -> str:
    return "its disk is smaller" if misfit(instance, flavor) else over_quota(flavor, left)


@page
def resize(request: PortalRequest, instance_id: UUID) -> HttpResponse:
    """Choose another flavor."""
    instance = _instance(request, instance_id, Resize)
    form = ResizeForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        operation, sentence = HOW[request.POST.get("how") == "live"]
        try:
            request_operation(operation, instance, request.actor, flavor_id=form.cleaned_data["flavor"])
        except ComputeError as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, sentence)
            return redirect("instance", instance.pk)
    flavors = _flavors(request.actor, instance)
    context = {
        "flavors": flavors,
        "any_live": any(live and not why for _, why, live in flavors),
        "room": headroom_of(instance.flavor),
        "refusal": Resize.refusal(instance, request.actor),
    }
    return _answer(request, "instances/resize.html", instance, form, context)


@page
def rebuild(request: PortalRequest, instance_id: UUID) -> HttpResponse:
    """Choose the image that it is made anew of."""
    instance = _instance(request, instance_id, Rebuild)
    form = _image_form(request, instance)
    if request.method == "POST" and form.is_valid():
        try:
            request_rebuild(request.actor, instance, RebuildRequest(str(form.cleaned_data["image"])))
        except ComputeError as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, f"{Rebuild.label}: {instance.name}")
            return redirect("instance", instance.pk)
    context = {
        "images": bootable_images(request.actor),
        "refusal": Rebuild.refusal(instance, request.actor),
        "title": "Rebuild",
        "warning": "Everything on its disks is lost. Its id, addresses and flavor stay.",
        "dangerous": True,
    }
    return _answer(request, "instances/choose_image.html", instance, form, context)


@page
def rescue(request: PortalRequest, instance_id: UUID) -> HttpResponse:
    """Choose the image that it is rescued with."""
    instance = _instance(request, instance_id, Rescue)
    form = _image_form(request, instance)
    if request.method == "POST" and form.is_valid():
        try:
            request_operation(Rescue, instance, request.actor, image_id=str(form.cleaned_data["image"]))
        except ComputeError as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, f"{Rescue.label}: {instance.name}")
            return redirect("instance", instance.pk)
    context = {
        "images": bootable_images(request.actor),
        "refusal": Rescue.refusal(instance, request.actor),
        "title": "Rescue",
        "warning": "It is shut down and boots from the image chosen here; its own disk is the second one (vdb).",
        "dangerous": False,
    }
    return _answer(request, "instances/choose_image.html", instance, form, context)


def _instance(request: PortalRequest, instance_id: UUID, operation: type[Operation]) -> Instance:
    """The instance, if the actor may do this to it. Raises NotFound and Forbidden."""
    instance = instance_of(request.actor, instance_id)
    enforce(request.actor, operation.policy, instance.project_id)
    return instance


def _image_form(request: PortalRequest, instance: Instance) -> ImageForm:
    return ImageForm(request.POST if request.method == "POST" else None, initial={"image": instance.image_id})


def _answer(
    request: PortalRequest, template: str, instance: Instance, form: forms.Form, context: dict[str, Any]
) -> HttpResponse:
    """The page; a form that was refused comes back with the reason."""
    context = {**context, "instance": instance, "form": form}
    return render(request, template, context, status=400 if form.errors else 200)
