"""evacuate: a server whose host is off, started on another one."""

from __future__ import annotations

from typing import Any, ClassVar

from rest_framework.exceptions import ParseError
from rest_framework.response import Response

from compute.models import Instance
from compute.operations.engine import request as request_operation
from compute.operations.evacuate import Evacuate
from portal.api.body import Body, StrictBooleanField, StrictCharField
from portal.api.compute.actions.handler import Answer, object_of
from portal.api.compute.base import ComputeView
from portal.api.compute.passwords import admin_password, told
from portal.api.wire import HeadersOnly


class EvacuateBody(Body):
    """What ``evacuate`` takes."""

    host = StrictCharField(required=False, max_length=255)
    onSharedStorage = StrictBooleanField()
    adminPass = StrictCharField(required=False, max_length=255, trim_whitespace=False)
    force = StrictBooleanField(required=False, default=False)
    since: ClassVar[dict[str, str]] = {"force": "2.29"}
    until: ClassVar[dict[str, str]] = {"onSharedStorage": "2.13", "force": "2.67"}


def evacuate(view: ComputeView, instance: Instance, argument: Any) -> Answer:
    """Start a server on another host, whose own is down and fenced; up to 2.94 running, from 2.95 on stopped.

    Up to 2.28 a host that is asked for is not asked whether it suits, as in Nova.
    """
    data = EvacuateBody.read(object_of(argument, "evacuate"), view.version)
    if data.get("onSharedStorage") and "adminPass" in data:
        raise ParseError("admin password can't be changed on existing disk")
    if data.get("force") and "host" not in data:
        raise ParseError("Can't force to a non-provided destination")
    tells = not view.at("2.14")
    password = admin_password(data) if tells and not data["onSharedStorage"] else data.get("adminPass")
    params = {
        "host": data.get("host", ""),
        "force": "host" in data and (not view.at("2.29") or data.get("force", False)),
        "stay_off": view.at("2.95"),
        "shared": data.get("onSharedStorage", False),
    }
    request_operation(Evacuate, instance, view.actor, **params, secrets={"admin_password": password})
    return Response(told(password)) if tells else HeadersOnly(200)
