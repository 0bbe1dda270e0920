"""Images and networks through the compute API, as it was up to 2.35; their own APIs have the whole of them."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from rest_framework.exceptions import ParseError
from rest_framework.request import Request
from rest_framework.response import Response

from compute.errors import NotFound
from compute.images.verbs import delete_image
from compute.models import Image, ImageStatus, Network
from portal.api.compute.base import ComputeView, as_uuid, call
from portal.api.paging import after, limit_of, next_link
from portal.api.shape import Shape, field
from portal.api.wire import HeadersOnly, seconds

IMAGE_STATUS = {
    ImageStatus.ACTIVE: "ACTIVE",
    ImageStatus.QUEUED: "SAVING",
    ImageStatus.SAVING: "SAVING",
    ImageStatus.DELETED: "DELETED",
    ImageStatus.PENDING_DELETE: "DELETED",
    ImageStatus.KILLED: "ERROR",
}
PROGRESS = {"ACTIVE": 100, "SAVING": 25}


def _status(row: Image, view: Any) -> str:
    return IMAGE_STATUS.get(ImageStatus(row.status), "UNKNOWN")


def _links(row: Image, view: ComputeView) -> list[dict[str, str]]:
    alternate = {
        "rel": "alternate",
        "type": "application/vnd.openstack.image",
        "href": f"{settings.PUBLIC_URL}/image/v2/images/{row.id}",
    }
    return [*view.links("images", row.id), alternate]


BRIEF: Shape[Image] = Shape(
    field("id", lambda row, view: str(row.id)),
    field("name", lambda row, view: row.name),
    field("links", _links),
)
FULL: Shape[Image] = Shape(
    *BRIEF.fields,
    field("status", _status),
    field("progress", lambda row, view: PROGRESS.get(_status(row, view), 0)),
    field("minDisk", lambda row, view: row.min_disk_gb),
    field("minRam", lambda row, view: row.min_memory_mb),
    field("metadata", lambda row, view: row.properties),
    field("created", lambda row, view: seconds(row.created_at)),
    field("updated", lambda row, view: seconds(row.updated_at)),
    field("OS-EXT-IMG-SIZE:size", lambda row, view: row.size),
)
SHAPES = (BRIEF, FULL)


def _body(shape: Shape[Image], row: Image, view: ComputeView) -> dict[str, Any]:
    """An image; one that was made of a server says of which."""
    body = shape.render(row, view.version, view)
    if shape is FULL and (server := row.properties.get("instance_uuid")):
        body["server"] = {"id": server, "links": view.links("servers", server)}
    return body


class ImageList(ComputeView):
    """What both lists of images share."""

    def answer(self, shape: Shape[Image]) -> Response:
        """A page of the images that the caller may see, by name, status, server and type."""
        query, marker = self.request.query_params, None
        rows = Image.objects.visible_to(self.actor).exclude(status=ImageStatus.DELETED)
        if "name" in query:
            rows = rows.filter(name=query["name"])
        if "status" in query:
            wanted = query["status"].upper()
            rows = rows.filter(status__in=[one for one, name in IMAGE_STATUS.items() if name == wanted])
        if "server" in query:
            rows = rows.filter(properties__instance_uuid=query["server"].rstrip("/").rsplit("/", 1)[-1])
        if "type" in query:
            rows = rows.filter(properties__image_type=query["type"])
        if "marker" in query:
            uuid = as_uuid(query["marker"])
            marker = rows.filter(pk=uuid).first() if uuid else None
            if marker is None:
                raise ParseError(f"marker [{query['marker'][:60]}] not found")
        limit = limit_of(query)
        found = list(after(rows, marker, [("created_at", True), ("id", True)])[:limit])
        body: dict[str, Any] = {"images": [_body(shape, row, self) for row in found]}
        if found and len(found) == limit:
            body["images_links"] = [next_link(self.request.path, query, str(found[-1].id))]
        return Response(body)


class Images(ImageList):
    """/images"""

    @call("os_compute_api:proxy:images", until="2.35")
    def get(self, request: Request) -> Response:
        """List images (up to 2.35)."""
        return self.answer(BRIEF)


class ImagesDetail(ImageList):
    """/images/detail"""

    @call("os_compute_api:proxy:images", until="2.35")
    def get(self, request: Request) -> Response:
        """List images with all that Nova knew of them (up to 2.35)."""
        return self.answer(FULL)


class ImageView(ComputeView):
    """/images/{id}"""

    @call("os_compute_api:proxy:images", until="2.35")
    def get(self, request: Request, image_id: str) -> Response:
        """Show an image (up to 2.35)."""
        return Response({"image": _body(FULL, find_image(self, image_id), self)})

    @call("os_compute_api:proxy:images:delete", until="2.35")
    def delete(self, request: Request, image_id: str) -> HeadersOnly:
        """Delete an image (up to 2.35)."""
        delete_image(actor=self.actor, image=find_image(self, image_id))
        return HeadersOnly()


def find_image(view: ComputeView, image_id: str) -> Image:
    """The image of the path, if the caller may see it. Raises NotFound."""
    uuid = as_uuid(image_id)
    rows = Image.objects.visible_to(view.actor).exclude(status=ImageStatus.DELETED)
    row = rows.filter(pk=uuid).first() if uuid else None
    if row is None:
        raise NotFound(f"Image {image_id} not found.")
    return row


class Networks(ComputeView):
    """/os-networks and /os-tenant-networks"""

    @call("os_compute_api:proxy:networks", until="2.35")
    def get(self, request: Request) -> Response:
        """List networks (up to 2.35)."""
        rows = Network.objects.visible_to(self.actor)
        return Response({"networks": [network_body(row) for row in rows]})


class NetworkView(ComputeView):
    """/os-networks/{id} and /os-tenant-networks/{id}"""

    @call("os_compute_api:proxy:networks", until="2.35")
    def get(self, request: Request, network_id: str) -> Response:
        """Show a network (up to 2.35)."""
        uuid = as_uuid(network_id)
        row = Network.objects.visible_to(self.actor).filter(pk=uuid).first() if uuid else None
        if row is None:
            raise NotFound(f"Network {network_id} could not be found.")
        return Response({"network": network_body(row)})


def network_body(row: Network) -> dict[str, Any]:
    """Nova's form of a network, which is Neutron's with all but the name left out."""
    return {"id": str(row.id), "label": row.name, "cidr": None}
