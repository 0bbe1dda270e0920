"""lock and unlock."""

from __future__ import annotations

from typing import Any

from compute.models import Instance
from compute.operations import locks
from portal.api.body import Body, StrictCharField
from portal.api.compute.actions.handler import Answer
from portal.api.compute.base import ComputeView
from portal.api.wire import HeadersOnly


class LockBody(Body):
    """What ``lock`` takes since 2.73."""

    locked_reason = StrictCharField(required=False, min_length=1, max_length=255, trim_whitespace=False)


def lock(view: ComputeView, instance: Instance, argument: Any) -> Answer:
    """Lock the instance: only administrators change it then. A reason since 2.73."""
    takes_reason = view.at("2.73") and argument is not None
    reason = LockBody.read(argument, view.version).get("locked_reason") if takes_reason else None
    locks.lock(view.actor, instance, reason=reason)
    return HeadersOnly(202)


def unlock(view: ComputeView, instance: Instance, argument: Any) -> Answer:
    """Unlock the instance."""
    locks.unlock(view.actor, instance)
    return HeadersOnly(202)
