"""Another flavor for a server that goes on running."""

from __future__ import annotations

from dataclasses import asdict
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from compute.headroom import headroom_of
from compute.models import Flavor, Instance
from compute.operations.engine import request as request_operation
from compute.operations.live_resize import LiveResize, misfit_live
from portal.api.body import Body, StrictCharField
from portal.api.compute.base import find_instance
from portal.api.nacelle.actions import ActionAnswer, answer_of
from portal.api.wire import ApiView
from portal.identity.policy import enforce


class LiveResizeBody(Body):
    """The flavor wanted."""

    flavor = StrictCharField(max_length=255, help_text="The id of a flavor.")


class FlavorVerdict(serializers.Serializer[Flavor]):
    """A flavor, and why the server cannot get it while it runs; empty when it can."""

    id = serializers.CharField()
    name = serializers.CharField()
    refusal = serializers.CharField()


class LiveResizeAnswer(serializers.Serializer[Instance]):
    """How far a server may grow while it runs."""

    max_vcpus = serializers.IntegerField()
    max_memory_mb = serializers.IntegerField()
    refusal = serializers.CharField(help_text="Why nothing can be changed now; empty when it can.")
    flavors = FlavorVerdict(many=True)


class LiveResizes(ApiView):
    """Growing while it runs."""

    @extend_schema(operation_id="show_live_resize", responses=LiveResizeAnswer)
    def get(self, request: Request, server_id: UUID) -> Response:
        """Show how far a server may grow while it runs, and which flavors it could get so."""
        instance = find_instance(self.actor, str(server_id), Instance.objects.alive())
        enforce(self.actor, "os_compute_api:servers:show", instance.project_id)
        room = asdict(headroom_of(instance.flavor))
        flavors = Flavor.objects.visible_to(self.actor).filter(disabled=False)
        answer = {
            **{f"max_{name}": amount for name, amount in room.items()},
            "refusal": LiveResize.refusal(instance, self.actor),
            "flavors": [{"id": one.id, "name": one.name, "refusal": misfit_live(instance, one)} for one in flavors],
        }
        return Response({"live_resize": answer})

    @extend_schema(operation_id="live_resize", request=LiveResizeBody, responses={202: ActionAnswer})
    def post(self, request: Request, server_id: UUID) -> Response:
        """Give a running server another flavor, with more processors or memory and the same disks."""
        instance = find_instance(self.actor, str(server_id), Instance.objects.alive())
        body = LiveResizeBody.read(self.body)
        action = request_operation(LiveResize, instance, self.actor, flavor_id=body["flavor"])
        return Response({"action": answer_of(action, instance, self.actor)}, status=202)
