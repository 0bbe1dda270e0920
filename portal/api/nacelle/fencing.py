"""Fencing hosts: whether one is confirmed to be off, how it is switched off, and what happened to it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from compute.errors import NotFound
from compute.hosts import fence_methods, fencing
from compute.models import Fencing, Host, HostEvent
from portal.api.body import Body, StrictBooleanField, StrictCharField, StrictIntegerField
from portal.api.wire import ApiView
from portal.identity.policy import enforce

# As the page shows; the rows themselves are kept longer.
LISTED = 50


def host_of(host_id: UUID) -> Host:
    """The host. Raises NotFound."""
    found = Host.objects.filter(uuid=host_id).first()
    if found is None:
        raise NotFound(f"Host {host_id} could not be found.")
    return found


class FenceBody(Body):
    """How a host is switched off from afar."""

    method = StrictCharField(
        max_length=64, allow_blank=True, help_text="A method of the file of fence methods; empty: by hand alone."
    )
    values = serializers.DictField(
        child=StrictCharField(max_length=255), required=False, default=dict, help_text="What the method asks for."
    )
    timeout = StrictIntegerField(required=False, default=60, help_text="Seconds until the method has failed.")


class FenceNowBody(Body):
    """How a host is fenced now."""

    confirmed_off = StrictBooleanField(
        required=False, default=False, help_text="The caller has seen that it is off; nothing is run."
    )


class FencingAnswer(serializers.Serializer[Fencing]):
    """One time that a host was fenced."""

    method = serializers.CharField(help_text="Empty: by somebody's word.")
    automatic = serializers.BooleanField()
    state = serializers.CharField(help_text="queued, running, done or failed.")
    result = serializers.CharField()
    output = serializers.CharField(help_text="The end of what the method's programs printed.")
    user_name = serializers.CharField()
    created_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)


class FenceAnswer(serializers.Serializer[Host]):
    """A host's fence."""

    method = serializers.CharField(source="fence_method")
    values = serializers.DictField(source="fence_values")
    timeout = serializers.IntegerField(source="fence_timeout")
    fenced = serializers.BooleanField(source="is_fenced", help_text="Whether it is confirmed to be off.")
    fenced_at = serializers.DateTimeField(allow_null=True)
    forced_down = serializers.BooleanField()
    down_since = serializers.DateTimeField(allow_null=True)
    methods = serializers.SerializerMethodField(help_text="Those of the file, with the values that each asks for.")
    fencings = serializers.SerializerMethodField()

    def get_methods(self, host: Host) -> dict[str, list[str]]:
        """None while the file makes no sense; setting a method says why."""
        try:
            return {name: one.asks_for for name, one in fence_methods.methods().items()}
        except fence_methods.NoMethod:
            return {}

    def get_fencings(self, host: Host) -> list[dict[str, Any]]:
        """The newest first."""
        return [dict(FencingAnswer(row).data) for row in host.fencings.all()[:LISTED]]


_ONE = inline_serializer("OneFence", {"fence": FenceAnswer()})
_FENCING = inline_serializer("OneFencing", {"fencing": FencingAnswer()})


class Fence(ApiView):
    """A host's fence."""

    def _answer(self, host_id: UUID) -> Response:
        return Response({"fence": FenceAnswer(host_of(host_id)).data})

    @extend_schema(operation_id="show_fence", responses=_ONE)
    def get(self, request: Request, host_id: UUID) -> Response:
        """Show whether a host is fenced, how it is switched off from afar, and each time that it was."""
        enforce(self.actor, fencing.RULE)
        return self._answer(host_id)

    @extend_schema(operation_id="set_fence", request=FenceBody, responses=_ONE)
    def put(self, request: Request, host_id: UUID) -> Response:
        """Say by which method, with which values, a host is switched off from afar."""
        enforce(self.actor, fencing.RULE)
        fencing.set_fence(self.actor, host_of(host_id), **FenceBody.read(self.body))
        return self._answer(host_id)

    @extend_schema(operation_id="fence_host", request=FenceNowBody, responses={202: _FENCING})
    def post(self, request: Request, host_id: UUID) -> Response:
        """Fence a host that is down: by its method, or by the word of the caller that it is off."""
        enforce(self.actor, fencing.RULE)
        given = FenceNowBody.read(self.body)
        host = host_of(host_id)
        verb = fencing.confirm_off if given["confirmed_off"] else fencing.fence
        return Response({"fencing": FencingAnswer(verb(self.actor, host)).data}, status=202)

    @extend_schema(operation_id="unfence_host", responses={204: None})
    def delete(self, request: Request, host_id: UUID) -> Response:
        """Say that a fenced host may not be off, after all."""
        enforce(self.actor, fencing.RULE)
        fencing.unfence(self.actor, host_of(host_id))
        return Response(status=204)


class HostEventAnswer(serializers.Serializer[HostEvent]):
    """Something that happened to a host."""

    at = serializers.DateTimeField()
    kind = serializers.CharField(help_text="state, fence, evacuation, drain or rebalance.")
    message = serializers.CharField()
    user_name = serializers.CharField(help_text="Empty: it happened by itself.")
    request_id = serializers.CharField()


class HostEvents(ApiView):
    """What happened to a host."""

    @extend_schema(
        operation_id="list_host_events",
        responses=inline_serializer("AllHostEvents", {"events": HostEventAnswer(many=True)}),
    )
    def get(self, request: Request, host_id: UUID) -> Response:
        """List what happened to a host, the newest first."""
        enforce(self.actor, "nacelle:hosts")
        rows = host_of(host_id).events.all()[:LISTED]
        return Response({"events": [HostEventAnswer(row).data for row in rows]})
