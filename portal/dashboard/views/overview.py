"""The first page: how much of the quota is used, what goes on, and what needs attention."""

from __future__ import annotations

from typing import Any

from django.db.models import Count, Q
from django.http import HttpResponse
from django.shortcuts import render

from compute.models import Action, Host, HostState, Image, Instance, KeyPair, Network, VmState
from compute.operations.boot import Boot
from portal.dashboard.access import PortalRequest, page
from portal.dashboard.views.instance import label_of
from portal.dashboard.views.launch import quota_left
from portal.identity.actor import Actor
from portal.identity.policy import allows

RECENT = 8
TROUBLES_SHOWN = 6


@page
def overview(request: PortalRequest) -> HttpResponse:
    """The overview of the project."""
    actor = request.actor
    assert actor.project_id is not None
    recent = Action.objects.filter(instance__project_id=actor.project_id).select_related("instance")[:RECENT]
    context = {
        "quota": quota_left(actor.project_id),
        "counts": _counts(actor),
        "recent": [(row, label_of(row)) for row in recent],
        "failed": _failed(actor),
        "hosts_in_trouble": _hosts_in_trouble() if actor.is_admin else [],
        "hosts_missing": actor.is_admin and not Host.objects.exists(),
        "may_launch": allows(actor, Boot.policy, actor.project_id),
    }
    return render(request, "overview.html", context)


def _counts(actor: Actor) -> dict[str, Any]:
    states = (
        Instance.objects.alive()
        .visible_to(actor)
        .aggregate(
            all=Count("id"),
            active=Count("id", filter=Q(vm_state=VmState.ACTIVE)),
            stopped=Count("id", filter=Q(vm_state=VmState.STOPPED)),
            error=Count("id", filter=Q(vm_state=VmState.ERROR)),
            busy=Count("id", filter=Q(task_state__isnull=False)),
        )
    )
    return {
        **states,
        "images": Image.objects.visible_to(actor).count(),
        "key_pairs": KeyPair.objects.filter(user_id=actor.user_id).count(),
        "networks": Network.objects.visible_to(actor).count(),
    }


def _failed(actor: Actor) -> list[tuple[Instance, str]]:
    """Instances in error, with the sentence of their last fault."""
    rows = Instance.objects.alive().visible_to(actor).filter(vm_state=VmState.ERROR).prefetch_related("faults")
    return [(one, faults[-1].message if (faults := list(one.faults.all())) else "") for one in rows[:TROUBLES_SHOWN]]


def _hosts_in_trouble() -> list[Host]:
    unheard = Q(pk__in=Host.objects.unheard())
    return list(Host.objects.filter(unheard | Q(state=HostState.DOWN) | Q(forced_down=True) | Q(enabled=False)))
