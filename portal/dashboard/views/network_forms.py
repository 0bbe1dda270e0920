"""Making a network with its subnet, and deleting one."""

from __future__ import annotations

from uuid import UUID

from django import forms
from django.contrib import messages
from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from compute.errors import ComputeError, NotFound
from compute.models import Network
from compute.networks.networks import NewNetwork, create_network, delete_network
from compute.networks.subnets import NewSubnet, create_subnet
from portal.dashboard import answers
from portal.dashboard.access import PortalRequest, action, page
from portal.identity.policy import enforce

MODIFY = "network:modify"


class NetworkForm(forms.Form):
    """A network and its range of addresses."""

    name = forms.CharField(max_length=255, error_messages={"required": "Give the network a name."})
    description = forms.CharField(max_length=255, required=False)
    cidr = forms.CharField(
        max_length=64, label="Addresses", error_messages={"required": "Give it a range such as 10.5.0.0/24."}
    )
    dns = forms.GenericIPAddressField(required=False, protocol="IPv4", label="Name server")


@page
def create(request: PortalRequest) -> HttpResponse:
    """A new network of the project."""
    enforce(request.actor, MODIFY, request.actor.project_id)
    form = NetworkForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            made = _made(request, form)
        except ComputeError as error:
            form.add_error("cidr", str(error))
        else:
            messages.success(request, f"Created the network {made.name}")
            return redirect("network", made.pk)
    return render(request, "networks/create.html", {"form": form}, status=400 if form.errors else 200)


def _made(request: PortalRequest, form: NetworkForm) -> Network:
    """The network with its subnet, or neither. Raises ComputeError."""
    given = form.cleaned_data
    dns = (given["dns"],) if given["dns"] else ()
    with transaction.atomic():
        wanted = NewNetwork(name=given["name"], description=given["description"])
        made = create_network(actor=request.actor, wanted=wanted)
        create_subnet(
            actor=request.actor,
            wanted=NewSubnet(made.pk, given["cidr"].strip(), name=f"{given['name'][:248]}-subnet", dns=dns),
        )
    return made


@action
def delete(request: PortalRequest, network_id: UUID) -> HttpResponse:
    """Delete a network that nothing is plugged into."""
    found = Network.objects.visible_to(request.actor).filter(pk=network_id).first()
    if found is None:
        raise NotFound(f"Network {network_id} could not be found.")
    try:
        delete_network(actor=request.actor, network=found)
    except ComputeError as error:
        answers.refused(request, error)
        return answers.done(request, reverse("network", args=[found.pk]), stay=True)
    messages.success(request, f"Deleted the network {found}")
    return answers.done(request, "networks")
