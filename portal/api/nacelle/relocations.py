"""Relocations: all instances of a host moved in one undertaking, its progress, its end, another try."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from compute.errors import NotFound
from compute.hosts.service import REASON_CAP, set_enabled
from compute.models import Instance, Relocation, RelocationItem
from compute.operations import relocations, ways_off
from compute.operations.evacuate import host_refusal
from portal.api.body import Body, StrictBooleanField, StrictCharField, StrictIntegerField
from portal.api.nacelle.fencing import host_of
from portal.api.wire import ApiView
from portal.identity.policy import enforce

LISTED = 50


class ItemAnswer(serializers.Serializer[RelocationItem]):
    """One server of a relocation."""

    server_id = serializers.UUIDField(source="instance_id")
    server_name = serializers.CharField(source="instance.name")
    state = serializers.CharField(help_text="waiting, moving, done or failed.")
    action = serializers.CharField(source="action.operation", default="", help_text="What moves it, or moved it last.")
    percent = serializers.SerializerMethodField(help_text="How far that is, where it is known.")
    host = serializers.CharField(source="instance.host.name", default=None, help_text="Where it is now.")
    message = serializers.CharField(help_text="What becomes of it, what it waits for, or why it stayed.")
    finished_at = serializers.DateTimeField(allow_null=True)

    def get_percent(self, row: RelocationItem) -> int | None:
        """What its steps told."""
        percent: int | None = row.action.progress.get("percent") if row.action else None
        return percent


class RelocationAnswer(serializers.Serializer[Relocation]):
    """One undertaking."""

    id = serializers.UUIDField(source="uuid")
    kind = serializers.CharField(help_text="evacuation, drain or rebalance.")
    host = serializers.CharField(source="host.name", default=None, help_text="The host that is left.")
    state = serializers.CharField(help_text="running, stopped, done or incomplete.")
    at_once = serializers.IntegerField()
    shut_down = serializers.BooleanField(help_text="Those that cannot be moved while they run are shut down for it.")
    automatic = serializers.BooleanField()
    user_name = serializers.CharField()
    servers = serializers.SerializerMethodField(help_text="How many are in each state.")
    created_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)

    def get_servers(self, row: Relocation) -> dict[str, int]:
        """By state."""
        return relocations.counts(row)


class WayAnswer(serializers.Serializer[Any]):
    """What would become of a server."""

    server_id = serializers.UUIDField()
    server_name = serializers.CharField()
    project_id = serializers.CharField()
    action = serializers.CharField(help_text="Empty: none.")
    possible = serializers.BooleanField()
    message = serializers.CharField()


_ONE = inline_serializer("OneRelocation", {"relocation": RelocationAnswer(), "servers": ItemAnswer(many=True)})
_ALL = inline_serializer("AllRelocations", {"relocations": RelocationAnswer(many=True)})
_WAYS = inline_serializer(
    "WaysOff", {"refusal": serializers.CharField(help_text="Why it cannot begin now."), "servers": WayAnswer(many=True)}
)


def answer_of(row: Relocation, status: int = 200) -> Response:
    """A relocation with its servers."""
    items = row.items.select_related("instance__host", "action")
    body = {"relocation": RelocationAnswer(row).data, "servers": [ItemAnswer(one).data for one in items]}
    return Response(body, status=status)


def ways_answer(refusal: str, ways: list[tuple[Instance, ways_off.Way]]) -> Response:
    """What would become of each server."""
    servers = [
        {
            "server_id": str(one.pk),
            "server_name": one.name,
            "project_id": one.project_id,
            "action": way.operation.novas_name() if way.operation else "",
            "possible": way.operation is not None,
            "message": way.said,
        }
        for one, way in ways
    ]
    return Response({"refusal": refusal, "servers": servers})


class Evacuate(ApiView):
    """Evacuating a host."""

    @extend_schema(operation_id="show_evacuation", responses=_WAYS)
    def get(self, request: Request, host_id: UUID) -> Response:
        """Say what becomes of each server of a host when it is evacuated: kept disks, made anew, or why neither."""
        enforce(self.actor, relocations.EVACUATE_RULE)
        host = host_of(host_id)
        refused = host_refusal(host)
        return ways_answer(refused[1] if refused else "", ways_off.all_out_of(host))

    @extend_schema(operation_id="evacuate_host", request=None, responses={202: _ONE})
    def post(self, request: Request, host_id: UUID) -> Response:
        """Start all servers of a host elsewhere that is off for sure."""
        enforce(self.actor, relocations.EVACUATE_RULE)
        return answer_of(relocations.evacuate_host(self.actor, host_of(host_id)), 202)


class DrainBody(Body):
    """How a host is taken out of service."""

    reason = StrictCharField(max_length=REASON_CAP, required=False, allow_blank=True, default="")
    at_once = StrictIntegerField(required=False, help_text="So many servers at the same time. Default: a setting.")
    shut_down = StrictBooleanField(
        required=False, default=False, help_text="Shut down those that run and cannot be moved while they do."
    )


class Drain(ApiView):
    """Taking a host out of service."""

    @extend_schema(operation_id="show_drain", responses=_WAYS)
    def get(self, request: Request, host_id: UUID) -> Response:
        """Say how each server of a host would be moved off it: while it runs, off as it is, or why not."""
        enforce(self.actor, relocations.DRAIN_RULE)
        host = host_of(host_id)
        refusal = "" if host.is_up else f"{host.name} is down: nothing can be moved off it."
        return ways_answer(refusal, ways_off.all_off(host))

    @extend_schema(operation_id="drain_host", request=DrainBody, responses={202: _ONE})
    def post(self, request: Request, host_id: UUID) -> Response:
        """Take a host out of service: it gets no new servers, and those that it has are moved off."""
        enforce(self.actor, relocations.DRAIN_RULE)
        wanted = DrainBody.read(self.body)
        return answer_of(relocations.drain_host(self.actor, host_of(host_id), **wanted), 202)


class Resume(ApiView):
    """Bringing a host back."""

    @extend_schema(operation_id="resume_host", request=None, responses={204: None})
    def post(self, request: Request, host_id: UUID) -> Response:
        """Let a host take new servers again; what drains it stops. Nothing is moved back."""
        enforce(self.actor, relocations.DRAIN_RULE)
        set_enabled(self.actor, host_of(host_id), enabled=True)
        return Response(status=204)


class Relocations(ApiView):
    """What was undertaken."""

    @extend_schema(operation_id="list_relocations", responses=_ALL)
    def get(self, request: Request) -> Response:
        """List evacuations, drains and rebalancing, the newest first."""
        enforce(self.actor, "nacelle:hosts")
        rows = Relocation.objects.select_related("host")[:LISTED]
        return Response({"relocations": [RelocationAnswer(one).data for one in rows]})


class _OfRelocation(ApiView):
    """What is asked of one undertaking."""

    def found(self, relocation_id: UUID) -> Relocation:
        """The row. Raises NotFound."""
        row = Relocation.objects.select_related("host").filter(uuid=relocation_id).first()
        if row is None:
            raise NotFound(f"Relocation {relocation_id} could not be found.")
        return row


class OneRelocation(_OfRelocation):
    """One undertaking."""

    @extend_schema(operation_id="show_relocation", responses=_ONE)
    def get(self, request: Request, relocation_id: UUID) -> Response:
        """Show how far an undertaking is, with each of its servers."""
        enforce(self.actor, "nacelle:hosts")
        return answer_of(self.found(relocation_id))


class StopRelocation(_OfRelocation):
    """Its end before its time."""

    @extend_schema(operation_id="stop_relocation", request=None, responses={202: _ONE})
    def post(self, request: Request, relocation_id: UUID) -> Response:
        """Begin with no more servers; those under way go on."""
        enforce(self.actor, "nacelle:hosts")
        relocations.stop(self.actor, self.found(relocation_id))
        return answer_of(self.found(relocation_id), 202)


class RetryBody(Body):
    """What is different this time."""

    shut_down = StrictBooleanField(
        required=False, help_text="Shut down those that run and cannot be moved while they do. Default: as before."
    )


class RetryRelocation(_OfRelocation):
    """Going on."""

    @extend_schema(operation_id="retry_relocation", request=RetryBody, responses={202: _ONE})
    def post(self, request: Request, relocation_id: UUID) -> Response:
        """Go on with what was stopped, and try again what failed."""
        enforce(self.actor, "nacelle:hosts")
        relocations.retry(self.actor, self.found(relocation_id), **RetryBody.read(self.body))
        return answer_of(self.found(relocation_id), 202)
