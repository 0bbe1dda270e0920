"""rescue: from which image, and the password that clients wait for."""

from __future__ import annotations

from typing import Any

from rest_framework.exceptions import ValidationError
from rest_framework.response import Response

from compute.models import Instance
from compute.operations.engine import request as request_operation
from compute.operations.rescue import Rescue
from portal.api.body import Body, StrictCharField
from portal.api.compute.actions.handler import Answer, object_of
from portal.api.compute.base import ComputeView, as_uuid
from portal.api.compute.passwords import admin_password, told


class RescueBody(Body):
    """What ``rescue`` takes."""

    adminPass = StrictCharField(required=False, max_length=255, trim_whitespace=False)
    rescue_image_ref = StrictCharField(required=False)


def rescue(view: ComputeView, instance: Instance, argument: Any) -> Answer:
    """Boot from a rescue image, with the instance's own disk second."""
    data = RescueBody.read({} if argument is None else object_of(argument, "rescue"), view.version)
    image_id = data.get("rescue_image_ref")
    if image_id is not None and as_uuid(image_id) is None:
        raise ValidationError(
            f"Invalid input for field/attribute rescue_image_ref. Value: {image_id[:60]}. It must be a UUID."
        )
    password = admin_password(data)
    params: dict[str, Any] = {"image_id": image_id} if image_id else {}
    request_operation(Rescue, instance, view.actor, **params, secrets={"admin_password": password})
    return Response(told(password))
