"""What the Image API says of itself: versions, schemas, and what it can import (nothing, so far)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.conf import settings
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from portal.api.image.schema import collection_schema, image_schema, member_schema
from portal.api.image.views import ImageApiView
from portal.identity.policy import enforce

NEWEST_MINOR = 17
# Without those that stand for several stores (2.8, 2.10 to 2.13, 2.15) or for Glance's own cache (2.14, 2.16).
MINORS = (*range(8), 9, NEWEST_MINOR)
SCHEMAS: dict[str, Callable[[], dict[str, Any]]] = {
    "image": image_schema,
    "images": lambda: collection_schema("images", image_schema()),
    "member": member_schema,
    "members": lambda: collection_schema("members", member_schema()),
}


def versions() -> dict[str, Any]:
    """The version document."""
    link = [{"rel": "self", "href": f"{settings.PUBLIC_URL}/image/v2/"}]
    return {
        "versions": [
            {"id": f"v2.{minor}", "status": "CURRENT" if minor == NEWEST_MINOR else "SUPPORTED", "links": link}
            for minor in reversed(MINORS)
        ]
    }


class Versions(ImageApiView):
    """/image and /image/: Glance answers with a choice. Discovery needs no token."""

    authentication_classes = ()
    permission_classes = ()
    status = 300

    def get(self, request: Request) -> Response:
        """The versions."""
        return Response(versions(), status=self.status)


class ExplicitVersions(Versions):
    """/image/versions: asked for by name, so it is no choice."""

    status = 200


class Schema(ImageApiView):
    """/v2/schemas/{name}."""

    def get(self, request: Request, name: str) -> Response:
        """The JSON schema of an image, a member, or a list of them."""
        enforce(self.actor, "image:get")
        if name not in SCHEMAS:
            raise NotFound("The resource could not be found.")
        return Response(SCHEMAS[name]())


class ImportInfo(ImageApiView):
    """/v2/info/import."""

    def get(self, request: Request) -> Response:
        """The ways of importing: none, so clients upload."""
        methods = {"type": "array", "description": "Import methods available.", "value": []}
        return Response({"import-methods": methods})


class StoresInfo(ImageApiView):
    """/v2/info/stores."""

    def get(self, request: Request) -> Response:
        """Not found, as Glance answers where there is one store and nothing to choose."""
        raise NotFound("Multi backend is not supported at this site.")
