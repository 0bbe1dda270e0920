"""Which versions there are. Needs no token."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.response import Response

from portal.api.identity.base import IdentityView
from portal.api.identity.shapes import version


class Versions(IdentityView):
    """``/identity``."""

    authentication_classes = ()
    permission_classes = ()

    def get(self, request: Request) -> Response:
        """All versions: multiple choices, by the letter."""
        return Response({"versions": {"values": [version()]}}, status=300)


class Version(Versions):
    """``/identity/v3``."""

    def get(self, request: Request) -> Response:
        """The version."""
        return Response({"version": version()})
