"""The names that placement speaks: resource classes and traits."""

from __future__ import annotations

from typing import Any

from rest_framework.exceptions import ParseError
from rest_framework.request import Request
from rest_framework.response import Response

from compute.errors import NotFound
from compute.hosts.traits import STANDARD, traits_of
from compute.models import Host
from portal.api.compute.base import call
from portal.api.placement.base import PlacementView, link
from portal.api.placement.stock import STANDARD_CLASSES
from portal.api.wire import HeadersOnly

TRUTHS = {"true": True, "false": False}


def _class(name: str) -> dict[str, Any]:
    return {"name": name, "links": [link("self", f"/resource_classes/{name}")]}


class ResourceClasses(PlacementView):
    """/resource_classes"""

    @call("placement:resource_classes:list", since="1.2")
    def get(self, request: Request) -> Response:
        """List the standard resource classes; hosts have the first three."""
        return Response({"resource_classes": [_class(name) for name in STANDARD_CLASSES]})


class ResourceClass(PlacementView):
    """/resource_classes/{name}"""

    @call("placement:resource_classes:show", since="1.2")
    def get(self, request: Request, name: str) -> Response:
        """Show a resource class."""
        if name not in STANDARD_CLASSES:
            raise NotFound(f"No such resource class {name}.")
        return Response(_class(name))


class AllTraits(PlacementView):
    """/traits"""

    @call("placement:traits:list", since="1.6")
    def get(self, request: Request) -> Response:
        """List the standard traits: all, by their names, or those that a host has."""
        self.known_query({"name": "1.6", "associated": "1.6"})
        found = set(STANDARD)
        if (associated := self.only("associated")) is not None:
            found = self._associated(associated)
        if (name := self.only("name")) is not None:
            found = _named(found, name)
        return Response({"traits": sorted(found)})

    def _associated(self, text: str) -> set[str]:
        if text.lower() not in TRUTHS:
            raise ParseError(f'The query parameter "associated" only accepts "true" or "false": {text[:50]}')
        of_hosts = {trait for host in Host.objects.all() for trait in traits_of(host)}
        return of_hosts if TRUTHS[text.lower()] else set(STANDARD) - of_hosts


def _named(traits: set[str], text: str) -> set[str]:
    how, colon, names = text.partition(":")
    if colon and how == "startswith":
        return {trait for trait in traits if trait.startswith(names)}
    if colon and how == "in":
        return traits & set(names.split(","))
    raise ParseError(
        'Badly formatted name parameter. Expected name query string parameter in form: "?name=[operator]:[names]"'
    )


class Trait(PlacementView):
    """/traits/{name}"""

    @call("placement:traits:show", since="1.6")
    def get(self, request: Request, name: str) -> HeadersOnly:
        """Say whether there is a trait of this name."""
        if name not in STANDARD:
            raise NotFound(f"No such trait: {name}.")
        return HeadersOnly(204)
