"""Services, endpoints and regions: the catalog, to be read. It follows from the settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from rest_framework.request import Request
from rest_framework.response import Response

from portal.api.identity import shapes
from portal.api.identity.base import IdentityView
from portal.identity.catalog import ENDPOINTS, SERVICES
from portal.identity.errors import NotFound


class CatalogView(IdentityView):
    """A part of the catalog: a list whose items are shown by id."""

    def matching(self, items: Sequence[dict[str, Any]], *names: str) -> list[dict[str, Any]]:
        """The items that have what the query asks for."""
        asked = {name: self.query[name] for name in names if name in self.query}
        return [item for item in items if all(item[name] == value for name, value in asked.items())]

    def one(self, kind: str, object_id: str, items: Sequence[dict[str, Any]]) -> Response:
        """The item with this id."""
        for item in items:
            if item["id"] == object_id:
                return Response({kind: item})
        raise NotFound(kind, object_id)


def _services() -> list[dict[str, Any]]:
    return [shapes.service(service) for service in SERVICES]


def _endpoints() -> list[dict[str, Any]]:
    return [shapes.endpoint(endpoint, settings.REGION) for endpoint in ENDPOINTS]


class Services(CatalogView):
    """All services."""

    def get(self, request: Request) -> Response:
        """Filters name and type."""
        self.enforce("list_services")
        return self.collection("services", self.matching(_services(), "name", "type"))


class OneService(CatalogView):
    """One service."""

    def get(self, request: Request, service_id: str) -> Response:
        """Show."""
        self.enforce("list_services")
        return self.one("service", service_id, _services())


class Endpoints(CatalogView):
    """All endpoints."""

    def get(self, request: Request) -> Response:
        """Filters interface, service_id and region."""
        self.enforce("list_endpoints")
        found = self.matching(_endpoints(), "interface", "service_id", "region_id", "region")
        return self.collection("endpoints", found)


class OneEndpoint(CatalogView):
    """One endpoint."""

    def get(self, request: Request, endpoint_id: str) -> Response:
        """Show."""
        self.enforce("list_endpoints")
        return self.one("endpoint", endpoint_id, _endpoints())


class Regions(CatalogView):
    """All regions: the one that there is. Anybody with a token may know."""

    def get(self, request: Request) -> Response:
        """List."""
        found = self.matching([shapes.region(settings.REGION)], "parent_region_id")
        return self.collection("regions", found)


class OneRegion(CatalogView):
    """One region."""

    def get(self, request: Request, region_id: str) -> Response:
        """Show."""
        return self.one("region", region_id, [shapes.region(settings.REGION)])
