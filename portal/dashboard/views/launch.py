"""The launch form: what there is to choose from, what fits, and one call of ``create``."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from compute import quota, zones
from compute.errors import ComputeError, Invalid
from compute.models import Flavor, Host, Image, ImageStatus, Instance, KeyPair, Network, SecurityGroup, ServerGroup
from compute.models.quota import UNLIMITED
from compute.networks.plugging import NetworkRequest
from compute.operations.boot import Boot
from compute.operations.create import REQUESTED_HOST, BootRequest, create
from portal.dashboard.access import PortalRequest, page
from portal.identity.actor import Actor
from portal.identity.policy import allows, enforce

# Nova's cap is on the encoded text.
USER_DATA_CAP_BYTES = 65_535 * 3 // 4
GIB = 1 << 30
NEIGHBOURS_SHOWN = 100


@dataclass(frozen=True)
class Choices:
    """Everything that the form offers."""

    images: list[tuple[Image, dict[str, float]]]
    flavors: list[Flavor]
    networks: list[Network]
    key_pairs: list[str]
    groups: list[SecurityGroup]
    zones: list[str]
    server_groups: list[ServerGroup]
    instances: list[tuple[str, str]]
    hosts: list[str]

    @classmethod
    def of(cls, actor: Actor) -> Choices:
        """What this actor may choose from."""
        networks = Network.objects.visible_to(actor).filter(external=False).exclude(subnets=None)
        return cls(
            images=bootable_images(actor),
            flavors=list(Flavor.objects.visible_to(actor).filter(disabled=False)),
            networks=list(networks.distinct().prefetch_related("subnets")),
            key_pairs=list(KeyPair.objects.filter(user_id=actor.user_id).values_list("name", flat=True)),
            groups=list(SecurityGroup.objects.filter(project_id=actor.project_id).exclude(name="default")),
            zones=zones.available(),
            server_groups=list(ServerGroup.objects.filter(project_id=actor.project_id).order_by("name", "id")),
            instances=_neighbours(actor),
            hosts=list(Host.objects.values_list("name", flat=True)) if allows(actor, REQUESTED_HOST) else [],
        )


def _neighbours(actor: Actor) -> list[tuple[str, str]]:
    """The project's instances that have a host, newest first: ids and names."""
    placed = Instance.objects.alive().filter(project_id=actor.project_id).exclude(host=None)
    return [(str(key), name) for key, name in placed.values_list("id", "name")[:NEIGHBOURS_SHOWN]]


class LaunchForm(forms.Form):
    """Reads what was chosen; ``create`` checks it."""

    name = forms.CharField(max_length=255, error_messages={"required": "Give the instance a name."})
    count = forms.IntegerField(min_value=1, max_value=100, initial=1)
    image = forms.CharField(error_messages={"required": "Choose an image."})
    flavor = forms.CharField(error_messages={"required": "Choose a flavor."})
    network = forms.MultipleChoiceField(required=False)
    key_pair = forms.ChoiceField(required=False)
    security_groups = forms.MultipleChoiceField(required=False)
    zone = forms.ChoiceField(required=False)
    server_group = forms.ChoiceField(required=False)
    same_host = forms.ChoiceField(required=False)
    different_host = forms.MultipleChoiceField(required=False)
    host = forms.ChoiceField(required=False)
    forced = forms.BooleanField(required=False)
    user_data = forms.CharField(required=False, strip=False)

    def __init__(self, choices: Choices, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        given: dict[str, Any] = {
            "network": [(str(one.id), one.name) for one in choices.networks],
            "key_pair": [("", ""), *((name, name) for name in choices.key_pairs)],
            "security_groups": [(str(one.id), one.name) for one in choices.groups],
            "zone": [("", ""), *((zone, zone) for zone in choices.zones)],
            "server_group": [("", ""), *((str(one.id), one.name) for one in choices.server_groups)],
            "same_host": [("", ""), *choices.instances],
            "different_host": choices.instances,
            "host": [("", ""), *((name, name) for name in choices.hosts)],
        }
        for name, pairs in given.items():
            self.fields[name].choices = pairs  # type: ignore[attr-defined]  # these are choice fields

    def clean_user_data(self) -> str | None:
        """The text as Nova takes it, in base64."""
        raw = self.cleaned_data["user_data"].replace("\r\n", "\n").encode()
        if len(raw) > USER_DATA_CAP_BYTES:
            raise forms.ValidationError(f"At most {USER_DATA_CAP_BYTES} bytes; this is {len(raw)}.")
        return base64.b64encode(raw).decode() if raw.strip() else None

    def wanted(self) -> BootRequest:
        """What ``create`` is asked for."""
        given = self.cleaned_data
        networks = tuple(NetworkRequest(network_id=UUID(one)) for one in given["network"])
        return BootRequest(
            name=given["name"],
            flavor_id=given["flavor"],
            image_id=given["image"],
            networks=networks or None,
            key_name=given["key_pair"] or None,
            user_data=given["user_data"],
            zone=given["zone"],
            host=given["host"],
            forced=bool(given["host"]) and given["forced"],
            scheduler_hints=self._hints(),
            min_count=given["count"],
            max_count=given["count"],
            security_groups=tuple(given["security_groups"]),
        )

    def _hints(self) -> dict[str, Any]:
        """The scheduler hints, by their names on the wire; those that were not given are not there."""
        names = {"group": "server_group", "same_host": "same_host", "different_host": "different_host"}
        return {hint: self.cleaned_data[name] for hint, name in names.items() if self.cleaned_data[name]}


def quota_left(project_id: str) -> dict[str, dict[str, int]]:
    """Used and total of what an instance takes; a total below zero is no limit."""
    limits, used = quota.limits(project_id), quota.usage(project_id)
    return {name: {"used": used[name], "total": limits[name]} for name in quota.COUNTED}


def misfit(flavor: Flavor, left: dict[str, dict[str, int]]) -> str:
    """Why the quota does not leave room for this flavor; empty when it does."""
    takes = {"instances": 1, "cores": flavor.vcpus, "memory_mb": flavor.memory_mb}
    words = {"instances": "instances", "cores": "vCPUs", "memory_mb": "memory"}
    short = [
        words[name]
        for name, amount in takes.items()
        if left[name]["total"] != UNLIMITED and left[name]["used"] + amount > left[name]["total"]
    ]
    return f"over the quota of {' and '.join(short)}" if short else ""


@page
def launch(request: PortalRequest) -> HttpResponse:
    """The form, and the launch."""
    enforce(request.actor, Boot.policy, request.actor.project_id)
    choices = Choices.of(request.actor)
    form = LaunchForm(choices, request.POST if request.method == "POST" else None, initial=dict(request.GET.items()))
    if request.method == "POST" and form.is_valid():
        try:
            made = create(request.actor, form.wanted())
        except Invalid as error:
            form.add_error(error.about if error.about in form.fields else None, str(error))
        except ComputeError as error:
            form.add_error(None, str(error))
        else:
            if len(made) == 1:
                return redirect("instance", made[0].pk)
            messages.success(request, f"{len(made)} instances are being launched.")
            return redirect("instances")
    return render(request, "launch.html", _context(request, form, choices), status=400 if form.errors else 200)


def _context(request: PortalRequest, form: LaunchForm, choices: Choices) -> dict[str, Any]:
    assert request.actor.project_id is not None
    left = quota_left(request.actor.project_id)
    return {
        "form": form,
        "choices": choices,
        "images": choices.images,
        "flavors": [(flavor, misfit(flavor, left)) for flavor in choices.flavors],
        "quota": left,
        "chosen_networks": form["network"].value()
        or ([str(choices.networks[0].id)] if len(choices.networks) == 1 else []),
        "chosen_apart": form["different_host"].value() or [],
        "chosen_groups": form["security_groups"].value() or [],
    }


def bootable_images(actor: Actor) -> list[tuple[Image, dict[str, float]]]:
    """What an instance can be made of, each with what it asks of a flavor."""
    rows = Image.objects.visible_to(actor).filter(status=ImageStatus.ACTIVE, hidden=False)
    return [(image, _needs(image)) for image in rows.order_by("name", "id")]


def _needs(image: Image) -> dict[str, float]:
    """What an image asks of a flavor: disk in GiB, memory in MiB."""
    virtual = (image.virtual_size or image.size or 0) / GIB
    return {"disk_gb": max(virtual, image.min_disk_gb), "memory_mb": image.min_memory_mb}
