"""A resource on the wire: each field is a function of the row, in an interval of versions.

A shape is compiled once for each version that somebody asks for, so that a list of a thousand rows
pays for its values alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, TypeVar

from portal.api.versions import Version

Row = TypeVar("Row")
Value = Callable[[Any, Any], Any]


@dataclass(frozen=True)
class Field:
    """``get(row, context)`` is the value; the field is there from ``since`` to ``until``, both included."""

    name: str
    get: Value
    since: Version | None = None
    until: Version | None = None

    def lives_at(self, version: Version) -> bool:
        """Whether the version has the field."""
        return (self.since is None or self.since <= version) and (self.until is None or version <= self.until)


def field(name: str, get: Value, since: str = "", until: str = "") -> Field:
    """A field; versions as text."""
    return Field(name, get, Version.parse(since) if since else None, Version.parse(until) if until else None)


class Shape(Generic[Row]):
    """All fields that a resource ever had."""

    def __init__(self, *fields: Field) -> None:
        self.fields = fields
        self._at = lru_cache(maxsize=256)(self._compile)

    def _compile(self, version: Version) -> tuple[tuple[str, Value], ...]:
        return tuple((one.name, one.get) for one in self.fields if one.lives_at(version))

    def render(self, row: Row, version: Version, context: Any = None) -> dict[str, Any]:
        """The row as this version shows it. ``context`` is whatever the fields need besides."""
        return {name: get(row, context) for name, get in self._at(version)}

    def versions(self) -> set[Version]:
        """Every version at which a field comes or goes, for the completeness test."""
        found = set()
        for one in self.fields:
            found |= {edge for edge in (one.since, one.until) if edge is not None}
        return found
