"""What the pages about one host share: finding it, and what is shown of its fence and of what happened to it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db.models import Q
from django.utils import timezone

from compute.errors import NotFound
from compute.models import Host, ItemState, Relocation, RelocationState
from compute.models.fencing import OPEN_FENCINGS
from compute.operations import automatic, relocations

FENCINGS_SHOWN = 5
EVENTS_SHOWN = 20
ITEMS_SHOWN = 200
DONE_SHOWN = timedelta(hours=1)  # there is nothing to be done about one that has gone well


def find_host(host_id: int) -> Host:
    """The host. Raises NotFound."""
    found = Host.objects.filter(pk=host_id).first()
    if found is None:
        raise NotFound(f"Host {host_id} could not be found.")
    return found


def about_fence(host: Host) -> dict[str, Any]:
    """What the host's page shows of its fence and its history."""
    newest = list(host.fencings.all()[:FENCINGS_SHOWN])
    open_one = next((one for one in newest if one.state in OPEN_FENCINGS), None)
    return {"fencings": newest, "open_fencing": open_one, "events": host.events.all()[:EVENTS_SHOWN]}


def about_relocation(host: Host) -> dict[str, Any]:
    """What the host's page shows of the newest undertaking that leaves it, and whether it is evacuated by itself."""
    shown = ~Q(state=RelocationState.DONE) | Q(finished_at__gte=timezone.now() - DONE_SHOWN)
    newest = Relocation.objects.filter(host=host).first()
    newest = Relocation.objects.filter(shown, pk=newest.pk).select_related("host").first() if newest else None
    return {"relocation": progress_of(newest) if newest else None, "automatic_after": automatic.delays().get(host.pk)}


def progress_of(relocation: Relocation) -> dict[str, Any]:
    """How far an undertaking is: those under way and those that failed first."""
    order = {ItemState.MOVING: 0, ItemState.FAILED: 1, ItemState.WAITING: 2, ItemState.DONE: 3}
    items = relocation.items.select_related("instance__host", "instance__project", "action", "target")
    shown = sorted(items, key=lambda one: (order[ItemState(one.state)], one.pk))
    counts = relocations.counts(relocation)
    total = sum(counts.values())
    return {"row": relocation, "items": shown[:ITEMS_SHOWN], "counts": counts, "total": total}
