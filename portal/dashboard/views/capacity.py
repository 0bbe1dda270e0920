"""How much room there is: the capacity page of administrators, and the dry run in the launch form."""

from __future__ import annotations

from typing import Any

from django import forms
from django.http import HttpResponse
from django.shortcuts import render

from compute import placements
from compute.capacity import capacity as room
from compute.errors import ComputeError
from compute.placements import Wish
from portal.dashboard.access import PortalRequest, admin_page, page
from portal.identity.policy import allows
from scheduler.hoststate import HostView

MOST_AT_ONCE = 100
HOSTS_SHOWN = 3


def fill(host: HostView) -> list[dict[str, Any]]:
    """What is claimed of what may be claimed, with the ratio."""
    return [
        {
            "name": "vCPUs",
            "used": host.vcpus_used,
            "total": host.vcpu_capacity,
            "unit": "",
            "ratio": f"{host.cpu_ratio:g}",
        },
        {
            "name": "Memory",
            "used": host.memory_used_mb,
            "total": host.memory_capacity_mb,
            "unit": "mib",
            "ratio": f"{host.memory_ratio:g}",
        },
        {
            "name": "Disk",
            "used": host.disk_used_gb * 1024,
            "total": host.disk_capacity_gb * 1024,
            "unit": "mib",
            "ratio": f"{host.disk_ratio:g}",
        },
    ]


def word(host: HostView) -> str:
    """One word for a host's state."""
    return "down" if not host.up else "up" if host.enabled else "disabled"


@admin_page
def capacity(request: PortalRequest) -> HttpResponse:
    """How many of each flavor still fit, by zone and in all, and how full the hosts are."""
    found = room(request.actor)
    context = {
        "zones": found.zones,
        "rooms": [(one, [one.by_zone[zone] for zone in found.zones]) for one in found.rooms],
        "hosts": [(host, word(host), fill(host)) for host in found.hosts],
    }
    return render(request, "hosts/capacity.html", context)


class WishForm(forms.Form):
    """What of the launch form a host is chosen by; ``dry_run`` checks it."""

    flavor = forms.CharField(max_length=255)
    image = forms.CharField(max_length=255, required=False)
    zone = forms.CharField(max_length=255, required=False)
    host = forms.CharField(max_length=255, required=False)
    forced = forms.BooleanField(required=False)
    count = forms.IntegerField(min_value=1, max_value=MOST_AT_ONCE, required=False)
    server_group = forms.UUIDField(required=False)
    same_host = forms.UUIDField(required=False)

    def wish(self, different_host: list[str]) -> Wish:
        """The values, with the hints by their names on the wire."""
        given = self.cleaned_data
        hints = {"group": given["server_group"], "same_host": given["same_host"]}
        return Wish(
            flavor_id=given["flavor"],
            image_id=given["image"],
            zone=given["zone"],
            host=given["host"],
            forced=bool(given["host"]) and given["forced"],
            count=given["count"] or 1,
            hints={name: str(value) for name, value in hints.items() if value}
            | ({"different_host": different_host} if different_host else {}),
        )


@page
def dry_run(request: PortalRequest) -> HttpResponse:
    """A fragment for the launch form: whether what is chosen fits now, how many more do, and where."""
    form = WishForm(request.GET)
    if not form.is_valid():
        return render(request, "launch/_outlook.html", {"refusal": "Choose a flavor."}, status=400)
    try:
        outlook = placements.dry_run(request.actor, form.wish(request.GET.getlist("different_host")[:MOST_AT_ONCE]))
    except ComputeError as error:
        return render(request, "launch/_outlook.html", {"refusal": str(error)})
    found = outlook.evaluation
    sees_hosts = allows(request.actor, placements.SEE_HOSTS)
    context = {
        "outlook": outlook,
        "hosts": [(host, found.rooms[host.id]) for host in found.hosts[:HOSTS_SHOWN]] if sees_hosts else [],
        "refused": found.explanation.rejected[:HOSTS_SHOWN] if sees_hosts and not outlook.fits else [],
    }
    return render(request, "launch/_outlook.html", context)
