"""rebuild: the answer is the whole server."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.response import Response

from compute.errors import Invalid
from compute.instances import check_metadata_count
from compute.models import Instance
from compute.operations.rebuild import RebuildRequest
from compute.operations.rebuild import rebuild as request_rebuild
from portal.api.body import StrictBooleanField, StrictCharField
from portal.api.compute import server_shape as shape
from portal.api.compute.actions.handler import Answer, object_of
from portal.api.compute.base import ComputeView, as_uuid
from portal.api.compute.passwords import admin_password, told
from portal.api.compute.server_body import MetadataField, UpdateBody, UserDataField

# The wire's name of what may change besides the image, and the model's.
FIELDS = {
    "name": "name",
    "description": "description",
    "metadata": "metadata",
    "user_data": "user_data",
    "key_name": "key_name",
    "hostname": "hostname",
    "accessIPv4": "access_ipv4",
    "accessIPv6": "access_ipv6",
    "OS-DCF:diskConfig": "disk_config",
}


class RebuildBody(UpdateBody):
    """What ``rebuild`` takes."""

    imageRef = StrictCharField()
    adminPass = StrictCharField(required=False, max_length=255, trim_whitespace=False)
    metadata = MetadataField(required=False)
    preserve_ephemeral = StrictBooleanField(required=False)
    personality = serializers.JSONField(required=False)
    key_name = StrictCharField(required=False, allow_null=True, max_length=255, trim_whitespace=False)
    user_data = UserDataField(required=False)
    trusted_image_certificates = serializers.JSONField(required=False)
    since: ClassVar[dict[str, str]] = {
        **UpdateBody.since,
        "key_name": "2.54",
        "user_data": "2.57",
        "trusted_image_certificates": "2.63",
    }
    until: ClassVar[dict[str, str]] = {"personality": "2.56"}


def rebuild(view: ComputeView, instance: Instance, argument: Any) -> Answer:
    """Make the instance anew of an image; its id, addresses and flavor stay."""
    data = RebuildBody.read(object_of(argument, "rebuild"), view.version)
    check_metadata_count(instance.project_id, data.get("metadata", {}))
    password = admin_password(data)
    row = request_rebuild(view.actor, instance, replace(_wanted(data), admin_password=password))
    body = _body(view, row) | told(password)
    return Response({"server": body}, status=202, headers={"Location": f"{view.base}/servers/{row.id}"})


def _wanted(data: dict[str, Any]) -> RebuildRequest:
    if as_uuid(data["imageRef"]) is None:
        raise ValidationError(
            f"Invalid input for field/attribute imageRef. Value: {data['imageRef'][:60]}. It must be a UUID."
        )
    if data.get("personality"):
        raise Invalid("Injecting files (personality) is not served; hand them over in user_data.")
    if data.get("trusted_image_certificates"):
        raise Invalid("Validating images by certificates (trusted_image_certificates) is not served.")
    fields = {FIELDS[name]: value for name, value in data.items() if name in FIELDS}
    if "user_data" in fields:
        fields["user_data"] = "".join((fields["user_data"] or "").split()) or None
    return RebuildRequest(data["imageRef"], fields, bool(data.get("preserve_ephemeral")))


def _body(view: ComputeView, row: Instance) -> dict[str, Any]:
    """The server as Nova answers here: up to 2.74 less than ``show``, with what a rebuild may change added."""
    whole = view.at("2.75")
    page = shape.page_of(view, [row], extended_addresses=whole)
    body = shape.alone(row, page) if whole else shape.brief(row, page) | shape.ALONE.render(row, view.version, page)
    body.pop("OS-EXT-SRV-ATTR:user_data", None)  # said under its own name here
    return body | shape.REBUILT.render(row, view.version, page)
