"""A lookup that Django lacks on SQLite: whether a JSON list holds a text."""

from __future__ import annotations

import json
from typing import Any

from django.db.models import JSONField, Lookup


@JSONField.register_lookup
class Holds(Lookup):
    """``tags__holds="web"``: the list has this very element."""

    lookup_name = "holds"
    prepare_rhs = False

    def get_db_prep_lookup(self, value: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        """The element as it is; not as the JSON document that the field would make of it."""
        return "%s", (value,)

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        """SQLite: look through the list."""
        left, left_params = self.process_lhs(compiler, connection)
        return f"EXISTS (SELECT 1 FROM json_each({left}) WHERE value = %s)", (*left_params, self.rhs)  # noqa: S608  (a column)

    def as_postgresql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        """PostgreSQL: containment."""
        left, left_params = self.process_lhs(compiler, connection)
        return f"{left} @> %s::jsonb", (*left_params, json.dumps([self.rhs]))
