"""What the views of the compute API share: the range of versions, rules of calls, links, lookups."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar
from uuid import UUID

from django.conf import settings
from django.http import Http404, HttpRequest
from rest_framework.exceptions import APIException, ParseError

from compute.errors import NotFound
from compute.models import Instance
from compute.models.instance import InstanceQuerySet
from portal.api.versions import Range, Version, VersionedViewMixin, between
from portal.api.wire import ApiView
from portal.identity.actor import Actor
from portal.identity.policy import enforce

RANGE = Range("compute", Version(2, 1), Version(2, 100))
ROOT = "/compute"
Handler = TypeVar("Handler", bound=Callable[..., Any])


class NotServed(APIException):
    """Nova has it, Nacelle does not (HTTP 501)."""

    status_code = 501


class PinnedRange(Range):
    """The versions of ``/v2``, the legacy path: 2.1 alone, whatever the headers say."""

    def asked(self, request: HttpRequest) -> Version:
        """The least."""
        return self.minimum

    def headers(self, version: Version | None) -> dict[str, str]:
        """Nothing: the legacy path knows of no microversions."""
        return {}


LEGACY = PinnedRange("compute", RANGE.minimum, RANGE.maximum)


def call(rule: str, *, since: str = "2.1", until: str | None = None) -> Callable[[Handler], Handler]:
    """Say of a handler which policy rule it asks for, and in which versions it is there.

    Outside of them it answers 404, as a path that does not exist. What belongs to somebody else is
    not found either, which is the handler's lookup's business.
    """

    def decorate(handler: Handler) -> Handler:
        @functools.wraps(handler)
        def checked(view: ComputeView, *args: Any, **kwargs: Any) -> Any:
            if not between(view.version, since, until):
                raise Http404("The resource could not be found.")
            enforce(view.actor, rule)
            return handler(view, *args, **kwargs)

        checked.rule, checked.since, checked.until = rule, since, until  # type: ignore[attr-defined]  # for the table of calls
        return checked  # type: ignore[return-value]  # the handler, wrapped

    return decorate


class ComputeView(VersionedViewMixin, ApiView):
    """A view of the compute API, below ``/v2.1`` or ``/v2.1/{project_id}``."""

    form: ClassVar[str] = "compute"
    range = RANGE
    url_project: str | None = None

    def dispatch(self, request: Any, *args: Any, project_id: str | None = None, **kwargs: Any) -> Any:
        """Take what the prefix says off the arguments of the handlers."""
        self.url_project = project_id
        if request.path.startswith(f"{ROOT}/v2/"):
            self.range = LEGACY
        return super().dispatch(request, *args, **kwargs)

    def initial(self, request: Any, *args: Any, **kwargs: Any) -> None:
        """A project in the path must be the token's."""
        super().initial(request, *args, **kwargs)
        if self.url_project is not None and request.auth and self.url_project != self.actor.project_id:
            raise ParseError(
                f"Malformed request URL: URL's project_id '{self.url_project}' doesn't match Context's project_id "
                f"'{self.actor.project_id}'"
            )

    def at(self, version: str) -> bool:
        """Whether the request is at this version or a newer one: a gate of behaviour."""
        return self.version >= Version.parse(version)

    @property
    def base(self) -> str:
        """The address that links begin with: the service's, its version, the project if the path has it."""
        generation = "v2" if self.range is LEGACY else "v2.1"
        return f"{settings.PUBLIC_URL}{ROOT}/{generation}" + (f"/{self.url_project}" if self.url_project else "")

    @property
    def bookmark(self) -> str:
        """The address that links without a version begin with."""
        return f"{settings.PUBLIC_URL}{ROOT}" + (f"/{self.url_project}" if self.url_project else "")

    def links(self, collection: str, key: object) -> list[dict[str, str]]:
        """The two links of a resource."""
        return [
            {"rel": "self", "href": f"{self.base}/{collection}/{key}"},
            {"rel": "bookmark", "href": f"{self.bookmark}/{collection}/{key}"},
        ]

    def known_query(self, *names: str, strict_since: str = "2.75") -> None:
        """From ``strict_since`` on, query parameters that nobody knows are an error. Raises ParseError."""
        if self.at(strict_since) and (unknown := sorted(set(self.request.query_params) - set(names))):
            raise ParseError(f"Additional properties are not allowed ({', '.join(unknown)} was unexpected)")

    def instance(self, server_id: str, rows: InstanceQuerySet | None = None) -> Instance:
        """The server of the path, if it is the project's (or the caller an administrator). Raises NotFound."""
        return find_instance(self.actor, server_id, Instance.objects.alive() if rows is None else rows)


def as_uuid(text: object) -> UUID | None:
    """The UUID that a text is, or None."""
    try:
        return UUID(str(text))
    except ValueError:
        return None


def find_instance(actor: Actor, server_id: str, rows: InstanceQuerySet) -> Instance:
    """The instance of this id among those that the actor may see. Raises NotFound."""
    key = as_uuid(server_id)
    found = rows.visible_to(actor, all_projects=True).select_related("host").filter(pk=key).first() if key else None
    if found is None:
        raise NotFound(f"Instance {server_id} could not be found.")
    return found
