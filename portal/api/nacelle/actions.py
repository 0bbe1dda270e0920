"""What is under way with a server: listing it, cancelling it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from compute.models import Action, Instance
from compute.operations.cancellation import cancel_action, may_cancel
from portal.api.compute.base import find_instance
from portal.api.compute.instance_actions import name_of
from portal.api.wire import ApiView
from portal.identity.actor import Actor
from portal.identity.policy import enforce

# As the page shows; who wants all of them reads os-instance-actions.
LISTED = 50


class ActionAnswer(serializers.Serializer[Action]):
    """Something that is or was done to a server."""

    request_id = serializers.CharField()
    action = serializers.SerializerMethodField()
    state = serializers.CharField()
    message = serializers.CharField()
    percent = serializers.SerializerMethodField(help_text="How far it is, where that is known.")
    cancelled_by = serializers.CharField(help_text="Who asked for its end; it is undone then.")
    cancellable = serializers.SerializerMethodField(help_text="Whether the caller may cancel it now.")
    started_at = serializers.DateTimeField(source="created_at")
    finished_at = serializers.DateTimeField()

    def get_action(self, row: Action) -> str:
        """Nova's name of it."""
        return name_of(row)

    def get_percent(self, row: Action) -> int | None:
        """What its steps told."""
        percent: int | None = row.progress.get("percent")
        return percent

    def get_cancellable(self, row: Action) -> bool:
        """For this caller."""
        return may_cancel(row, self.context["instance"], self.context["actor"])


def answer_of(row: Action, instance: Instance, actor: Actor) -> dict[str, Any]:
    """An action as it is answered."""
    return dict(ActionAnswer(row, context={"instance": instance, "actor": actor}).data)


class Actions(ApiView):
    """The actions of a server."""

    @extend_schema(operation_id="list_actions", responses=ActionAnswer(many=True))
    def get(self, request: Request, server_id: UUID) -> Response:
        """List what is and was done to a server, the newest first, with what can be cancelled."""
        instance = find_instance(self.actor, str(server_id), Instance.objects.alive())
        enforce(self.actor, "nacelle:actions", instance.project_id)
        rows = Action.objects.filter(instance=instance)[:LISTED]
        return Response({"actions": [answer_of(row, instance, self.actor) for row in rows]})


class CancelAction(ApiView):
    """The end of an action before its time."""

    @extend_schema(operation_id="cancel_action", request=None, responses={202: ActionAnswer})
    def post(self, request: Request, server_id: UUID, request_id: str) -> Response:
        """Cancel what a request asked of a server; its undo follows, then the server is what it was before."""
        instance = find_instance(self.actor, str(server_id), Instance.objects.alive())
        action = cancel_action(self.actor, instance, request_id)
        return Response({"action": answer_of(action, instance, self.actor)}, status=202)
