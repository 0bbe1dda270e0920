"""Queries that are always the same, made into SQL once: building one costs more than asking it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from django.db import connection
from django.db.models import QuerySet


class Compiled:
    """One such query. Its rows come as the database gives them, for comparing and counting."""

    def __init__(self, make: Callable[[], QuerySet[Any, Any]]) -> None:
        self._make = make

    @cached_property
    def _sql(self) -> tuple[str, tuple[Any, ...]]:
        sql, parameters = self._make().query.sql_with_params()
        return sql, tuple(parameters)

    def rows(self) -> list[tuple[Any, ...]]:
        """Ask it."""
        with connection.cursor() as cursor:
            cursor.execute(*self._sql)
            return list(cursor.fetchall())
