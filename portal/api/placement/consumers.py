"""Consumers: what one instance holds, and what a project's instances hold together."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rest_framework.exceptions import ParseError
from rest_framework.request import Request
from rest_framework.response import Response

from compute.allocations import Allocation, allocations
from compute.models import Host
from portal.api.compute.base import as_uuid, call
from portal.api.placement.base import PlacementView, generation
from portal.api.placement.stock import resources
from portal.api.shape import Shape, field
from portal.identity.policy import enforce

INSTANCE = "INSTANCE"
TYPES = (INSTANCE, "all", "unknown")
QUERY = {"project_id": "1.9", "user_id": "1.9", "consumer_type": "1.38"}

CONSUMER: Shape[Allocation] = Shape(
    field("project_id", lambda one, view: one.project_id, since="1.12"),
    field("user_id", lambda one, view: one.user_id, since="1.12"),
    field("consumer_generation", lambda one, view: generation(one.updated_at), since="1.28"),
    field("consumer_type", lambda one, view: INSTANCE, since="1.38"),
)


class ConsumerAllocations(PlacementView):
    """/allocations/{consumer}"""

    @call("placement:allocations:list", since="1.0")
    def get(self, request: Request, consumer_id: str) -> Response:
        """Show what an instance holds of its host; amid a resize, both flavors."""
        key = as_uuid(consumer_id)
        held = allocations(pk=key) if key else []
        if not held:
            return Response({"allocations": {}})
        one = held[0]
        host = Host.objects.get(pk=one.host_id)
        self.modified = one.updated_at
        entry = {"generation": generation(host.updated_at), "resources": resources(one.amounts)}
        return Response({"allocations": {str(host.uuid): entry}, **CONSUMER.render(one, self.version, self)})


class NotServed(PlacementView):
    """/allocations and /reshaper: what only ever writes."""


class Reshaper(NotServed):
    """/reshaper"""

    since = "1.30"


class ProjectUsages(PlacementView):
    """/usages"""

    since = "1.9"

    def get(self, request: Request) -> Response:
        """Show what the instances of a project hold."""
        self.known_query(QUERY)
        project_id, user_id = self.only("project_id"), self.only("user_id")
        if not project_id:
            raise ParseError("Invalid query string parameters: 'project_id' is a required property")
        enforce(self.actor, "placement:usages", project_id)
        kind = self.only("consumer_type")
        if kind is not None and kind not in TYPES:
            raise ParseError(f"Invalid query string parameters: consumer_type is one of {', '.join(TYPES)}.")
        held = allocations(project=project_id, **({"user": user_id} if user_id else {}))
        return Response({"usages": self._usages(held, kind)})

    get.rule = "placement:usages"  # type: ignore[attr-defined]  # for the table of calls

    def _usages(self, held: list[Allocation], kind: str | None) -> dict[str, Any]:
        """One sum up to 1.37; from 1.38 on one for each type of consumer, of which there is one."""
        total: Counter[str] = Counter()
        for one in held:
            total.update(resources(one.amounts))
        if not self.at("1.38"):
            return dict(total)
        if not held or kind == "unknown":
            return {}
        return {kind or INSTANCE: {"consumer_count": len(held), **total}}
