"""An image's metadata through the compute API, as it was up to 2.38: they are the properties of the image."""

from __future__ import annotations

from rest_framework.exceptions import ParseError, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from compute.errors import NotFound
from compute.images.verbs import edit_image
from compute.instances import check_metadata_count
from compute.models import Image
from portal.api.compute.base import ComputeView, call
from portal.api.compute.proxies import find_image
from portal.api.compute.server_body import MetadataField, check_metadata_item
from portal.api.image.schema import PROPERTIES, RESERVED
from portal.api.wire import HeadersOnly

RULE = "os_compute_api:proxy:images"
MODIFY = "os_compute_api:proxy:images:metadata"


def check_names(items: dict[str, str]) -> dict[str, str]:
    """Raise ValidationError for a name that is an image's own attribute."""
    if taken := sorted(name for name in items if name in PROPERTIES or name in RESERVED):
        raise ValidationError(f"Invalid metadata key: an image has an attribute of the name {taken[0]}.")
    return items


def _write(view: ComputeView, image: Image, items: dict[str, str], *, replace: bool = False) -> dict[str, str]:
    """Add to the properties, or replace them. Returns all of them."""
    check_names(items)

    def edit(now: Image) -> dict[str, dict[str, str]]:
        properties = dict(items) if replace else {**now.properties, **items}
        check_metadata_count(now.project_id, properties)
        return {"properties": properties}

    return dict(edit_image(actor=view.actor, image=image, edit=edit).properties)


class ImageMetadata(ComputeView):
    """/images/{id}/metadata"""

    @call(RULE, until="2.38")
    def get(self, request: Request, image_id: str) -> Response:
        """List an image's metadata (up to 2.38)."""
        return Response({"metadata": find_image(self, image_id).properties})

    @call(MODIFY, until="2.38")
    def post(self, request: Request, image_id: str) -> Response:
        """Add to an image's metadata (up to 2.38)."""
        return self._answer(image_id, replace=False)

    @call(MODIFY, until="2.38")
    def put(self, request: Request, image_id: str) -> Response:
        """Replace an image's metadata (up to 2.38)."""
        return self._answer(image_id, replace=True)

    def _answer(self, image_id: str, *, replace: bool) -> Response:
        image = find_image(self, image_id)
        if set(self.body) != {"metadata"}:
            raise ParseError("The body must hold 'metadata' and nothing else.")
        items = MetadataField().run_validation(self.body["metadata"])
        return Response({"metadata": _write(self, image, items, replace=replace)})


class ImageMetadataItem(ComputeView):
    """/images/{id}/metadata/{key}"""

    @call(RULE, until="2.38")
    def get(self, request: Request, image_id: str, key: str) -> Response:
        """Show one item of an image's metadata (up to 2.38)."""
        return Response({"meta": {key: self._image_with(image_id, key).properties[key]}})

    @call(MODIFY, until="2.38")
    def put(self, request: Request, image_id: str, key: str) -> Response:
        """Change or add one item of an image's metadata (up to 2.38)."""
        image, meta = find_image(self, image_id), self.body.get("meta")
        if set(self.body) != {"meta"} or not isinstance(meta, dict) or len(meta) != 1:
            raise ParseError("The body must hold 'meta' with one item and nothing else.")
        if set(meta) != {key}:
            raise ParseError("Request body and URI mismatch")
        check_metadata_item(key, meta[key])
        _write(self, image, meta)
        return Response({"meta": meta})

    @call(MODIFY, until="2.38")
    def delete(self, request: Request, image_id: str, key: str) -> HeadersOnly:
        """Take an item out of an image's metadata (up to 2.38)."""
        image = self._image_with(image_id, key)

        def edit(now: Image) -> dict[str, dict[str, str]]:
            return {"properties": {name: value for name, value in now.properties.items() if name != key}}

        edit_image(actor=self.actor, image=image, edit=edit)
        return HeadersOnly()

    def _image_with(self, image_id: str, key: str) -> Image:
        image = find_image(self, image_id)
        if key not in image.properties:
            raise NotFound("Metadata item was not found")
        return image
