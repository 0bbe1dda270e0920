"""What identity changes, the pages learn of: identity itself knows nothing of the change feed."""

from __future__ import annotations

from typing import Any

from django.dispatch import receiver

from compute.models import announce
from portal.identity.signals import changed

SHOWN = ("project", "user")


@receiver(changed)
def pass_on(sender: type, kind: str, object_id: str, project_id: str, **_: Any) -> None:
    """Write it to the feed, in the transaction that it came from."""
    if kind in SHOWN:
        announce(kind, object_id, project_id)
