"""Glance's Image API v2: images, their tags, members and actions. Their data: ``data.py``."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.conf import settings
from django.http import HttpResponseBase, QueryDict
from rest_framework.exceptions import NotFound, ParseError
from rest_framework.request import Request
from rest_framework.response import Response

from compute.images import verbs
from compute.models import Image
from portal.api.image.filters import listed, order_of, ordered
from portal.api.image.patch import changes_of, steps_of
from portal.api.image.schema import MODEL_FIELDS, PROPERTIES, check_settable, check_value
from portal.api.image.shape import image_on_wire
from portal.api.paging import after, limit_of
from portal.api.wire import ApiView, HeadersOnly
from portal.identity.policy import enforce

LIST_PATH = "/v2/images"


class ImageApiView(ApiView):
    """A view of the Image API."""

    form = "image"

    def image(self, image_id: str) -> Image:
        """The image of the path. Raises NotFound."""
        enforce(self.actor, "image:get")
        return verbs.find(actor=self.actor, image_id=image_id)


class Images(ImageApiView):
    """/v2/images."""

    def get(self, request: Request) -> Response:
        """A page of the images that the query asks for."""
        enforce(self.actor, "image:get")
        query = request.query_params
        limit = limit_of(query)
        rows, order = ordered(listed(self.actor, query), order_of(query))
        page = list(after(rows, self._marker(query), order)[:limit])
        body: dict[str, Any] = {
            "images": [image_on_wire(image) for image in page],
            "first": _link(query, None),
            "schema": "/v2/schemas/images",
        }
        if page and len(page) == limit:
            body["next"] = _link(query, str(page[-1].id))
        return Response(body)

    def _marker(self, query: QueryDict) -> Image | None:
        text = query.get("marker")
        if text is None:
            return None
        try:
            rows, _ = ordered(Image.objects.visible_to(self.actor).filter(pk=UUID(text)), order_of(query))
            return rows.get()
        except (ValueError, Image.DoesNotExist) as error:
            raise ParseError("Invalid marker: there is no such image.") from error

    def post(self, request: Request) -> Response:
        """A new image, without data."""
        enforce(self.actor, "image:create", self.actor.project_id)
        image = verbs.create_image(actor=self.actor, wanted=_wanted(self.body))
        location = f"{settings.PUBLIC_URL}/image{LIST_PATH}/{image.id}"
        return Response(image_on_wire(image), status=201, headers={"Location": location})


class OneImage(ImageApiView):
    """/v2/images/{id}."""

    def get(self, request: Request, image_id: str) -> Response:
        """Show."""
        return Response(image_on_wire(self.image(image_id)))

    def patch(self, request: Request, image_id: str) -> Response:
        """Change attributes and properties."""
        steps = steps_of(request.content_type or "", request.data)
        image = self.image(image_id)
        changed = verbs.edit_image(actor=self.actor, image=image, edit=lambda now: changes_of(now, steps))
        return Response(image_on_wire(changed))

    def delete(self, request: Request, image_id: str) -> HttpResponseBase:
        """Delete, with the data."""
        verbs.delete_image(actor=self.actor, image=self.image(image_id))
        return HeadersOnly()


class Tag(ImageApiView):
    """/v2/images/{id}/tags/{tag}."""

    def put(self, request: Request, image_id: str, tag: str) -> HttpResponseBase:
        """Tag the image."""
        check_value("tags", [tag])
        verbs.add_tag(actor=self.actor, image=self.image(image_id), tag=tag)
        return HeadersOnly()

    def delete(self, request: Request, image_id: str, tag: str) -> HttpResponseBase:
        """Take the tag off."""
        verbs.remove_tag(actor=self.actor, image=self.image(image_id), tag=tag)
        return HeadersOnly()


class Deactivate(ImageApiView):
    """/v2/images/{id}/actions/deactivate."""

    def post(self, request: Request, image_id: str) -> HttpResponseBase:
        """Keep the data from being read and booted."""
        verbs.deactivate(actor=self.actor, image=self.image(image_id))
        return HeadersOnly()


class Reactivate(ImageApiView):
    """/v2/images/{id}/actions/reactivate."""

    def post(self, request: Request, image_id: str) -> HttpResponseBase:
        """Undo that."""
        verbs.reactivate(actor=self.actor, image=self.image(image_id))
        return HeadersOnly()


class Members(ImageApiView):
    """/v2/images/{id}/members: with whom a shared image is shared. Nobody, so far."""

    def get(self, request: Request, image_id: str) -> Response:
        """List; as Glance, not found for an image that is not shared, or is another project's."""
        image = self.image(image_id)
        own = image.project_id == self.actor.project_id or self.actor.is_admin
        if image.visibility != "shared" or not own:
            raise NotFound("Only shared images have members.")
        return Response({"members": [], "schema": "/v2/schemas/members"})


class Tasks(ImageApiView):
    """/v2/images/{id}/tasks: what goes on behind an import. There are no imports, so nothing does."""

    def get(self, request: Request, image_id: str) -> Response:
        """None, for an image that is there."""
        self.image(image_id)
        return Response({"tasks": []})


def _link(query: QueryDict, marker: str | None) -> str:
    pairs = [(name, value) for name, values in query.lists() for value in values if name != "marker"]
    if marker is not None:
        pairs.append(("marker", marker))
    return f"{LIST_PATH}?{urlencode(pairs)}" if pairs else LIST_PATH


def _wanted(body: dict[str, Any]) -> verbs.ImageRequest:
    base: dict[str, Any] = {}
    properties: dict[str, str] = {}
    for name, value in body.items():
        check_settable(name)
        check_value(name, value)
        if name in PROPERTIES:
            base[MODEL_FIELDS[name]] = value
        else:
            properties[name] = value
    base["tags"] = tuple(base.get("tags", ()))
    base["owner"] = base.pop("project_id", None)
    if "id" in base:
        base["id"] = UUID(base["id"])
    return verbs.ImageRequest(properties=properties, **base)
