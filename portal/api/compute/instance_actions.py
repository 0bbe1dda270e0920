"""Instance actions: what was done to a server, with its steps."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from rest_framework.exceptions import ParseError
from rest_framework.request import Request
from rest_framework.response import Response

from compute.errors import NotFound
from compute.models import Action, Event, Instance
from compute.operations import OPERATIONS
from portal.api.compute.base import ComputeView, call
from portal.api.compute.server_query import moment
from portal.api.compute.server_shape import host_id
from portal.api.paging import after, limit_of, next_link
from portal.api.shape import Shape, field
from portal.api.wire import microseconds
from portal.identity.policy import allows

DETAILS = "os_compute_api:os-instance-actions:events:details"


def name_of(row: Action) -> str:
    """Nova's name of an action; both reboots have one."""
    operation = OPERATIONS.get(row.operation)
    return operation.novas_name() if operation else row.operation


ACTION: Shape[Action] = Shape(
    field("action", lambda row, view: name_of(row)),
    field("instance_uuid", lambda row, view: str(row.instance_id)),
    field("request_id", lambda row, view: row.request_id),
    field("user_id", lambda row, view: row.user_id),
    field("project_id", lambda row, view: row.project_id),
    field("start_time", lambda row, view: microseconds(row.created_at)),
    field("message", lambda row, view: row.message or None),
    field("updated_at", lambda row, view: microseconds(row.finished_at or row.updated_at), since="2.58"),
)
EVENT: Shape[Event] = Shape(
    field("event", lambda row, project_id: row.name),
    field("start_time", lambda row, project_id: microseconds(row.started_at)),
    field("finish_time", lambda row, project_id: microseconds(row.finished_at)),
    field("result", lambda row, project_id: row.result or None),
    field("hostId", lambda row, project_id: host_id(project_id, row.host) if row.host else "", since="2.62"),
)
# What administrators see besides.
EVENT_DETAILS: Shape[Event] = Shape(
    field("traceback", lambda row, project_id: row.traceback or None),
    field("host", lambda row, project_id: row.host, since="2.62"),
    field("details", lambda row, project_id: row.message or None, since="2.84"),
)
SHAPES = (ACTION, EVENT, EVENT_DETAILS)


class InstanceActions(ComputeView):
    """/servers/{id}/os-instance-actions"""

    @call("os_compute_api:os-instance-actions:list")
    def get(self, request: Request, server_id: str) -> Response:
        """List what was done to a server, the newest first."""
        rows = Action.objects.filter(instance=self.instance(server_id, actions_live_on(self)))
        if not self.at("2.58"):
            found = list(rows.order_by("-created_at", "-id"))
            return Response({"instanceActions": [ACTION.render(row, self.version, self) for row in found]})
        names = ("limit", "marker", "changes-since") + (("changes-before",) if self.at("2.66") else ())
        self.known_query(*names, strict_since="2.66")
        rows, limit = self._page(rows)
        found = list(rows)
        body: dict[str, Any] = {"instanceActions": [ACTION.render(row, self.version, self) for row in found]}
        if found and len(found) == limit:
            body["links"] = [next_link(request.path, request.query_params, found[-1].request_id)]
        return Response(body)

    def _page(self, rows: QuerySet[Action]) -> tuple[QuerySet[Action], int]:
        query, marker = self.request.query_params, None
        if "marker" in query:
            marker = rows.filter(request_id=query["marker"]).order_by("id").first()
            if marker is None:
                raise ParseError(f"marker [{query['marker'][:60]}] not found")
        since = moment(query["changes-since"], "changes-since") if "changes-since" in query else None
        before = None
        if self.at("2.66") and "changes-before" in query:
            before = moment(query["changes-before"], "changes-before")
        if since and before and since > before:
            raise ParseError("The value of changes-since must be less than or equal to changes-before.")
        rows = rows.filter(updated_at__gte=since) if since else rows
        rows = rows.filter(updated_at__lte=before) if before else rows
        limit = limit_of(query)
        return after(rows, marker, [("created_at", True), ("id", True)])[:limit], limit


class InstanceAction(ComputeView):
    """/servers/{id}/os-instance-actions/{request_id}"""

    @call("os_compute_api:os-instance-actions:show")
    def get(self, request: Request, server_id: str, request_id: str) -> Response:
        """Show one action with its steps; up to 2.50 only administrators see those."""
        instance = self.instance(server_id, actions_live_on(self))
        row = Action.objects.filter(instance=instance, request_id=request_id).order_by("id").first()
        if row is None:
            raise NotFound(f"Action {request_id} not found")
        body = ACTION.render(row, self.version, self)
        sees_details = allows(self.actor, DETAILS)
        if sees_details or self.at("2.51"):
            body["events"] = [
                self._event(event, instance, sees_details) for event in row.events.order_by("-started_at", "-id")
            ]
        return Response({"instanceAction": body})

    def _event(self, event: Event, instance: Instance, sees_details: bool) -> dict[str, Any]:
        body = EVENT.render(event, self.version, instance.project_id)
        return body | EVENT_DETAILS.render(event, self.version, instance.project_id) if sees_details else body


def actions_live_on(view: ComputeView) -> Any:
    """From 2.21 on the actions of deleted servers can still be read."""
    return Instance.objects.all() if view.at("2.21") else Instance.objects.alive()
