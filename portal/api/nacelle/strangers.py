"""The guests on a host that are not Nacelle's, and adopting them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from compute.hosts.checks import last_check, strangers
from compute.operations.adopt import RULE, AdoptRequest, adopt
from portal.api.body import Body, StrictBooleanField, StrictCharField
from portal.api.nacelle.fencing import host_of
from portal.api.wire import ApiView
from portal.identity.policy import enforce


class AdoptBody(Body):
    """How a guest is to be adopted."""

    project_id = StrictCharField(max_length=64, help_text="Whose instance it becomes.")
    name = StrictCharField(max_length=255, required=False, default="", help_text="Default: its title, or its name.")
    delete_disks = StrictBooleanField(
        required=False, default=False, help_text="Its disks go when the server is deleted; else they stay on the host."
    )
    anyway = StrictBooleanField(
        required=False, default=False, help_text="Also where it does not fit into what the host may give."
    )


class GuestAnswer(serializers.Serializer[Any]):
    """A guest that is not Nacelle's, as the last check of its host saw it."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    title = serializers.CharField()
    state = serializers.CharField(help_text="running, paused, off, suspended, crashed, asleep or unknown.")
    vcpus = serializers.IntegerField()
    memory_mb = serializers.IntegerField()
    disks = serializers.ListField(child=serializers.DictField())
    cards = serializers.ListField(child=serializers.DictField())
    objections = serializers.ListField(child=serializers.CharField(), help_text="Why it cannot be adopted.")
    notes = serializers.ListField(child=serializers.CharField(), help_text="What is not as with other servers.")


_ALL = inline_serializer(
    "GuestsOfHost", {"guests": GuestAnswer(many=True), "seen_at": serializers.DateTimeField(allow_null=True)}
)
_SERVER = inline_serializer("AdoptedServer", {"id": serializers.UUIDField(), "name": serializers.CharField()})
_ADOPTED = inline_serializer("Adopted", {"server": _SERVER})


class Guests(ApiView):
    """The guests on a host that are not Nacelle's."""

    @extend_schema(operation_id="list_guests_of_host", responses=_ALL)
    def get(self, request: Request, host_id: UUID) -> Response:
        """List the guests on a host that are not Nacelle's, as its last check saw them."""
        enforce(self.actor, RULE)
        host = host_of(host_id)
        check = last_check(host)
        guests = [GuestAnswer(one).data for one in strangers(host)]
        seen_at = serializers.DateTimeField().to_representation(check.at) if check else None
        return Response({"guests": guests, "seen_at": seen_at})


class AdoptGuest(ApiView):
    """One guest, to be adopted."""

    @extend_schema(operation_id="adopt_guest", request=AdoptBody, responses={202: _ADOPTED})
    def post(self, request: Request, host_id: UUID, guest_id: UUID) -> Response:
        """Make a guest that is on a host already a server of a project; it goes on as it is."""
        enforce(self.actor, RULE)
        made = adopt(self.actor, host_of(host_id), guest_id, AdoptRequest(**AdoptBody.read(self.body)))
        return Response({"server": {"id": str(made.pk), "name": made.name}}, status=202)
