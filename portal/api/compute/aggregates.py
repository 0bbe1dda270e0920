"""Host aggregates: list, create, show, change, delete, and their actions."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from rest_framework import serializers
from rest_framework.exceptions import ParseError, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from compute import aggregates
from compute.errors import NotFound
from compute.images.deliver import deliver
from compute.models import Aggregate
from portal.api.body import Body, StrictCharField
from portal.api.compute.base import ComputeView, as_uuid, call
from portal.api.compute.server_body import METADATA_KEY, NameField
from portal.api.shape import Shape, field
from portal.api.wire import HeadersOnly, microseconds
from portal.identity.policy import enforce

IMAGES_CAP = 100
# What the answer to a creation says; every other answer adds hosts and metadata.
CREATED: Shape[Aggregate] = Shape(
    field("availability_zone", lambda row, view: row.zone),
    field("created_at", lambda row, view: microseconds(row.created_at)),
    field("deleted", lambda row, view: False),
    field("deleted_at", lambda row, view: None),
    field("id", lambda row, view: row.pk),
    field("name", lambda row, view: row.name),
    field("updated_at", lambda row, view: microseconds(row.updated_at)),
    field("uuid", lambda row, view: str(row.uuid), since="2.41"),
)
FULL: Shape[Aggregate] = Shape(
    *CREATED.fields,
    field("hosts", lambda row, view: sorted(host.name for host in row.hosts.all())),
    field("metadata", lambda row, view: row.metadata),
)
SHAPES = (CREATED, FULL)


class ZoneField(NameField):
    """A zone's name: no colon, which parts a zone from a host; null for none."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"allow_null": True, **options})

    def to_internal_value(self, data: Any) -> str:
        """Refuse a colon."""
        text = super().to_internal_value(data)
        if ":" in text:
            raise serializers.ValidationError(f"Value: {text[:60]!r}. It must not hold a colon.")
        return text


class CreateBody(Body):
    """POST /os-aggregates."""

    name = NameField()
    availability_zone = ZoneField(required=False)


class UpdateBody(Body):
    """PUT /os-aggregates/{id}."""

    name = NameField(required=False)
    availability_zone = ZoneField(required=False)


class HostBody(Body):
    """add_host and remove_host."""

    host = StrictCharField(min_length=1, max_length=255, trim_whitespace=False)


class Aggregates(ComputeView):
    """/os-aggregates"""

    @call("os_compute_api:os-aggregates:index")
    def get(self, request: Request) -> Response:
        """List host aggregates."""
        rows = Aggregate.objects.order_by("id").prefetch_related("hosts")
        return Response({"aggregates": [FULL.render(row, self.version, self) for row in rows]})

    @call("os_compute_api:os-aggregates:create")
    def post(self, request: Request) -> Response:
        """Create a host aggregate, perhaps as an availability zone."""
        data = CreateBody.read(object_in(self.body, "aggregate"), self.version)
        made = aggregates.create_aggregate(self.actor, name=data["name"], zone=data.get("availability_zone"))
        return Response({"aggregate": CREATED.render(made, self.version, self)})


class AggregateView(ComputeView):
    """/os-aggregates/{id}"""

    @call("os_compute_api:os-aggregates:show")
    def get(self, request: Request, aggregate_id: str) -> Response:
        """Show a host aggregate."""
        return shown(self, find_aggregate(aggregate_id))

    @call("os_compute_api:os-aggregates:update")
    def put(self, request: Request, aggregate_id: str) -> Response:
        """Change a host aggregate's name or zone."""
        row = find_aggregate(aggregate_id)
        data = UpdateBody.read(object_in(self.body, "aggregate"), self.version)
        if not data:
            raise ValidationError("Invalid input for field/attribute aggregate. Name or availability_zone is required.")
        wire = {"name": "name", "availability_zone": "zone"}
        aggregates.update_aggregate(self.actor, row, changes={wire[name]: value for name, value in data.items()})
        return shown(self, row)

    @call("os_compute_api:os-aggregates:delete")
    def delete(self, request: Request, aggregate_id: str) -> HeadersOnly:
        """Delete a host aggregate without hosts."""
        aggregates.delete_aggregate(self.actor, find_aggregate(aggregate_id))
        return HeadersOnly(200)


class AggregateAction(ComputeView):
    """/os-aggregates/{id}/action"""

    @call("os_compute_api:os-aggregates:show")
    def post(self, request: Request, aggregate_id: str) -> Response:
        """Add or remove a host, or set metadata (add_host, remove_host, set_metadata)."""
        if len(self.body) != 1 or not set(self.body) <= set(ACTIONS):
            names = ", ".join(sorted(self.body))[:60]
            raise ParseError(f"There is no such action: {names}. It is one of {', '.join(ACTIONS)}.")
        name = next(iter(self.body))
        enforce(self.actor, aggregates.RULE + name)
        row = find_aggregate(aggregate_id)
        ACTIONS[name](self, row, object_in(self.body, name))
        return shown(self, row)


class AggregateImages(ComputeView):
    """/os-aggregates/{id}/images"""

    @call("compute:aggregates:images", since="2.81")
    def post(self, request: Request, aggregate_id: str) -> HeadersOnly:
        """Bring images to the hosts of an aggregate, ahead of the boots that need them (2.81)."""
        row = find_aggregate(aggregate_id)
        deliver(self.actor, row, image_ids=_images(self.body))
        return HeadersOnly(202)


def _images(body: dict[str, Any]) -> list[UUID]:
    """The images of a body. Raises ValidationError."""
    wanted: Any = body.get("cache")
    good = isinstance(wanted, list) and 0 < len(wanted) <= IMAGES_CAP
    if set(body) != {"cache"} or not good or not all(isinstance(one, dict) and set(one) == {"id"} for one in wanted):
        raise ValidationError(f"The body must hold 'cache', a list of 1 to {IMAGES_CAP} objects with an id.")
    keys = [as_uuid(one["id"]) for one in wanted]
    found = [key for key in keys if key is not None]
    if len(found) < len(keys):
        raise ValidationError("Invalid input for field/attribute id. It must be a UUID.")
    if len(set(found)) < len(found):
        raise ValidationError("Duplicate images in request")
    return found


def _add_host(view: ComputeView, row: Aggregate, given: Any) -> None:
    aggregates.add_host(view.actor, row, host=HostBody.read(given)["host"])


def _remove_host(view: ComputeView, row: Aggregate, given: Any) -> None:
    aggregates.remove_host(view.actor, row, host=HostBody.read(given)["host"])


def _set_metadata(view: ComputeView, row: Aggregate, given: Any) -> None:
    items = object_in(given, "metadata")
    for key, value in items.items():
        check_item(key, value)
    aggregates.set_metadata(view.actor, row, items=items)


ACTIONS = {"add_host": _add_host, "remove_host": _remove_host, "set_metadata": _set_metadata}


def check_item(key: str, value: Any) -> None:
    """Raise ValidationError for what an aggregate's metadata cannot have; null takes an item away."""
    if not METADATA_KEY.fullmatch(key):
        raise ValidationError(f"Invalid metadata key {key[:60]!r}: 1 to 255 letters, digits, spaces and -_:. only.")
    if key == "availability_zone":
        ZoneField().run_validation(value)
    elif value is not None and (not isinstance(value, str) or len(value) > 255 or "\x00" in value):
        raise ValidationError(f"Invalid metadata value for {key!r}: a text of at most 255 characters, or null.")


def object_in(body: Any, name: str) -> dict[str, Any]:
    """The one object that a body holds under this name. Raises ValidationError."""
    if not isinstance(body, dict) or set(body) != {name} or not isinstance(body[name], dict):
        raise ValidationError(f"The body must hold the object '{name}' and nothing else.")
    found: dict[str, Any] = body[name]
    return found


def find_aggregate(key: str) -> Aggregate:
    """The aggregate of the path. Raises NotFound, and ParseError for what is no whole number."""
    digits = key.removeprefix("-")
    if not digits.isascii() or not digits.isdigit():
        raise ParseError(f"Invalid input for aggregate id. Value: {key[:60]}. It must be a whole number.")
    found = Aggregate.objects.filter(pk=int(key)).first() if len(digits) < 19 else None
    if found is None:
        raise NotFound(f"Aggregate {key[:60]} could not be found.")
    return found


def shown(view: ComputeView, row: Aggregate) -> Response:
    """The answer with all of an aggregate."""
    return Response({"aggregate": FULL.render(row, view.version, view)})
