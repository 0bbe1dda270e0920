"""The change feed: whatever changes a visible row writes a row here, in the same transaction."""

from __future__ import annotations

from collections.abc import Iterable

from django.db import models
from django.utils import timezone

from portal.compiled import insert


class Change(models.Model):
    """Something that pages may show has changed. ``project_id`` empty: only administrators see it."""

    kind = models.CharField(max_length=16)  # "server", "image", "host", "network", …
    object_id = models.CharField(max_length=64)
    project_id = models.CharField(max_length=64, blank=True, default="")
    at = models.DateTimeField(default=timezone.now, db_index=True)

    def __str__(self) -> str:
        return f"{self.kind} {self.object_id}"


def announce(kind: str, object_id: object, project_id: str = "") -> None:
    """Tell the pages that an object changed; call it inside the transaction that changes it."""
    announce_each((kind, object_id, project_id))


def announce_all(kind: str, changed: Iterable[tuple[object, str]]) -> None:
    """The same of several objects of a kind, each with its project."""
    announce_each(*((kind, one, project) for one, project in changed))


def announce_each(*changed: tuple[str, object, str]) -> None:
    """The same of several objects: their kinds, ids and projects."""
    rows = [Change(kind=kind, object_id=str(one), project_id=project) for kind, one, project in changed]
    if rows:
        insert(*rows)
