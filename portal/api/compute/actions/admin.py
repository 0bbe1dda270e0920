"""changePassword, os-resetState, trigger_crash_dump: what looks into a guest, or behind it."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers
from rest_framework.exceptions import ValidationError

from compute.models import Instance
from compute.operations.crash_dump import CrashDump
from compute.operations.engine import request as request_operation
from compute.operations.password import change_password
from compute.operations.reset_state import STATES, reset_state
from portal.api.body import Body, StrictCharField
from portal.api.compute.actions.handler import Answer, object_of
from portal.api.compute.base import ComputeView
from portal.api.wire import HeadersOnly


class PasswordBody(Body):
    """What ``changePassword`` takes."""

    adminPass = StrictCharField(allow_blank=True, max_length=255, trim_whitespace=False)


class StateBody(Body):
    """What ``os-resetState`` takes."""

    state = serializers.ChoiceField(choices=list(STATES))


def password(view: ComputeView, instance: Instance, argument: Any) -> Answer:
    """Set the password of the guest's administrator, through the agent in the guest."""
    data = PasswordBody.read(object_of(argument, "changePassword"), view.version)
    change_password(view.actor, instance, password=data["adminPass"])
    return HeadersOnly(202)


def state(view: ComputeView, instance: Instance, argument: Any) -> Answer:
    """Set the state by hand: active or error."""
    data = StateBody.read(object_of(argument, "os-resetState"), view.version)
    reset_state(view.actor, instance, state=STATES[data["state"]])
    return HeadersOnly(202)


def crash_dump(view: ComputeView, instance: Instance, argument: Any) -> Answer:
    """Send a non-maskable interrupt, upon which a guest may write a crash dump (since 2.17)."""
    if argument is not None:
        raise ValidationError("Invalid input for field/attribute trigger_crash_dump. It must be null.")
    request_operation(CrashDump, instance, view.actor)
    return HeadersOnly(202)
