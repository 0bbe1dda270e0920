"""Discovery: which versions there are. Open to everybody, as clients ask before they log in."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import Http404
from rest_framework.request import Request
from rest_framework.response import Response

from portal.api.compute.base import RANGE, ROOT
from portal.api.wire import ApiView

MEDIA = "application/vnd.openstack.compute+json;version="
# The dates are those that Nova gives for the same two APIs.
VERSIONS: dict[str, dict[str, Any]] = {
    "v2.0": {"path": "v2", "status": "SUPPORTED", "version": "", "min_version": "", "updated": "2011-01-21T11:33:21Z"},
    "v2.1": {
        "path": "v2.1",
        "status": "CURRENT",
        "version": str(RANGE.maximum),
        "min_version": str(RANGE.minimum),
        "updated": "2013-07-23T11:33:21Z",
    },
}


def summary(version_id: str) -> dict[str, Any]:
    """One version in the list of all."""
    facts = VERSIONS[version_id]
    return {
        "id": version_id,
        "status": facts["status"],
        "version": facts["version"],
        "min_version": facts["min_version"],
        "updated": facts["updated"],
        "links": [{"rel": "self", "href": f"{settings.PUBLIC_URL}{ROOT}/{facts['path']}/"}],
    }


def document(version_id: str) -> dict[str, Any]:
    """One version by itself."""
    media = MEDIA + ("2" if version_id == "v2.0" else "2.1")
    return {**summary(version_id), "media-types": [{"base": "application/json", "type": media}]}


class OpenView(ApiView):
    """A view that needs no token."""

    form = "compute"
    authentication_classes: list[Any] = []
    permission_classes: list[Any] = []


class Versions(OpenView):
    """/"""

    def get(self, request: Request) -> Response:
        """List the versions of the API."""
        return Response({"versions": [summary(version_id) for version_id in VERSIONS]})


class VersionDocument(OpenView):
    """/v2.1, /v2.1/versions/{id}"""

    def get(self, request: Request, version_id: str) -> Response:
        """Show a version of the API, with the range of its microversions."""
        if version_id not in VERSIONS:
            raise Http404("The resource could not be found.")
        response = Response({"version": document(version_id)})
        for name, value in RANGE.headers(None).items():
            response[name] = value
        return response
