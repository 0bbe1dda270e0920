"""Related rows that were read by other ways than ``prefetch_related``, kept where that would keep them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import Model


def keep_at_hand(row: Model, relation: str, related: Iterable[Any]) -> None:
    """From now on ``row.relation.all()`` are these, without a question to the database."""
    queryset = getattr(row, relation).get_queryset()
    queryset._result_cache, queryset._prefetch_done = list(related), True
    row.__dict__.setdefault("_prefetched_objects_cache", {})[relation] = queryset


def is_at_hand(row: Model, relation: str) -> bool:
    """Whether they are."""
    return relation in getattr(row, "_prefetched_objects_cache", {})
