"""What happened to a host, kept for administrators."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from compute.models import HostEvent
from portal.identity.actor import SYSTEM, Actor
from portal.requestid import current_request_id

KEPT = timedelta(days=90)


def note(host_id: int, kind: str, message: str, actor: Actor = SYSTEM) -> None:
    """Remember it, with who did it; call it in the transaction of the change. The page is told by whoever changes."""
    HostEvent.objects.create(
        host_id=host_id,
        kind=kind,
        message=message,
        user_id=actor.user_id,
        user_name="" if actor.system else actor.user_name,
        request_id=current_request_id(),
    )


def prune() -> None:
    """Forget what is older than it is kept."""
    HostEvent.objects.filter(at__lt=timezone.now() - KEPT).delete()
