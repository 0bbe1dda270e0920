"""What the pages about one host share: finding it, and what is shown of its fence and of what happened to it."""

from __future__ import annotations

from typing import Any

from compute.errors import NotFound
from compute.models import Host
from compute.models.fencing import OPEN_FENCINGS

FENCINGS_SHOWN = 5
EVENTS_SHOWN = 20


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
