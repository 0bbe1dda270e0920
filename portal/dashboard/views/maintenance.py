"""Taking a host out of service, bringing it back, and evening out the load of the hosts."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from compute.errors import ComputeError
from compute.hosts.service import REASON_CAP, set_enabled
from compute.models import Relocation, RelocationKind
from compute.operations import rebalance as verbs
from compute.operations import relocations, ways_off
from portal.dashboard import answers
from portal.dashboard.access import PortalRequest, admin_action, admin_page
from portal.dashboard.views.one_host import find_host, progress_of


class DrainForm(forms.Form):
    """Why, and how."""

    reason = forms.CharField(max_length=REASON_CAP, required=False, label="Why (for other administrators)")
    at_once = forms.IntegerField(
        min_value=1, max_value=relocations.MOST_AT_ONCE, label="At the same time", help_text="Instances."
    )
    shut_down = forms.BooleanField(required=False)


@admin_page
def drain(request: PortalRequest, host_id: int) -> HttpResponse:
    """How each of its instances would be moved off, and doing it."""
    found = find_host(host_id)
    form = DrainForm(request.POST if request.method == "POST" else None, initial={"at_once": settings.DRAIN_AT_ONCE})
    if request.method == "POST" and form.is_valid():
        try:
            relocations.drain_host(request.actor, found, **form.cleaned_data)
        except ComputeError as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, f"The instances of {found.name} are being moved off.")
            return redirect("host", found.pk)
    context = {"host": found, "form": form, "ways": ways_off.all_off(found)}
    return render(request, "hosts/drain.html", context, status=400 if form.errors else 200)


@admin_action
def resume(request: PortalRequest, host_id: int) -> HttpResponse:
    """It takes new instances again."""
    found = find_host(host_id)
    set_enabled(request.actor, found, enabled=True)
    messages.success(request, f"{found.name} takes new instances")
    return answers.done(request, "hosts", stay=True)


@admin_page
def rebalance(request: PortalRequest) -> HttpResponse:
    """The moves that would even out the load, and having them made."""
    problem = ""
    if request.method == "POST":
        try:
            verbs.apply(request.actor, request.POST.get("key", ""))
        except ComputeError as error:
            problem = str(error)
        else:
            messages.success(request, "The instances are being moved.")
            return redirect("rebalance")
    proposal = verbs.propose(request.actor)
    last = Relocation.objects.filter(kind=RelocationKind.REBALANCE).first()
    context = {
        "proposal": proposal,
        "hosts": _loads(proposal),
        "relocation": progress_of(last) if last else None,
        "problem": problem,
    }
    return render(request, "rebalance.html", context, status=409 if problem else 200)


def _loads(proposal: verbs.Proposal) -> list[dict[str, Any]]:
    """Each host with how full it is, and would be, in percent."""
    before, after = proposal.plan.before, proposal.plan.after
    return [
        {"host": host, "before": round(100 * before[host.id]), "after": round(100 * after[host.id])}
        for host in proposal.look.hosts
        if host.id in before
    ]
