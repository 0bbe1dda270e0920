"""The query of a network list: filters on any attribute, chosen fields, order, page. Neutron's rules.

An attribute is declared once, with its value and, where it can be asked for, its condition on the rows.
"""

from __future__ import annotations

import ast
import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import UUID

from django.db.models import Model, Q, QuerySet
from django.http import QueryDict
from rest_framework.exceptions import ParseError

from portal.api.paging import after, limit_of
from portal.api.wire import seconds
from portal.identity.actor import Actor

Row = TypeVar("Row", bound=Model)
Condition = Callable[[list[str]], Q]
PAGING = frozenset({"limit", "marker", "sort_key", "sort_dir", "page_reverse", "fields"})
TRUE, FALSE = frozenset({"true", "1", "t", "yes"}), frozenset({"false", "0", "f", "no"})
NOTHING = Q(pk__in=[])


@dataclass(frozen=True)
class Attribute:
    """``get(row)`` is the value; ``condition`` makes a filter of texts; ``column`` is there where rows sort by it."""

    name: str
    get: Callable[[Any], Any]
    condition: Condition | None = None
    column: str = ""
    admin: bool = False


def text(name: str, column: str = "", **kinds: Any) -> Attribute:
    """A text column, never null."""
    column = column or name
    return Attribute(
        name, lambda row: getattr(row, column), lambda values: Q(**{f"{column}__in": values}), column, **kinds
    )


def optional(name: str, column: str = "") -> Attribute:
    """A column that may be null; rows do not sort by it. An empty filter asks for null."""
    column = column or name

    def condition(values: list[str]) -> Q:
        given = Q(**{f"{column}__in": [value for value in values if value]})
        return given | Q(**{f"{column}__isnull": True}) if "" in values else given

    return Attribute(name, lambda row: getattr(row, column), condition)


def identifier(name: str, column: str) -> Attribute:
    """A UUID; what is none matches nothing."""

    def value(row: Any) -> str | None:
        found = getattr(row, column)
        return str(found) if found is not None else None

    return Attribute(name, value, lambda values: Q(**{f"{column}__in": uuids(values)}), column)


def flag(name: str, column: str = "") -> Attribute:
    """A boolean."""
    column = column or name

    def condition(values: list[str]) -> Q:
        return Q(**{f"{column}__in": [boolean(name, value) for value in values]})

    return Attribute(name, lambda row: getattr(row, column), condition, column)


def number(name: str, column: str = "") -> Attribute:
    """A whole number."""
    column = column or name

    def condition(values: list[str]) -> Q:
        for value in values:
            if not value.isascii() or not value.isdigit() or len(value) > 9:
                raise ParseError(f"Invalid input for {name}. Reason: '{value[:32]}' is not an integer.")
        return Q(**{f"{column}__in": [int(value) for value in values]})

    return Attribute(name, lambda row: getattr(row, column), condition, column)


def moment(name: str) -> Attribute:
    """A time."""
    return Attribute(name, lambda row: seconds(getattr(row, name)), None, name)


def constant(name: str, value: Any, admin: bool = False) -> Attribute:
    """What is the same for all, so far."""
    said = str(value).lower()
    return Attribute(
        name, lambda row: value, lambda values: Q() if said in [one.lower() for one in values] else NOTHING, "", admin
    )


def computed(
    name: str, get: Callable[[Any], Any], condition: Condition | None = None, admin: bool = False
) -> Attribute:
    """A value of its own making."""
    return Attribute(name, get, condition, "", admin)


def uuids(values: list[str]) -> list[UUID]:
    """Those of the texts that are UUIDs."""
    found = []
    for value in values:
        try:
            found.append(UUID(value))
        except ValueError:
            continue
    return found


def boolean(name: str, value: str) -> bool:
    """A boolean of a query. Raises ParseError."""
    if value.lower() not in TRUE | FALSE:
        raise ParseError(f"Invalid input for {name}. Reason: '{value[:32]}' cannot be converted to boolean.")
    return value.lower() in TRUE


def address_in(column: str) -> Condition:
    """A filter on an address column, whatever way the address is written."""

    def condition(values: list[str]) -> Q:
        found = []
        for value in values:
            try:
                found.append(str(ipaddress.ip_address(value)))
            except ValueError:
                continue
        return Q(**{f"{column}__in": found})

    return condition


@dataclass(frozen=True)
class Resource(Generic[Row]):
    """A kind of thing: its names on the wire and its attributes. ``filters`` are conditions that no attribute has."""

    name: str
    collection: str
    attributes: tuple[Attribute, ...]
    filters: dict[str, Condition]

    def render(self, row: Row, actor: Actor, fields: frozenset[str] | None) -> dict[str, Any]:
        """The row as the actor may see it, with the fields that were asked for (None: all)."""
        return {
            one.name: one.get(row)
            for one in self.attributes
            if (fields is None or one.name in fields) and (actor.is_admin or not one.admin)
        }

    def conditions(self, actor: Actor) -> dict[str, Condition]:
        """What this actor may filter by."""
        shown = [one for one in self.attributes if actor.is_admin or not one.admin]
        return {**{one.name: one.condition for one in shown if one.condition is not None}, **self.filters}

    def filtered(self, rows: QuerySet[Row], query: QueryDict, actor: Actor) -> QuerySet[Row]:
        """The rows that the query asks for. Raises ParseError for a filter that there is not (filter-validation)."""
        conditions = self.conditions(actor)
        if unknown := sorted(name for name in query if name not in conditions and name not in PAGING):
            raise ParseError(f"[{', '.join(repr(name[:64]) for name in unknown)}] is invalid attribute for filtering")
        for name, values in query.lists():
            if name in conditions:
                if any("\x00" in value for value in values):
                    raise ParseError(f"Invalid input for {name}: it holds the character NUL.")
                rows = rows.filter(conditions[name]([str(value) for value in values]))
        return rows

    def order(self, query: QueryDict) -> list[tuple[str, bool]]:
        """(column, descending) of each sort key, the unique one last. Raises ParseError."""
        columns = {one.name: one.column for one in self.attributes if one.column}
        keys, directions = query.getlist("sort_key"), query.getlist("sort_dir")
        if directions and len(directions) != len(keys):
            raise ParseError("The number of sort_keys and sort_dirs must be same")
        found = []
        for index, key in enumerate(keys):
            if key not in columns:
                raise ParseError(f"'{key[:64]}' is an invalid attribute for sort keys")
            found.append((columns[key], _descending(directions[index] if directions else "asc")))
        if not keys:
            found.append(("created_at", False))
        return found if ("id", True) in found or ("id", False) in found else [*found, ("id", False)]


def _descending(direction: str) -> bool:
    if direction.lower() not in ("asc", "desc"):
        raise ParseError(f"The value of sort_dir must be 'asc' or 'desc', not '{direction[:32]}'.")
    return direction.lower() == "desc"


def fields_of(query: QueryDict) -> frozenset[str] | None:
    """The fields that were asked for; None: all.

    Neutron takes ``fields=id&fields=name``; the openstack command sends a list as Python writes it.
    """
    found: list[str] = []
    for value in query.getlist("fields"):
        if value.startswith("["):
            try:
                found += [str(one) for one in ast.literal_eval(value[:4096])]
                continue
            except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
                pass
        found.append(value)
    return frozenset(found) if any(found) else None


@dataclass(frozen=True)
class Page(Generic[Row]):
    """A part of a list. ``more``: there may be rows beyond its end (before its start, when it was read backwards)."""

    rows: Sequence[Row]
    more: bool
    backwards: bool


def page_of(rows: QuerySet[Row], query: QueryDict, order: list[tuple[str, bool]], visible: QuerySet[Row]) -> Page[Row]:
    """The page that the query asks for. Raises ParseError."""
    limit = limit_of(query) or limit_of(QueryDict())
    backwards = boolean("page_reverse", query.get("page_reverse", "false"))
    marker = None
    if query.get("marker"):
        marker = visible.filter(pk__in=uuids([str(query["marker"])])).first()
        if marker is None:
            raise ParseError(f"Invalid marker: there is no '{str(query['marker'])[:64]}' here.")
    if backwards:
        order = [(name, not descending) for name, descending in order]
    found = list(after(rows, marker, order)[:limit])
    return Page(found[::-1] if backwards else found, "limit" in query and len(found) == limit, backwards)
