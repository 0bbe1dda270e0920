"""What the views of the identity API share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, TypeVar, cast

from django.conf import settings
from django.db.models import Model, QuerySet
from rest_framework.exceptions import ParseError
from rest_framework.response import Response

from portal.api.body import Body
from portal.api.paging import after, limit_of, next_link
from portal.api.wire import ApiView
from portal.identity.errors import NotAllowed, NotFound
from portal.identity.policy import Forbidden, enforce
from portal.identity.tokens import Token

PREFIX = "/identity/v3"
Row = TypeVar("Row", bound=Model)
# Keystone's comparators: name__contains and so on.
COMPARATORS = {
    "contains": "contains",
    "icontains": "icontains",
    "startswith": "startswith",
    "istartswith": "istartswith",
    "endswith": "endswith",
    "iendswith": "iendswith",
    "iequals": "iexact",
}


def url(path: str) -> str:
    """The address of a path of this API."""
    return f"{settings.PUBLIC_URL}{PREFIX}/{path}"


def self_link(path: str) -> dict[str, str]:
    """The links of a single resource."""
    return {"self": url(path)}


def is_true(text: str) -> bool:
    """What a flag in a query means: any value but a no, the empty one included, is a yes."""
    return text.lower() not in ("0", "false", "f", "no", "n", "off")


class IdentityView(ApiView):
    """A view of the identity API."""

    form: ClassVar[str] = "identity"

    def handle_exception(self, exc: Exception) -> Response:
        """As elsewhere, but in Keystone's words."""
        if isinstance(exc, Forbidden):
            exc = NotAllowed(f"{exc.rule}.")
        return super().handle_exception(exc)

    @property
    def token(self) -> Token:
        """The token that came with the request."""
        return cast("Token", self.request.auth)

    @property
    def query(self) -> dict[str, str]:
        """The query without what Python clients send for 'no filter': the word None."""
        return {key: str(value) for key, value in self.request.GET.items() if value != "None"}

    def enforce(self, rule: str, project_id: str | None = None, **target: str | None) -> None:
        """Raise Forbidden unless the caller may; ``target``: user_id, domain_id."""
        enforce(self.actor, f"identity:{rule}", project_id, **target)

    def wrapped(self, name: str) -> dict[str, Any]:
        """The object under the one key that a body has. Raises ParseError (400)."""
        if set(self.body) != {name} or not isinstance(self.body[name], dict):
            raise ParseError(f"The request body must be an object with the one key {name}, an object itself.")
        inner: dict[str, Any] = self.body[name]
        return inner

    def changes(self, name: str) -> dict[str, Any]:
        """As ``wrapped``, for an update: with something in it."""
        if not (inner := self.wrapped(name)):
            raise ParseError(f"Nothing to change: the object {name} is empty.")
        return inner

    def read_changes(self, name: str, reader: type[Body], object_id: str) -> dict[str, Any]:
        """The changes of an update. Clients may send the id along (Tempest does), but not another one."""
        changes = reader.read(self.changes(name))
        if changes.pop("id", object_id) != object_id:
            raise ParseError(f"The id of a {name} does not change.")
        return changes

    def found(self, rows: QuerySet[Row], kind: str, object_id: str, rule: str, **target: str | None) -> Row:
        """The row that the caller may see. Without the right to look, nobody learns whether it exists (403)."""
        row = rows.filter(pk=object_id).first()
        self.enforce(rule, **{"domain_id": getattr(row, "domain_id", None), **target})
        if row is None:
            raise NotFound(kind, object_id)
        return row

    def filtered(self, rows: QuerySet[Row], *names: str) -> QuerySet[Row]:
        """Rows by these fields of the query (``name`` with its comparators) and by ``enabled``."""
        for key, value in self.query.items():
            name, _, comparator = key.partition("__")
            if name not in names:
                continue
            if name == "enabled":
                rows = rows.filter(enabled=is_true(value))
            elif not comparator:
                rows = rows.filter(**{name: value})
            elif comparator in COMPARATORS and name == "name":
                rows = rows.filter(**{f"name__{COMPARATORS[comparator]}": value})
        return rows

    def listed(self, key: str, rows: QuerySet[Row], shape: Callable[[Row], dict[str, Any]]) -> Response:
        """A list of rows; all of them, or a page when the query has a limit or a marker."""
        query = self.query
        following = None
        if "limit" in query or "marker" in query:
            limit = limit_of(self.request.GET)
            marker = rows.filter(pk=query["marker"]).first() if "marker" in query else None
            if marker is None and "marker" in query:
                raise NotFound("marker", query["marker"])
            page = list(after(rows, marker, [("pk", False)])[: limit + 1])
            if len(page) > limit > 0:
                following = next_link(self.request.path, self.request.GET, page[limit - 1].pk)["href"]
            return self.collection(key, [shape(row) for row in page[:limit]], following)
        return self.collection(key, [shape(row) for row in rows])

    def collection(self, key: str, items: Iterable[dict[str, Any]], following: str | None = None) -> Response:
        """A list on the wire, with Keystone's links."""
        here = settings.PUBLIC_URL + self.request.get_full_path()
        return Response({key: list(items), "links": {"next": following, "self": here, "previous": None}})
