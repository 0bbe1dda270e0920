"""Discovery of the placement API; open to everybody, as clients ask before they log in."""

from __future__ import annotations

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from portal.api.placement.base import RANGE, PlacementView


class Versions(PlacementView):
    """/"""

    authentication_classes: list[Any] = []
    permission_classes: list[Any] = []

    def get(self, request: Request) -> Response:
        """Show the version of the API, with the range of its microversions."""
        version = {
            "id": "v1.0",
            "status": "CURRENT",
            "min_version": str(RANGE.minimum),
            "max_version": str(RANGE.maximum),
            "links": [{"rel": "self", "href": ""}],
        }
        return Response({"versions": [version]})
