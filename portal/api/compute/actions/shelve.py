"""unshelve: with a zone since 2.77, and with a host, or no zone at all, since 2.91."""

from __future__ import annotations

from typing import Any, ClassVar

from rest_framework.exceptions import ValidationError

from compute.models import Instance
from compute.operations.engine import request as request_operation
from compute.operations.shelve import Unshelve
from portal.api.body import Body
from portal.api.compute.actions.handler import Answer, object_of
from portal.api.compute.base import ComputeView
from portal.api.compute.server_body import NameField
from portal.api.wire import HeadersOnly


class UnshelveBody(Body):
    """What ``unshelve`` takes."""

    availability_zone = NameField(required=False, allow_null=True)
    host = NameField(required=False)
    since: ClassVar[dict[str, str]] = {"host": "2.91"}


def unshelve(view: ComputeView, instance: Instance, argument: Any) -> Answer:
    """Bring a shelved instance back."""
    request_operation(Unshelve, instance, view.actor, **_place(view, argument))
    return HeadersOnly(202)


def _place(view: ComputeView, argument: Any) -> dict[str, Any]:
    """Where it shall come back. Before 2.77 what the key holds is not looked at, as in Nova."""
    if argument is None or not view.at("2.77"):
        return {}
    data = UnshelveBody.read(object_of(argument, "unshelve"), view.version)
    if not view.at("2.91") and data.get("availability_zone") is None:
        raise ValidationError("Invalid input for field/attribute unshelve. 'availability_zone' is a required property")
    place = {"host": data["host"]} if "host" in data else {}
    return place | ({"zone": data["availability_zone"]} if "availability_zone" in data else {})
