"""An image's data on the wire: in and out in chunks, never whole in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from asgiref.sync import sync_to_async
from django.http import HttpResponseBase, StreamingHttpResponse
from rest_framework.exceptions import UnsupportedMediaType
from rest_framework.request import Request

from compute.errors import NotAllowed
from compute.images import store, verbs
from compute.models import ImageStatus
from portal.api.image.views import ImageApiView
from portal.api.wire import HeadersOnly
from portal.identity.policy import enforce

MEDIA_TYPE = "application/octet-stream"


class DataResponse(StreamingHttpResponse):
    """A file's chunks. Read one by one under ASGI too, where Django would collect a plain iterator first."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        chunks: Iterator[bytes] = iter(self)

        def following() -> bytes:
            return next(chunks, b"")

        while chunk := await sync_to_async(following, thread_sensitive=False)():
            yield chunk


class ImageData(ImageApiView):
    """/v2/images/{id}/file."""

    def get(self, request: Request, image_id: str) -> HttpResponseBase:
        """Download; 204 while there is no data."""
        image = self.image(image_id)
        # A public image's data is everybody's to read, so the rule asks for the role alone.
        enforce(self.actor, "image:download")
        if image.status == ImageStatus.DEACTIVATED and not self.actor.is_admin:
            raise NotAllowed("The requested image has been deactivated. Image data download is forbidden.")
        if image.status not in (ImageStatus.ACTIVE, ImageStatus.DEACTIVATED):
            return HeadersOnly()
        headers = {"Content-Length": str(image.size)}
        if image.checksum:
            headers["Content-MD5"] = image.checksum
        return DataResponse(store.open_bytes(image), content_type=MEDIA_TYPE, headers=headers)

    def put(self, request: Request, image_id: str) -> HttpResponseBase:
        """Upload, once."""
        image = self.image(image_id)
        enforce(self.actor, "image:upload", image.project_id)
        media_type = (request.content_type or "").split(";", 1)[0].strip().lower()
        if media_type != MEDIA_TYPE:
            raise UnsupportedMediaType(media_type, f"The Content-Type of image data must be {MEDIA_TYPE}.")
        # The request itself, not DRF's parsers: its body lies in a temporary file by now.
        verbs.upload(actor=self.actor, image=image, stream=request._request)
        return HeadersOnly()
