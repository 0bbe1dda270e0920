"""In-place snapshots of a server, below /nacelle/v1/servers/{server_id}/snapshots."""

from __future__ import annotations

from uuid import UUID

from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from compute.errors import NotFound
from compute.models import Instance, Snapshot
from compute.operations import in_place
from compute.operations.engine import request as request_operation
from portal.api.body import Body, StrictBooleanField, StrictCharField
from portal.api.wire import ApiView
from portal.identity.actor import Actor
from portal.identity.policy import enforce

GET = "nacelle:snapshots:get"


class SnapshotBody(Body):
    """A snapshot to take."""

    name = StrictCharField(max_length=255, help_text="No other snapshot of the server has it.")
    description = StrictCharField(max_length=255, required=False, allow_blank=True, default="")
    memory = StrictBooleanField(
        required=False, default=False, help_text="With the memory: the server stands still while it is written down."
    )


class RevertBody(Body):
    """How to go back."""

    memory = StrictBooleanField(
        required=False, help_text="To the memory too, and go on where it was. Default: if the snapshot has it."
    )
    start = StrictBooleanField(
        required=False, help_text="Without the memory: boot afresh. Default: if the server is on now."
    )


class SnapshotAnswer(serializers.Serializer[Snapshot]):
    """A snapshot. ``parent_id`` makes the tree; ``current`` is what the disks of now stand on."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    description = serializers.CharField()
    state = serializers.CharField()
    parent_id = serializers.UUIDField(allow_null=True)
    current = serializers.BooleanField()
    memory = serializers.BooleanField()
    vm_state = serializers.CharField(help_text="The server's, at that moment.")
    size_bytes = serializers.IntegerField(
        allow_null=True, help_text="What it took on the host when it was made; what changes since takes more."
    )
    schedule_id = serializers.UUIDField(allow_null=True)
    user_id = serializers.CharField()
    user_name = serializers.CharField()
    created_at = serializers.DateTimeField()


_ONE = inline_serializer("OneSnapshot", {"snapshot": SnapshotAnswer()})
_ALL = inline_serializer("AllSnapshots", {"snapshots": SnapshotAnswer(many=True)})


def server_of(actor: Actor, server_id: UUID) -> Instance:
    """The server, if it is there and the actor may see it. Raises NotFound."""
    rows = Instance.objects.alive().visible_to(actor, all_projects=True)
    found = rows.select_related("project").filter(pk=server_id).first()
    if found is None:
        raise NotFound(f"Instance {server_id} could not be found.")
    return found


def _answer(snapshot: Snapshot, status: int = 200) -> Response:
    return Response({"snapshot": SnapshotAnswer(snapshot).data}, status=status)


class Snapshots(ApiView):
    """The in-place snapshots of a server."""

    @extend_schema(operation_id="list_snapshots", responses=_ALL)
    def get(self, request: Request, server_id: UUID) -> Response:
        """List a server's in-place snapshots, the oldest first."""
        instance = server_of(self.actor, server_id)
        enforce(self.actor, GET, instance.project_id)
        return Response({"snapshots": [SnapshotAnswer(one).data for one in instance.snapshots.all()]})

    @extend_schema(operation_id="create_snapshot", request=SnapshotBody, responses={202: _ONE})
    def post(self, request: Request, server_id: UUID) -> Response:
        """Take an in-place snapshot of a server's disks, with its memory if asked."""
        instance = server_of(self.actor, server_id)
        given = SnapshotBody.read(self.body)
        action = request_operation(in_place.CreateSnapshot, instance, self.actor, **given)
        return _answer(in_place.find(instance, action.params["snapshot"]), 202)


class OneSnapshot(ApiView):
    """One in-place snapshot."""

    @extend_schema(operation_id="show_snapshot", responses=_ONE)
    def get(self, request: Request, server_id: UUID, snapshot_id: UUID) -> Response:
        """Show an in-place snapshot."""
        instance = server_of(self.actor, server_id)
        enforce(self.actor, GET, instance.project_id)
        return _answer(in_place.find(instance, snapshot_id))

    @extend_schema(operation_id="delete_snapshot", responses={202: None})
    def delete(self, request: Request, server_id: UUID, snapshot_id: UUID) -> Response:
        """Delete an in-place snapshot; all others stay. One that is being made is cancelled."""
        instance = server_of(self.actor, server_id)
        request_operation(in_place.DeleteSnapshot, instance, self.actor, snapshot=str(snapshot_id))
        return Response(status=202)


class Revert(ApiView):
    """Going back to an in-place snapshot."""

    @extend_schema(operation_id="revert_to_snapshot", request=RevertBody, responses={202: _ONE})
    def post(self, request: Request, server_id: UUID, snapshot_id: UUID) -> Response:
        """Take a server back to an in-place snapshot. What is on its disks now is lost."""
        instance = server_of(self.actor, server_id)
        given = RevertBody.read(self.body)
        request_operation(in_place.RevertSnapshot, instance, self.actor, snapshot=str(snapshot_id), **given)
        return _answer(in_place.find(instance, snapshot_id), 202)
