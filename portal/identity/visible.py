"""What an actor may see, asked with SQL that is made once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast

from django.db.models import QuerySet

from portal.compiled import Given, Rows
from portal.identity.actor import Actor
from portal.identity.models import Project

T = TypeVar("T")


class VisibleRows(Generic[T]):
    """Rows that are always chosen in the same way but for who asks. ``make`` gives the queryset for an actor.

    Of the actor it may read whether it is an administrator, and the project, which must be one.
    """

    def __init__(self, make: Callable[[Actor], QuerySet[Any, T]]) -> None:
        project = cast("str", Given("viewing project", Project._meta.pk))
        self._administrators = Rows(lambda: make(Actor("", project_id=project, roles=frozenset({"admin"}))))
        self._others = Rows(lambda: make(Actor("", project_id=project)))

    def first(self, actor: Actor, **values: Any) -> T | None:
        """The first one that the actor may see."""
        rows = self._administrators if actor.is_admin else self._others
        return rows.first(**values, **{"viewing project": actor.project_id})
