"""Services: one nova-compute for each host, as clients know it."""

from __future__ import annotations

from typing import Any

from rest_framework.exceptions import ParseError, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from compute.errors import NotFound
from compute.hosts.removal import remove_host
from compute.hosts.service import REASON_CAP, set_enabled, set_forced_down
from compute.models import Host
from portal.api.body import StrictBooleanField
from portal.api.compute.base import ComputeView, as_uuid, call
from portal.api.shape import Shape, field
from portal.api.wire import HeadersOnly, microseconds

BINARY = "nova-compute"
# The last part of the paths up to 2.52, and the first version that has each.
OLD_VERBS = {"enable": "2.1", "disable": "2.1", "disable-log-reason": "2.1", "force-down": "2.11"}

SERVICE: Shape[Host] = Shape(
    field("id", lambda row, view: row.pk, until="2.52"),
    field("id", lambda row, view: str(row.service_uuid), since="2.53"),
    field("binary", lambda row, view: BINARY),
    field("host", lambda row, view: row.name),
    field("zone", lambda row, view: row.zone),
    field("status", lambda row, view: "enabled" if row.enabled else "disabled"),
    field("state", lambda row, view: "up" if row.is_up else "down"),
    field("updated_at", lambda row, view: microseconds(row.last_seen_at or row.updated_at)),
    field("disabled_reason", lambda row, view: row.disabled_reason or None),
    field("forced_down", lambda row, view: row.forced_down, since="2.11"),
)
SHAPES = (SERVICE,)


class Services(ComputeView):
    """/os-services"""

    @call("os_compute_api:os-services")
    def get(self, request: Request) -> Response:
        """List the compute services."""
        self.known_query("host", "binary")
        query = request.query_params
        rows = Host.objects.order_by("id")
        if query.get("host", "None") != "None":
            rows = rows.filter(name=query["host"])
        if query.get("binary", "None") not in ("None", BINARY):
            rows = rows.none()
        return Response({"services": [SERVICE.render(row, self.version, self) for row in rows]})


class ServiceView(ComputeView):
    """/os-services/{id}; up to 2.52 the last part is the verb."""

    @call("os_compute_api:os-services")
    def put(self, request: Request, service_id: str) -> Response:
        """Enable or disable a service, or say that its host is down for sure."""
        if self.at("2.53"):
            return self._by_uuid(service_id)
        since = OLD_VERBS.get(service_id)
        if since is None or not self.at(since):
            raise NotFound("Unknown action")
        return self._by_verb(service_id)

    @call("os_compute_api:os-services")
    def delete(self, request: Request, service_id: str) -> HeadersOnly:
        """Remove a host on which there is no server; the machine is left as it is."""
        remove_host(self.actor, self._found(service_id))
        return HeadersOnly()

    def _found(self, service_id: str) -> Host:
        """By its UUID, up to 2.52 by its number. Raises NotFound, and ParseError for no id."""
        if self.at("2.53"):
            uuid = as_uuid(service_id)
            if uuid is None:
                raise ParseError(f"Invalid uuid {service_id[:60]}")
            row = Host.objects.filter(service_uuid=uuid).first()
        else:
            if not (service_id.isascii() and service_id.isdigit() and len(service_id) < 19):
                raise ParseError(f"Invalid service id {service_id[:60]}")
            row = Host.objects.filter(pk=int(service_id)).first()
        if row is None:
            raise NotFound(f"Service {service_id[:60]} could not be found.")
        return row

    def _by_uuid(self, service_id: str) -> Response:
        row = self._found(service_id)
        status, reason, forced_down = _wanted(self.body)
        if forced_down is not None:
            set_forced_down(self.actor, row, forced_down=forced_down)
        if status is not None:
            set_enabled(self.actor, row, enabled=status == "enabled", reason=reason)
        return Response({"service": SERVICE.render(row, self.version, self)})

    def _by_verb(self, verb: str) -> Response:
        body = self.body
        extra = {"disable-log-reason": "disabled_reason", "force-down": "forced_down"}.get(verb)
        expected = {"host", "binary"} | ({extra} if extra else set())
        if set(body) != expected or not isinstance(body["host"], str):
            raise ValidationError(f"The body must hold {', '.join(sorted(expected))} and nothing else.")
        row = Host.objects.filter(name=body["host"]).first() if body["binary"] == BINARY else None
        if row is None:
            raise NotFound(f"Could not find binary {str(body['binary'])[:60]} on host {body['host'][:60]}.")
        answer: dict[str, Any] = {"host": row.name, "binary": BINARY}
        if verb == "force-down":
            set_forced_down(self.actor, row, forced_down=StrictBooleanField().run_validation(body["forced_down"]))
            return Response({"service": {**answer, "forced_down": row.forced_down}})
        reason = _reason(body["disabled_reason"]) if extra else ""
        set_enabled(self.actor, row, enabled=verb == "enable", reason=reason)
        answer["status"] = "enabled" if row.enabled else "disabled"
        return Response({"service": {**answer, "disabled_reason": reason} if extra else answer})


def _reason(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value.strip()) <= REASON_CAP or "\x00" in value:
        raise ValidationError("Disabled reason contains invalid characters or is too long")
    return value


def _wanted(body: dict[str, Any]) -> tuple[str | None, str, bool | None]:
    """Status, reason and forced_down of a body (2.53). Raises ValidationError and ParseError."""
    if unknown := sorted(set(body) - {"status", "disabled_reason", "forced_down"}):
        raise ValidationError(f"Additional properties are not allowed ({', '.join(unknown)}).")
    status = body.get("status")
    if status not in (None, "enabled", "disabled"):
        raise ValidationError(f"Invalid input for field/attribute status. Value: {str(status)[:60]}.")
    if "disabled_reason" in body and status != "disabled":
        raise ParseError("Specifying disabled_reason requires that status is disabled.")
    if status is None and "forced_down" not in body:
        raise ParseError("No updates were requested. Fields 'status' or 'forced_down' should be specified.")
    forced_down = StrictBooleanField().run_validation(body["forced_down"]) if "forced_down" in body else None
    return status, _reason(body["disabled_reason"]) if "disabled_reason" in body else "", forced_down
