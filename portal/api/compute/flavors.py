"""Flavors: list, show, create, describe, delete."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from django.db.models import Q
from rest_framework import serializers
from rest_framework.exceptions import ParseError, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from compute.errors import NotFound
from compute.flavors import create_flavor, delete_flavor, set_description
from compute.models import Flavor
from compute.models.flavor import FlavorQuerySet
from portal.api.body import Body, StrictBooleanField, StrictCharField, StrictIntegerField
from portal.api.compute.base import ComputeView, call
from portal.api.compute.server_body import NameField
from portal.api.compute.server_query import flag
from portal.api.paging import after, limit_of, next_link
from portal.api.shape import Shape, field
from portal.api.wire import HeadersOnly

FLAVOR_ID = re.compile(r"[a-zA-Z0-9._-]([a-zA-Z0-9. _-]{0,253}[a-zA-Z0-9._-])?")
LARGEST = 2_147_483_647
SORT_KEYS = {
    "flavorid": "id", "id": "id", "name": "name", "memory_mb": "memory_mb", "vcpus": "vcpus", "root_gb": "disk_gb",
    "ephemeral_gb": "ephemeral_gb", "swap": "swap_mb", "rxtx_factor": "rxtx_factor", "is_public": "is_public",
    "disabled": "disabled", "created_at": "created_at", "updated_at": "created_at", "deleted_at": "id",
    "vcpu_weight": "id", "deleted": "id",
}  # fmt: skip
QUERY = ("limit", "marker", "is_public", "minRam", "minDisk", "sort_key", "sort_dir")

FLAVOR: Shape[Flavor] = Shape(
    field("id", lambda row, view: row.id),
    field("name", lambda row, view: row.name),
    field("ram", lambda row, view: row.memory_mb),
    field("vcpus", lambda row, view: row.vcpus),
    field("disk", lambda row, view: row.disk_gb),
    field("swap", lambda row, view: row.swap_mb or "", until="2.74"),
    field("swap", lambda row, view: row.swap_mb, since="2.75"),
    field("links", lambda row, view: view.links("flavors", row.id)),
    field("OS-FLV-DISABLED:disabled", lambda row, view: row.disabled),
    field("OS-FLV-EXT-DATA:ephemeral", lambda row, view: row.ephemeral_gb),
    field("os-flavor-access:is_public", lambda row, view: row.is_public),
    field("rxtx_factor", lambda row, view: row.rxtx_factor),
    field("description", lambda row, view: row.description, since="2.55"),
    field("extra_specs", lambda row, view: row.extra_specs, since="2.61"),
)
BRIEF: Shape[Flavor] = Shape(
    field("id", lambda row, view: row.id),
    field("name", lambda row, view: row.name),
    field("links", lambda row, view: view.links("flavors", row.id)),
    field("description", lambda row, view: row.description, since="2.55"),
)
SHAPES = (FLAVOR, BRIEF)


class FlavorBody(Body):
    """POST /flavors. Memory and swap in MiB, disks in GiB."""

    name = NameField()
    id = serializers.JSONField(required=False, allow_null=True)
    ram = StrictIntegerField(min_value=1, max_value=LARGEST)
    vcpus = StrictIntegerField(min_value=1, max_value=LARGEST)
    disk = StrictIntegerField(min_value=0, max_value=LARGEST)
    swap = StrictIntegerField(required=False, min_value=0, max_value=LARGEST)
    rxtx_factor = serializers.FloatField(required=False, min_value=0.000001, max_value=3.4e38)
    description = StrictCharField(
        required=False, allow_null=True, allow_blank=True, max_length=65_535, trim_whitespace=False
    )
    since: ClassVar[dict[str, str]] = {"description": "2.55"}

    def get_fields(self) -> dict[str, Any]:
        """The wire's names with a colon in them cannot be attributes."""
        fields = super().get_fields()
        fields["OS-FLV-EXT-DATA:ephemeral"] = StrictIntegerField(required=False, min_value=0, max_value=LARGEST)
        fields["os-flavor-access:is_public"] = StrictBooleanField(required=False)
        return fields


def find_flavor(view: ComputeView, flavor_id: str) -> Flavor:
    """The flavor of the path, if the caller may see it. Raises NotFound."""
    found = Flavor.objects.visible_to(view.actor).filter(pk=flavor_id).first()
    if found is None:
        raise NotFound(f"Flavor {flavor_id} could not be found.")
    return found


def new_id(value: Any) -> str | None:
    """The id that a body asks for; None and ``auto`` leave it to Nacelle. Raises ValidationError."""
    if value is None or value == "auto":
        return None
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if not FLAVOR_ID.fullmatch(text):
        raise ValidationError(f"Invalid input for field/attribute id. Value: {str(value)[:60]}.")
    return text


class FlavorList(ComputeView):
    """What both lists do."""

    def rows(self) -> tuple[list[Flavor], int]:
        """The flavors asked for, a page of them. Raises ParseError."""
        query = self.request.query_params
        self.known_query(*QUERY)
        rows = self._visible(query.get("is_public"))
        for name, column in (("minRam", "memory_mb__gte"), ("minDisk", "disk_gb__gte")):
            if name in query:
                rows = rows.filter(**{column: self._number(name, query[name])})
        limit, marker = limit_of(query), None
        if "marker" in query:
            marker = Flavor.objects.visible_to(self.actor).filter(pk=query["marker"]).first()
            if marker is None:
                raise ParseError(f"marker [{query['marker'][:60]}] not found")
        return list(after(rows, marker, self._order())[:limit]), limit

    def _number(self, name: str, text: str) -> int:
        if not text.isascii() or not text.isdigit() or len(text) > 10:
            raise ParseError(f"Invalid {name} filter [{text[:60]}]")
        return int(text)

    def _order(self) -> list[tuple[str, bool]]:
        query = self.request.query_params
        key, way = query.get("sort_key", "flavorid"), query.get("sort_dir", "asc")
        if key not in SORT_KEYS or way not in ("asc", "desc"):
            raise ParseError(f"Invalid input for query parameters sort_key or sort_dir. Value: {key[:60]}, {way[:60]}.")
        down = way == "desc"
        return [("id", down)] if SORT_KEYS[key] == "id" else [(SORT_KEYS[key], down), ("id", down)]

    def _visible(self, is_public: str | None) -> FlavorQuerySet:
        """Administrators choose between public, private and all (None); without a word they get the public."""
        rows = Flavor.objects.all()
        own = Q(access__project_id=self.actor.project_id)
        if not self.actor.is_admin:
            return rows.visible_to(self.actor).filter(disabled=False)
        if is_public is None or (is_public.lower() != "none" and flag(is_public, "is_public")):
            return rows.filter(Q(is_public=True) | own).distinct()
        return rows if is_public.lower() == "none" else rows.filter(is_public=False)

    def answer(self, shape: Shape[Flavor]) -> Response:
        """The page in this shape."""
        rows, limit = self.rows()
        body: dict[str, Any] = {"flavors": [shape.render(row, self.version, self) for row in rows]}
        if rows and len(rows) == limit:
            body["flavors_links"] = [next_link(self.request.path, self.request.query_params, rows[-1].id)]
        return Response(body)


class Flavors(FlavorList):
    """/flavors"""

    @call("os_compute_api:flavors")
    def get(self, request: Request) -> Response:
        """List flavors: ids, names and links."""
        return self.answer(BRIEF)

    @call("os_compute_api:os-flavor-manage:create")
    def post(self, request: Request) -> Response:
        """Create a flavor."""
        if set(self.body) != {"flavor"}:
            raise ParseError("The body must hold 'flavor' and nothing else.")
        data = FlavorBody.read(self.body["flavor"], self.version)
        flavor = create_flavor(
            self.actor,
            flavor_id=new_id(data.get("id")),
            name=data["name"],
            memory_mb=data["ram"],
            vcpus=data["vcpus"],
            disk_gb=data["disk"],
            swap_mb=data.get("swap", 0),
            ephemeral_gb=data.get("OS-FLV-EXT-DATA:ephemeral", 0),
            rxtx_factor=data.get("rxtx_factor", 1.0),
            is_public=data.get("os-flavor-access:is_public", True),
            description=data.get("description"),
        )
        return Response({"flavor": FLAVOR.render(flavor, self.version, self)})


class FlavorsDetail(FlavorList):
    """/flavors/detail"""

    @call("os_compute_api:flavors")
    def get(self, request: Request) -> Response:
        """List flavors with their sizes."""
        return self.answer(FLAVOR)


class FlavorView(ComputeView):
    """/flavors/{id}"""

    @call("os_compute_api:flavors")
    def get(self, request: Request, flavor_id: str) -> Response:
        """Show a flavor."""
        return Response({"flavor": FLAVOR.render(find_flavor(self, flavor_id), self.version, self)})

    @call("os_compute_api:os-flavor-manage:update", since="2.55")
    def put(self, request: Request, flavor_id: str) -> Response:
        """Change a flavor's description."""
        flavor = find_flavor(self, flavor_id)
        wanted = self.body.get("flavor")
        if set(self.body) != {"flavor"} or not isinstance(wanted, dict) or set(wanted) != {"description"}:
            raise ParseError("The body must hold 'flavor' with a 'description' and nothing else.")
        text = FlavorBody().fields["description"].run_validation(wanted["description"])
        set_description(self.actor, flavor, description=text)
        return Response({"flavor": FLAVOR.render(flavor, self.version, self)})

    @call("os_compute_api:os-flavor-manage:delete")
    def delete(self, request: Request, flavor_id: str) -> HeadersOnly:
        """Delete a flavor."""
        delete_flavor(self.actor, find_flavor(self, flavor_id))
        return HeadersOnly(202)
