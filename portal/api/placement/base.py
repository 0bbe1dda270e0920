"""What the views of the placement API share: versions, errors, and the refusal to be written to."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from django.db.models import QuerySet
from django.utils import timezone
from django.utils.http import http_date
from rest_framework.exceptions import MethodNotAllowed, ParseError
from rest_framework.response import Response

from compute.errors import NotFound
from compute.models import Host
from portal.api.compute.base import as_uuid
from portal.api.versions import Range, Version, VersionedViewMixin
from portal.api.wire import ApiView

RANGE = Range("placement", Version(1, 0), Version(1, 39))
ROOT = "/placement"
CLAIMS_ARE_THE_TRUTH = (
    "The method {method} is not allowed here: Nacelle's own claims are the truth about its hosts, and this API "
    "shows them. To change what a host has or holds, use the compute API or Nacelle's host pages."
)
UNDEFINED_CODE = "placement.undefined_code"


class PlacementView(VersionedViewMixin, ApiView):
    """A view of the placement API. Whatever would write is refused with a reason (405)."""

    form: ClassVar[str] = "placement"
    range = RANGE
    modified: datetime | None = None

    def http_method_not_allowed(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        """Raise what says why."""
        raise MethodNotAllowed(request.method, detail=CLAIMS_ARE_THE_TRUTH.format(method=request.method))

    def handle_exception(self, exc: Exception) -> Response:
        """Add what placement's errors say besides: a code, and which versions there are."""
        response = super().handle_exception(exc)
        for entry in response.data.get("errors", ()):
            if response.status_code == 406:
                entry |= {"min_version": str(RANGE.minimum), "max_version": str(RANGE.maximum)}
            if self.at("1.23"):
                entry["code"] = UNDEFINED_CODE
        return response

    def finalize_response(self, request: Any, response: Any, *args: Any, **kwargs: Any) -> Any:
        """From 1.15 on answers say when what they show was changed last."""
        response = super().finalize_response(request, response, *args, **kwargs)
        if response.status_code in (200, 204) and self.at("1.15"):
            response["Cache-Control"] = "no-cache"
            response["Last-Modified"] = http_date((self.modified or timezone.now()).timestamp())
        return response

    def at(self, version: str) -> bool:
        """Whether the request is at this version or a newer one."""
        return getattr(self, "version", RANGE.minimum) >= Version.parse(version)

    def known_query(self, since: dict[str, str]) -> None:
        """Refuse query parameters that the version does not have. Raises ParseError."""
        known = {name for name, version in since.items() if self.at(version)}
        if unknown := sorted(set(self.request.query_params) - known):
            raise ParseError(f"Invalid query string parameters: {', '.join(unknown)} is not known to this version.")

    def only(self, name: str) -> str | None:
        """The one value of a query parameter, or None. Raises ParseError when it is given twice."""
        values = self.request.query_params.getlist(name)
        if len(values) > 1:
            raise ParseError(f"The query parameter {name} may be given only once.")
        return values[0] if values else None

    def provider(self, provider_id: str, rows: QuerySet[Host] | None = None) -> Host:
        """The host of this uuid. Raises NotFound."""
        key = as_uuid(provider_id)
        hosts = Host.objects.all() if rows is None else rows
        host = hosts.filter(uuid=key).first() if key else None
        if host is None:
            raise NotFound(f"No resource provider with uuid {provider_id} found")
        self.modified = host.updated_at
        return host


def generation(moment: datetime) -> int:
    """A number that grows with each change of a row, as placement's generations do."""
    return int(moment.timestamp() * 1000)


def link(rel: str, path: str) -> dict[str, str]:
    """A link; placement's begin at the service's own path."""
    return {"rel": rel, "href": f"{ROOT}{path}"}
