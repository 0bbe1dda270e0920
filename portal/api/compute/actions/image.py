"""createImage and createBackup: the answer names the image, as a Location up to 2.44 and in the body since."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from rest_framework.response import Response

from compute.instances import check_metadata_count
from compute.models import Action, Instance
from compute.operations.engine import request as request_operation
from compute.operations.snapshot import CreateBackup, CreateImage
from portal.api.body import Body, StrictCharField, StrictIntegerField
from portal.api.compute.actions.handler import Answer, object_of
from portal.api.compute.base import ComputeView
from portal.api.compute.image_metadata import check_names
from portal.api.compute.server_body import MetadataField, NameField
from portal.api.wire import HeadersOnly


class CreateImageBody(Body):
    """What ``createImage`` takes. The metadata become properties of the image."""

    name = NameField()
    metadata = MetadataField(required=False)

    def validate_metadata(self, items: dict[str, str]) -> dict[str, str]:
        """Refuse the names of an image's own attributes."""
        return check_names(items)


class CreateBackupBody(CreateImageBody):
    """What ``createBackup`` takes."""

    backup_type = StrictCharField(max_length=255, trim_whitespace=False)
    rotation = StrictIntegerField(min_value=0, max_value=1_000_000)


def create_image(view: ComputeView, instance: Instance, argument: Any) -> Answer:
    """Make an image of the instance's disk; a running instance goes on running."""
    data = CreateImageBody.read(object_of(argument, "createImage"), view.version)
    _check_quota(view, instance, data)
    return _answer(view, request_operation(CreateImage, instance, view.actor, **data))


def create_backup(view: ComputeView, instance: Instance, argument: Any) -> Answer:
    """Make an image of the instance's disk, and delete the oldest of its kind beyond those that are kept."""
    data = CreateBackupBody.read(object_of(argument, "createBackup"), view.version)
    _check_quota(view, instance, data)
    return _answer(view, request_operation(CreateBackup, instance, view.actor, **data), stays=data["rotation"] > 0)


def _check_quota(view: ComputeView, instance: Instance, data: dict[str, Any]) -> None:
    """Up to 2.38 an image's metadata count as a server's."""
    if not view.at("2.39"):
        check_metadata_count(instance.project_id, data.get("metadata", {}))


def _answer(view: ComputeView, action: Action, *, stays: bool = True) -> Answer:
    """``stays``: the image will be there afterwards."""
    if view.at("2.45"):
        return Response({"image_id": action.params["image"]}, status=202)
    answer = HeadersOnly(202)
    if stays:
        answer["Location"] = f"{settings.PUBLIC_URL}/image/v2/images/{action.params['image']}"
    return answer
