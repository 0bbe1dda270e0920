"""migrate: to another host, and since 2.56 to one that an administrator names."""

from __future__ import annotations

from typing import Any, ClassVar

from compute.models import Instance
from compute.operations.engine import request as request_operation
from compute.operations.resize import Migrate
from portal.api.body import Body
from portal.api.compute.actions.handler import Answer, object_of
from portal.api.compute.base import ComputeView
from portal.api.compute.server_body import NameField
from portal.api.wire import HeadersOnly


class MigrateBody(Body):
    """What ``migrate`` takes."""

    host = NameField(required=False, allow_null=True)
    since: ClassVar[dict[str, str]] = {"host": "2.56"}


def migrate(view: ComputeView, instance: Instance, argument: Any) -> Answer:
    """Bring the instance to another host, to be confirmed or reverted."""
    params: dict[str, Any] = {}
    if argument is not None and view.at("2.56"):  # before, what the key holds is not looked at, as in Nova
        params = {"host": MigrateBody.read(object_of(argument, "migrate"), view.version).get("host")}
    request_operation(Migrate, instance, view.actor, **params)
    return HeadersOnly(202)
