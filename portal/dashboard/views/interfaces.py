"""The network cards of an instance: attach one, detach one; and the security groups that they wear."""

from __future__ import annotations

import ipaddress
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from compute.errors import ComputeError
from compute.models import Instance, Network, Port, SecurityGroup
from compute.networks import worn
from compute.networks.groups import default_group
from compute.operations.engine import request as request_operation
from compute.operations.interfaces import AttachInterface, DetachInterface
from portal.dashboard import answers
from portal.dashboard.access import PortalRequest, action, page
from portal.dashboard.views.instances import instance_of
from portal.identity.actor import Actor
from portal.identity.policy import allows, enforce

ADD_GROUP, REMOVE_GROUP = "os_compute_api:os-security-groups:add", "os_compute_api:os-security-groups:remove"


class AttachForm(forms.Form):
    """What is plugged in: a network, on which a port is made, or a port that is there."""

    what = forms.ChoiceField(error_messages={"required": "Choose a network or a port."})
    address = forms.CharField(required=False, max_length=39)
    tag = forms.CharField(required=False, max_length=60)

    def __init__(self, networks: list[Network], ports: list[Port], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        offered = [*(f"network:{one.pk}" for one in networks), *(f"port:{one.pk}" for one in ports)]
        self.fields["what"].choices = [(one, one) for one in offered]  # type: ignore[attr-defined]  # a choice field

    def clean_address(self) -> str:
        """As it is written in full."""
        text: str = self.cleaned_data["address"].strip()
        try:
            return str(ipaddress.ip_address(text)) if text else ""
        except ValueError as error:
            raise forms.ValidationError("That is no IP address.") from error

    def clean_tag(self) -> str:
        """As the compute API takes it."""
        tag: str = self.cleaned_data["tag"].strip()
        if "," in tag or "/" in tag:
            raise forms.ValidationError("A tag has no comma and no slash.")
        return tag

    def clean(self) -> dict[str, Any]:
        """A port has its addresses already."""
        given = self.cleaned_data
        if given.get("address") and str(given.get("what", "")).startswith("port:"):
            self.add_error("address", "The port has its addresses already.")
        return given

    def params(self) -> dict[str, str]:
        """The parameters of the operation."""
        given = self.cleaned_data
        kind, _, key = given["what"].partition(":")
        named = {f"{kind}_id": key, "address": given["address"], "tag": given["tag"]}
        return {name: value for name, value in named.items() if value}


def offers(actor: Actor, instance: Instance) -> dict[str, bool]:
    """What the card of an instance's network offers this actor. Pure and cheap."""
    project_id = instance.project_id
    return {
        "may_attach": allows(actor, AttachInterface.policy, project_id)
        and not AttachInterface.refusal(instance, actor),
        "may_detach": allows(actor, DetachInterface.policy, project_id)
        and not DetachInterface.refusal(instance, actor),
        "may_wear": allows(actor, ADD_GROUP, project_id) and allows(actor, REMOVE_GROUP, project_id),
    }


@page
def attach(request: PortalRequest, instance_id: UUID) -> HttpResponse:
    """Choose what is plugged in."""
    instance = instance_of(request.actor, instance_id)
    enforce(request.actor, AttachInterface.policy, instance.project_id)
    networks = Network.objects.visible_to(request.actor).filter(external=False).exclude(subnets=None)
    ports = Port.objects.filter(project_id=instance.project_id, instance=None).select_related("network")
    found = list(networks.distinct().prefetch_related("subnets")), list(ports.prefetch_related("addresses"))
    form = AttachForm(*found, request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            request_operation(AttachInterface, instance, request.actor, **form.params())
        except ComputeError as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, f"{AttachInterface.label}: {instance.name}")
            return redirect("instance", instance.pk)
    refusal = AttachInterface.refusal(instance, request.actor)
    context = {"instance": instance, "form": form, "networks": found[0], "ports": found[1], "refusal": refusal}
    return render(request, "instances/attach.html", context, status=400 if form.errors else 200)


@action
def detach(request: PortalRequest, instance_id: UUID, port_id: UUID) -> HttpResponse:
    """Take a card out."""
    instance = instance_of(request.actor, instance_id)
    try:
        request_operation(DetachInterface, instance, request.actor, port_id=str(port_id))
        messages.success(request, f"{DetachInterface.label}: {instance.name}")
    except ComputeError as error:
        answers.refused(request, error)
    return answers.done(request, reverse("instance", args=[instance.pk]), stay=True)


class GroupsForm(forms.Form):
    """The groups that are worn."""

    groups = forms.ModelMultipleChoiceField(SecurityGroup.objects.none(), required=False)

    def __init__(self, offered: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["groups"].queryset = offered  # type: ignore[attr-defined]  # a model's choice field


@page
def groups(request: PortalRequest, instance_id: UUID) -> HttpResponse:
    """Choose which security groups its cards wear."""
    instance = instance_of(request.actor, instance_id)
    for rule in (ADD_GROUP, REMOVE_GROUP):
        enforce(request.actor, rule, instance.project_id)
    default_group(instance.project_id)
    offered = SecurityGroup.objects.filter(project_id=instance.project_id).order_by("name", "id")
    now = {group.pk for group in SecurityGroup.objects.filter(ports__instance=instance)}
    form = GroupsForm(offered, request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            _wear(request.actor, instance, now, {group.pk for group in form.cleaned_data["groups"]})
        except ComputeError as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, "Saved")
            return redirect("instance", instance.pk)
    context = {"instance": instance, "form": form, "groups": offered, "worn": now}
    return render(request, "instances/groups.html", context, status=400 if form.errors else 200)


def _wear(actor: Actor, instance: Instance, now: set[UUID], wanted: set[UUID]) -> None:
    """All of it or nothing. Raises ComputeError."""
    with transaction.atomic():
        for key in wanted - now:
            worn.put_on(actor, instance, name=str(key))
        for key in now - wanted:
            worn.take_off(actor, instance, name=str(key))
