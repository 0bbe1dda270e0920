"""The load of hosts and servers over time."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from drf_spectacular.utils import OpenApiParameter, extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.exceptions import ParseError
from rest_framework.request import Request
from rest_framework.response import Response

from compute.models import Instance
from compute.statistics import reading
from compute.statistics.packing import OF_HOSTS, OF_INSTANCES
from compute.statistics.reading import RANGES, Load
from portal.api.compute.base import find_instance
from portal.api.nacelle.fencing import host_of
from portal.api.wire import ApiView
from portal.identity.policy import enforce

RULE = "nacelle:server-stats"
# The columns of a load, by names that say their unit.
_TRAFFIC = {
    "read": "disk_read_bytes_per_second",
    "write": "disk_write_bytes_per_second",
    "receive": "network_receive_bytes_per_second",
    "transmit": "network_transmit_bytes_per_second",
}
NAMES = {
    "cpu": "cpu_percent",
    "memory": "memory_used_mb",
    "disk": "disk_used_gb",
    "guests": "servers_running",
    "read_requests": "disk_read_requests_per_second",
    "write_requests": "disk_write_requests_per_second",
    **_TRAFFIC,
}
RANGE = OpenApiParameter("range", enum=list(RANGES), default="1h", description="How far back.")


class Points(serializers.Serializer[Any]):
    """Columns of equal length; null: not known. Times are seconds since 1970."""

    since = serializers.IntegerField()
    until = serializers.IntegerField()
    step = serializers.IntegerField(help_text="Seconds that a point stands for.")
    at = serializers.ListField(child=serializers.IntegerField(), help_text="When each point begins.")


def _answers(name: str, columns: tuple[str, ...]) -> Any:
    fields = {NAMES[one]: serializers.ListField(child=serializers.FloatField(allow_null=True)) for one in columns}
    points = inline_serializer(f"{name}Points", {**Points().get_fields(), **fields})
    return inline_serializer(name, {"stats": points})


def _range(request: Request) -> str:
    asked = request.query_params.get("range", "1h")
    if asked not in RANGES:
        raise ParseError(f"The range is {', '.join(RANGES)}, not {asked[:16]}.")
    return asked


def _answer(load: Load) -> Response:
    body = {"since": load.since, "until": load.until, "step": load.step, "at": load.at}
    return Response({"stats": body | {NAMES[name]: column for name, column in load.columns.items()}})


class HostStats(ApiView):
    """The load of one host."""

    @extend_schema(operation_id="host_stats", parameters=[RANGE], responses=_answers("HostStats", OF_HOSTS))
    def get(self, request: Request, host_id: UUID) -> Response:
        """Show the load of a host over time; disk and network traffic are the sum of its servers'."""
        enforce(self.actor, "nacelle:hosts")
        return _answer(reading.load_of_host(host_of(host_id), _range(request)))


class ServerStats(ApiView):
    """The load of one server."""

    @extend_schema(operation_id="server_stats", parameters=[RANGE], responses=_answers("ServerStats", OF_INSTANCES))
    def get(self, request: Request, server_id: UUID) -> Response:
        """Show the load of a server over time; its CPU is in percent of its vCPUs."""
        instance = find_instance(self.actor, str(server_id), Instance.objects.alive())
        enforce(self.actor, RULE, instance.project_id)
        return _answer(reading.load_of_instance(instance, _range(request)))
