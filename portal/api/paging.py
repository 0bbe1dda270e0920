"""Paging as OpenStack does it: ``limit`` and ``marker``, and a link to the next page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar
from urllib.parse import urlencode

from django.conf import settings
from django.db.models import Model, Q, QuerySet
from django.http import QueryDict
from rest_framework.exceptions import ParseError

MAX_LIMIT = 1000
Row = TypeVar("Row", bound=Model)


def limit_of(query: QueryDict, maximum: int = MAX_LIMIT) -> int:
    """``limit``, at most ``maximum``. Raises ParseError for what is no whole number from 0 on."""
    text = query.get("limit")
    if text is None:
        return maximum
    if not text.isascii() or not text.isdigit() or len(text) > 10:
        raise ParseError(f"Invalid input for query parameters limit. Value: {text[:50]}. It must be a whole number.")
    return min(int(text), maximum)


def after(rows: QuerySet[Row], marker: Row | None, order: Sequence[tuple[str, bool]]) -> QuerySet[Row]:
    """Rows in ``order`` ((field, descending) …) that come after the marker. The last field must be unique."""
    rows = rows.order_by(*(f"-{name}" if descending else name for name, descending in order))
    if marker is None:
        return rows
    beyond = Q()
    equal: dict[str, Any] = {}
    for name, descending in order:
        value = getattr(marker, name)
        if value is not None:
            beyond |= Q(**equal, **{f"{name}__{'lt' if descending else 'gt'}": value})
        equal[name] = value
    return rows.filter(beyond)


def next_link(path: str, query: QueryDict, marker: str) -> dict[str, str]:
    """The ``next`` link of a list."""
    pairs = [(key, value) for key, values in query.lists() for value in values if key != "marker"]
    return {"rel": "next", "href": f"{settings.PUBLIC_URL}{path}?{urlencode([*pairs, ('marker', marker)])}"}
