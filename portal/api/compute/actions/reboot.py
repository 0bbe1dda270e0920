"""reboot: two operations under one key."""

from __future__ import annotations

from typing import Any

from rest_framework.exceptions import ValidationError

from compute.models import Instance
from compute.operations.engine import request as request_operation
from compute.operations.power import HardReboot, SoftReboot
from portal.api.compute.actions.handler import Answer, object_of
from portal.api.compute.base import ComputeView
from portal.api.wire import HeadersOnly

REBOOTS = {"SOFT": SoftReboot, "HARD": HardReboot}


def reboot(view: ComputeView, instance: Instance, argument: Any) -> Answer:
    """Restart the instance: type SOFT or HARD."""
    kind = object_of(argument, "reboot").get("type")
    if not isinstance(kind, str) or kind.upper() not in REBOOTS or len(argument) > 1:
        raise ValidationError(
            f"Invalid input for field/attribute type. Value: {str(kind)[:60]}. It must be SOFT or HARD."
        )
    request_operation(REBOOTS[kind.upper()], instance, view.actor)
    return HeadersOnly(202)
