"""The base class of every API view, and what answers are made of. JSON itself is in ``codec.py``."""

from __future__ import annotations

import datetime
from typing import Any, ClassVar

from django.http import HttpResponse
from rest_framework.exceptions import ParseError
from rest_framework.views import APIView

from portal.identity.actor import Actor


class ApiView(APIView):
    """A view of one API. ``form`` names the API whose error bodies it answers with."""

    form: ClassVar[str] = "nacelle"

    def initial(self, request: Any, *args: Any, **kwargs: Any) -> None:
        """NUL is no part of any name, and databases choke on it."""
        super().initial(request, *args, **kwargs)
        if "\x00" in request.path or "%00" in request.META.get("QUERY_STRING", ""):
            raise ParseError("The address holds the character NUL.")

    @property
    def actor(self) -> Actor:
        """Who is calling."""
        actor: Actor = self.request.auth.actor  # type: ignore[union-attr]  # HasToken let no other in
        return actor

    @property
    def body(self) -> dict[str, Any]:
        """The request's body, which is a JSON object."""
        if not isinstance(self.request.data, dict):
            raise ParseError("The request body must be a JSON object.")
        return self.request.data


class HeadersOnly(HttpResponse):
    """An answer without a body and without a content type (204, 202)."""

    def __init__(self, status: int = 204) -> None:
        super().__init__(status=status)
        del self["Content-Type"]


def seconds(moment: datetime.datetime | None) -> str | None:
    """Nova's and Glance's time: ``2026-11-20T15:40:18Z``."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None


def microseconds(moment: datetime.datetime | None) -> str | None:
    """Nova's other time, without a zone: ``2026-11-20T15:40:18.000000``."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f") if moment else None
