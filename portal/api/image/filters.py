"""The query of GET /v2/images: filters, order, page."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db.models import F, Q, Value
from django.db.models.fields.json import KeyTransform
from django.db.models.functions import Coalesce
from django.http import QueryDict
from rest_framework.exceptions import ParseError

from compute.models import Image, ImageVisibility
from compute.models.image import ImageQuerySet
from portal.identity.actor import Actor

PAGING = frozenset({"limit", "marker", "sort", "sort_key", "sort_dir"})
VISIBILITIES = (*ImageVisibility.values, "all")
MEMBER_STATUSES = ("pending", "accepted", "rejected", "all")
# Names on the wire and columns. Columns that may be null are ordered with nulls as the least value.
TEXTS = {
    "name": "name",
    "status": "status",
    "disk_format": "disk_format",
    "container_format": "container_format",
    "owner": "project_id",
    "checksum": "checksum",
    "os_hash_algo": "hash_algorithm",
    "os_hash_value": "hash_value",
}
NUMBERS = {
    "size": "size",
    "size_min": "size__gte",
    "size_max": "size__lte",
    "min_ram": "min_memory_mb",
    "min_disk": "min_disk_gb",
    "virtual_size": "virtual_size",
}
BOOLEANS = {"protected": "protected", "os_hidden": "hidden"}
TIMES = ("created_at", "updated_at")
OPERATORS = {"gt": "gt", "gte": "gte", "lt": "lt", "lte": "lte", "eq": "exact", "neq": "exact"}
NULLABLE = {"name": "", "disk_format": "", "container_format": "", "size": -1}
SORTABLE = frozenset({*NULLABLE, "status", "id", "created_at", "updated_at"})
Order = list[tuple[str, bool]]


def listed(actor: Actor, query: QueryDict) -> ImageQuerySet:
    """The images that the query asks for, of those that the actor may see. Raises ParseError."""
    rows = _of_visibility(Image.objects.visible_to(actor), actor, query)
    if "os_hidden" not in query:
        rows = rows.filter(hidden=False)
    for name, values in query.lists():
        if name not in PAGING and name not in ("visibility", "member_status"):
            for value in values:
                rows = _filter(rows, name, value)
    return rows


def _of_visibility(rows: ImageQuerySet, actor: Actor, query: QueryDict) -> ImageQuerySet:
    wanted, status = query.get("visibility"), query.get("member_status", "accepted")
    if wanted is not None and wanted not in VISIBILITIES:
        raise ParseError(f"Invalid visibility value: {wanted[:64]}")
    if status not in MEMBER_STATUSES:
        raise ParseError(f"Invalid status: {status[:64]}")
    if wanted == "all":
        return rows
    if wanted is not None:
        return rows.filter(visibility=wanted)
    # As Glance: others' community images are found by those who ask for them.
    return rows.exclude(Q(visibility=ImageVisibility.COMMUNITY) & ~Q(project_id=actor.project_id or ""))


def _filter(rows: ImageQuerySet, name: str, value: str) -> ImageQuerySet:
    if "\x00" in value or "\x00" in name:
        raise ParseError(f"Invalid value of the filter {name[:64]!r}: it holds the character NUL.")
    for table, condition in _TABLES:
        if name in table:
            return rows.filter(condition(name, value))
    # Anything else is a property of the user's own.
    return rows.alias(wanted_property=KeyTransform(name, "properties")).filter(wanted_property=value)


def _text(name: str, value: str) -> Q:
    values = _listed_values(value)
    return Q(**{TEXTS[name]: value}) if values is None else Q(**{f"{TEXTS[name]}__in": values})


def _number(name: str, value: str) -> Q:
    if not re.fullmatch(r"\d{1,18}", value, re.ASCII):
        raise ParseError(f"Invalid value of the filter {name}: it must be a whole number from 0 on.")
    return Q(**{NUMBERS[name]: int(value)})


def _boolean(name: str, value: str) -> Q:
    if value.lower() not in ("true", "false"):
        raise ParseError(f"Invalid value of the filter {name}: it must be true or false.")
    return Q(**{BOOLEANS[name]: value.lower() == "true"})


def _time(name: str, value: str) -> Q:
    operator, _, text = value.partition(":")
    if operator not in OPERATORS:
        operator, text = "eq", value
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ParseError(f"Invalid value of the filter {name}: {text[:64]!r} is not a time.") from error
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    condition = Q(**{f"{name}__{OPERATORS[operator]}": moment})
    return ~condition if operator == "neq" else condition


def _id(name: str, value: str) -> Q:
    return Q(pk__in=[found for text in _listed_values(value) or [value] if (found := _uuid(text)) is not None])


def _tag(name: str, value: str) -> Q:
    return Q(tags__holds=value)


_TABLES: tuple[tuple[Any, Callable[[str, str], Q]], ...] = (
    (TEXTS, _text),
    (NUMBERS, _number),
    (BOOLEANS, _boolean),
    (TIMES, _time),
    (("id",), _id),
    (("tag",), _tag),
)


def _listed_values(value: str) -> list[str] | None:
    """The values of ``in:a,"b,c"``; None where the value is not a list."""
    if not value.startswith("in:"):
        return None
    return [one for one in next(csv.reader([value[3:]]), []) if one]


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def order_of(query: QueryDict) -> Order:
    """(name, descending) of each key, the unique one last. Glance's default is newest first. Raises ParseError."""
    keys = _new_style(query) if "sort" in query else _classic(query)
    for name, _ in keys:
        if name not in SORTABLE:
            raise ParseError(f"Invalid sort key: {name[:64]}. It must be one of {', '.join(sorted(SORTABLE))}.")
    names = [name for name, _ in keys]
    if len(set(names)) != len(names):
        raise ParseError("A sort key may be given once.")
    last = keys[0][1] if keys else True
    return [*keys, *((name, last) for name in ("created_at", "id") if name not in names)]


def _new_style(query: QueryDict) -> Order:
    if "sort_key" in query or "sort_dir" in query:
        raise ParseError("The old and the new sorting syntax cannot be combined.")
    keys = []
    for text in str(query["sort"]).split(","):
        name, _, direction = text.strip().partition(":")
        keys.append((name, _is_descending(direction or "desc")))
    return keys


def _classic(query: QueryDict) -> Order:
    names, directions = query.getlist("sort_key"), query.getlist("sort_dir")
    if not names:
        names = ["created_at"]
    if len(directions) > 1 and len(directions) != len(names):
        raise ParseError("Number of sort dirs does not match the number of sort keys.")
    directions = directions or ["desc"]
    return [(name, _is_descending(directions[min(index, len(directions) - 1)])) for index, name in enumerate(names)]


def _is_descending(direction: str) -> bool:
    if direction not in ("asc", "desc"):
        raise ParseError(f"Invalid sort direction: {direction[:64]}. It must be one of asc, desc.")
    return direction == "desc"


def ordered(rows: ImageQuerySet, order: Order) -> tuple[ImageQuerySet, Order]:
    """Rows that carry a sortable value of each key, and the order by these."""
    values = {
        f"by_{name}": Coalesce(F(name), Value(NULLABLE[name])) if name in NULLABLE else F(name) for name, _ in order
    }
    return rows.annotate(**values), [(f"by_{name}", descending) for name, descending in order]
