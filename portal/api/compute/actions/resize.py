"""resize: the new flavor. Confirming and taking back need no parameters."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers
from rest_framework.exceptions import ValidationError

from compute.models import Instance
from compute.operations.engine import request as request_operation
from compute.operations.resize import Resize
from portal.api.body import Body
from portal.api.compute.actions.handler import Answer, object_of
from portal.api.compute.base import ComputeView
from portal.api.wire import HeadersOnly


class ResizeBody(Body):
    """What ``resize`` takes."""

    flavorRef = serializers.JSONField()

    def get_fields(self) -> dict[str, Any]:
        """The wire's names with a colon in them cannot be attributes."""
        fields = super().get_fields()
        fields["OS-DCF:diskConfig"] = serializers.ChoiceField(["AUTO", "MANUAL"], required=False)
        return fields


def resize(view: ComputeView, instance: Instance, argument: Any) -> Answer:
    """Give the instance another flavor, to be confirmed or reverted."""
    data = ResizeBody.read(object_of(argument, "resize"), view.version)
    flavor = data["flavorRef"]
    if isinstance(flavor, bool) or not isinstance(flavor, str | int) or flavor == "":
        raise ValidationError("Invalid input for field/attribute flavorRef. It must be the id of a flavor.")
    params = {"disk_config": data["OS-DCF:diskConfig"]} if "OS-DCF:diskConfig" in data else {}
    request_operation(Resize, instance, view.actor, flavor_id=str(flavor), **params)
    return HeadersOnly(202)
