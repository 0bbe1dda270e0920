"""Statements that are always the same but for some values: Django makes the SQL of each once.

Making it takes longer than the database needs to answer most of them. What a request or a step of an
operation asks each time is stated here, as querysets whose values are still to be given; everything
else is asked as usual.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, Generic, TypeVar, cast

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper
from django.db.models import DateTimeField, Expression, Field, Model, QuerySet
from django.db.models.sql import UpdateQuery

M = TypeVar("M", bound=Model)
T = TypeVar("T")
SQL = tuple[str, tuple[Any, ...]]


class Given(Expression):
    """A value that each run gives by this name; ``field``, of a model, says how the database has it."""

    def __init__(self, name: str, field: Field[Any, Any]) -> None:
        super().__init__(output_field=field)
        self.name = name

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        """A place in the SQL, and itself among the parameters."""
        return "%s", (self,)

    def of(self, values: dict[str, Any]) -> Any:
        """The value as the database takes it."""
        return self.output_field.get_db_prep_save(_as_saved(values[self.name], self.output_field), connection)


class GivenList(Given):
    """Several values that each run gives, for ``in``."""

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        """A list is one value: else the SQL would be another one for each length."""
        if connection.vendor == "postgresql":
            return f"(SELECT unnest(%s::{self.output_field.rel_db_type(connection)}[]))", (self,)
        return "(SELECT value FROM json_each(%s))", (self,)

    def of(self, values: dict[str, Any]) -> Any:
        """The values as the database takes them."""
        found = [self.output_field.get_db_prep_save(one, connection) for one in values[self.name]]
        return found if connection.vendor == "postgresql" else json.dumps(found)


def among(model: type[Model], **renamed: str) -> dict[str, Given]:
    """Conditions for ``filter``: these fields are among the values of the names that are said for them."""
    return {f"{name}__in": GivenList(its_name, _field(model, name)) for name, its_name in renamed.items()}


def given(model: type[Model], *names: str, **renamed: str) -> dict[str, Given]:
    """Conditions for ``filter``: these fields equal the values of their names, or of the name that is said for them."""
    fields = {name: _field(model, name) for name in (*names, *renamed)}
    return {name: Given(renamed.get(name, name), field) for name, field in fields.items()}


def _as_saved(value: Any, field: Field[Any, Any]) -> Any:
    """A row stands for its key."""
    return value.prepare_database_save(field) if isinstance(value, Model) else value


def moment(name: str) -> Given:
    """A moment that each run gives by this name, to compare with."""
    return Given(name, DateTimeField())


def _field(model: type[Model], name: str) -> Field[Any, Any]:
    return cast("Field[Any, Any]", model._meta.pk if name == "pk" else model._meta.get_field(name))


@contextmanager
def _prepared() -> Iterator[None]:
    """Meanwhile PostgreSQL plans a statement once for a connection: to plan one costs it more than to run it.

    Django's own cursors send the values within the statement, which is then another one each time. Where
    statements are logged, they stay, as of a prepared one nothing could be logged.
    """
    if connection.vendor != "postgresql" or connection.queries_logged:
        yield
        return
    from django.db.backends.postgresql.base import ServerBindingCursor  # without PostgreSQL's client there is none

    connection.ensure_connection()
    session = connection.connection
    usual, session.cursor_factory = session.cursor_factory, ServerBindingCursor
    try:
        yield
    finally:
        session.cursor_factory = usual


@contextmanager
def _written() -> Iterator[CursorWrapper]:
    """A cursor for what is written; what fails inside a transaction ends it, as elsewhere in Django."""
    with transaction.mark_for_rollback_on_error(connection.alias), _prepared(), connection.cursor() as cursor:
        yield cursor


class Rows(Generic[T]):
    """Rows of a model that are always chosen in the same way. ``make`` gives the queryset, without prefetches.

    ``also``: expressions that each ``update`` writes besides.
    """

    def __init__(self, make: Callable[[], QuerySet[Any, T]], **also: Any) -> None:
        self._make, self._also = make, also
        self._made: dict[Any, SQL] = {}
        self._asked: dict[str, tuple[QuerySet[Any, T], Any]] = {}

    # asking -----------------------------------------------------------------------------------------
    def rows(self, **values: Any) -> list[tuple[Any, ...]]:
        """As the database gives them, for comparing and counting."""
        with _prepared(), connection.cursor() as cursor:
            cursor.execute(*self._sql(connection.vendor, self._select, values))
            return list(cursor.fetchall())

    def all(self, **values: Any) -> list[T]:
        """As the queryset gives them: objects, or tuples of values."""
        sql = self._sql(connection.vendor, self._select, values)
        queryset, compiler = self._asked[connection.vendor]
        # Copies, for this thread and these values: the compiler knows the columns, and need not make the SQL.
        compiler, queryset = copy.copy(compiler), queryset.all()
        compiler.connection, compiler.as_sql = connection, lambda *_, **__: sql
        queryset.query.get_compiler = lambda *_, **__: compiler  # type: ignore[method-assign]  # of this copy
        with _prepared():
            return list(queryset)

    def first(self, **values: Any) -> T | None:
        """The first one."""
        return next(iter(self.all(**values)), None)

    def exist(self, **values: Any) -> bool:
        """Whether there are any. The queryset should ask for little."""
        return bool(self.rows(**values))

    # writing ----------------------------------------------------------------------------------------
    def update(self, fields: dict[str, Any], /, **values: Any) -> int:
        """Set these fields; one conditional UPDATE. Returns how many rows were changed."""
        named = {f"new {name}": value for name, value in fields.items()}
        sql = self._sql((connection.vendor, *fields), lambda: self._update(list(fields)), {**values, **named})
        with _written() as cursor:
            cursor.execute(*sql)
            return int(cursor.rowcount)

    # making the SQL ---------------------------------------------------------------------------------
    def _sql(self, key: Any, make: Callable[[], tuple[str, Sequence[Any]]], values: dict[str, Any]) -> SQL:
        made = self._made.get(key)
        if made is None:
            sql, parameters = make()
            made = self._made[key] = sql, tuple(parameters)
        sql, parameters = made
        return sql, tuple([one.of(values) if isinstance(one, Given) else one for one in parameters])

    def _select(self) -> tuple[str, Sequence[Any]]:
        queryset = self._make()
        compiler = queryset.query.get_compiler(connection=connection)
        made: tuple[str, Sequence[Any]] = compiler.as_sql()
        self._asked[connection.vendor] = queryset, compiler
        return made

    def _update(self, names: Sequence[str]) -> tuple[str, Sequence[Any]]:
        queryset = self._make()
        query: Any = queryset.query.chain(UpdateQuery)
        fields = {name: Given(f"new {name}", _field(queryset.model, name)) for name in names}
        query.add_update_values({**self._also, **fields})
        made: tuple[str, Sequence[Any]] = query.get_compiler(connection=connection).as_sql()
        return made


def insert(*rows: M) -> None:
    """New rows of one model, in one statement. They learn their keys; signals are not sent."""
    sql, fields, key = _insert(type(rows[0]), len(rows), connection.vendor)
    with _written() as cursor:
        cursor.execute(sql, _values(rows, fields))
        keys = cursor.fetchall() if key else []
    for row, made in zip(rows, keys, strict=False):
        setattr(row, cast(str, key), made[0])
    for row in rows:
        row._state.adding, row._state.db = False, connection.alias


def insert_if_free(row: Model) -> bool:
    """One new row that brings its own key, unless what it must have alone is another's. Returns whether it is there."""
    sql, fields, _ = _insert(type(row), 1, connection.vendor)
    with _written() as cursor:
        cursor.execute(f"{sql} ON CONFLICT DO NOTHING", _values([row], fields))
        if not cursor.rowcount:
            return False
    row._state.adding, row._state.db = False, connection.alias
    return True


def _values(rows: Sequence[Model], fields: Sequence[Any]) -> list[Any]:
    return [one.get_db_prep_save(one.pre_save(row, add=True), connection) for row in rows for one in fields]


@cache
def _insert(model: type[Model], count: int, vendor: str) -> tuple[str, list[Any], str | None]:
    """The SQL, the fields that it takes the values of, and the name of the key that the database makes."""
    key, quote = model._meta.auto_field, connection.ops.quote_name
    fields = [one for one in model._meta.concrete_fields if one is not key]
    columns = ", ".join(quote(str(one.column)) for one in fields)
    places = ", ".join([f"({', '.join(['%s'] * len(fields))})"] * count)
    sql = f"INSERT INTO {quote(model._meta.db_table)} ({columns}) VALUES {places}"  # noqa: S608  (names of the models)
    return (f"{sql} RETURNING {quote(str(key.column))}", fields, key.attname) if key else (sql, fields, None)


def update_each(model: type[Model], names: Sequence[str], values: Mapping[Any, Sequence[Any]], null: str = "") -> int:
    """Set these fields of several rows, in each to values of its own, by the rows' keys; one UPDATE.

    ``null`` names a field that must still be NULL. Returns how many rows were changed. SQLite 3.33 and later.
    """
    sql, fields = _update_each(model, tuple(names), len(values), null, connection.vendor)
    each = [(key, *row) for key, row in values.items()]
    parameters = [
        one.get_db_prep_save(_as_saved(value, one), connection)
        for row in each
        for value, one in zip(row, fields, strict=True)
    ]
    with _written() as cursor:
        cursor.execute(sql, parameters)
        return int(cursor.rowcount)


def _type(field: Field[Any, Any]) -> str:
    """Its type without a length: a value that is too long is an error, and is not cut to it."""
    return str(field.db_type(connection)).partition("(")[0]


@cache
def _update_each(
    model: type[Model], names: tuple[str, ...], count: int, null: str, vendor: str
) -> tuple[str, list[Field[Any, Any]]]:
    """The SQL, and the fields that it takes the values of, the key first."""
    fields = [_field(model, name) for name in ("pk", *names)]
    quote = connection.ops.quote_name
    table, columns = quote(model._meta.db_table), [quote(str(one.column)) for one in fields]
    # Both databases call the columns of a list of values column1, column2, …; PostgreSQL is to be told their types.
    types = [f"::{_type(one)}" if vendor == "postgresql" else "" for one in fields]
    given_ones = [f"given.column{place}{its_type}" for place, its_type in enumerate(types, 1)]
    changes = ", ".join(f"{column} = {one}" for column, one in zip(columns[1:], given_ones[1:], strict=True))
    places = ", ".join([f"({', '.join(['%s'] * len(fields))})"] * count)
    still = f" AND {table}.{quote(str(_field(model, null).column))} IS NULL" if null else ""
    those = f"(VALUES {places}) AS given WHERE {table}.{columns[0]} = {given_ones[0]}{still}"
    return f"UPDATE {table} SET {changes} FROM {those}", fields  # noqa: S608  (names of the models)
