"""Undertakings that move many instances: ending one, and going on with what is left."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.urls import reverse

from compute.errors import ComputeError, NotFound
from compute.models import Relocation
from compute.operations import relocations
from portal.dashboard import answers
from portal.dashboard.access import PortalRequest, admin_action


@admin_action
def act(request: PortalRequest, relocation_id: int) -> HttpResponse:
    """Stop it, or (``how`` is ``retry``) go on and try again what failed; ``shut_down``: also what runs."""
    found = Relocation.objects.filter(pk=relocation_id).first()
    if found is None:
        raise NotFound(f"Relocation {relocation_id} could not be found.")
    try:
        how = request.POST.get("how")
        if how in ("retry", "shut_down"):
            relocations.retry(request.actor, found, **({"shut_down": True} if how == "shut_down" else {}))
            messages.success(request, f"The {found.kind} goes on")
        else:
            relocations.stop(request.actor, found)
            messages.success(request, "Nothing more is begun; what is under way goes on")
    except ComputeError as error:
        answers.refused(request, error)
    to = reverse("host", args=[found.host_id]) if found.host_id else "rebalance"
    return answers.done(request, to, stay=True)
