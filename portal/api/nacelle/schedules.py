"""Schedules of snapshots and backups: of a server, and of the whole project."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from compute.models import Frequency, ScheduleKind, SnapshotSchedule
from compute.operations import schedules
from portal.api.body import Body, StrictBooleanField, StrictCharField, StrictIntegerField
from portal.api.nacelle.snapshots import server_of
from portal.api.wire import ApiView
from portal.identity.policy import enforce


class ScheduleChange(Body):
    """What can be changed about a schedule."""

    name = StrictCharField(max_length=100, required=False, help_text="No other schedule of the server has it.")
    kind = serializers.ChoiceField(choices=ScheduleKind.choices, required=False)
    memory = StrictBooleanField(required=False, help_text="Of snapshots: with the memory, if the server is on then.")
    frequency = serializers.ChoiceField(choices=Frequency.choices, required=False)
    minute = StrictIntegerField(required=False, min_value=0, max_value=59)
    hour = StrictIntegerField(required=False, min_value=0, max_value=23, help_text="Of daily and weekly ones.")
    weekday = StrictIntegerField(required=False, min_value=0, max_value=6, help_text="Of weekly ones; 0 is Monday.")
    time_zone = StrictCharField(required=False, max_length=64, help_text="Such as Europe/Berlin. Default: UTC.")
    keep = StrictIntegerField(required=False, min_value=1, max_value=1000, help_text="How many of its own it keeps.")
    enabled = StrictBooleanField(required=False)


class ScheduleBody(ScheduleChange):
    """A new schedule."""

    name = StrictCharField(max_length=100, help_text="No other schedule of the server has it.")
    frequency = serializers.ChoiceField(choices=Frequency.choices)


class ScheduleAnswer(serializers.Serializer[SnapshotSchedule]):
    """A schedule, its next run, and what came of the last ones."""

    id = serializers.UUIDField()
    server_id = serializers.UUIDField(source="instance_id")
    project_id = serializers.CharField(source="instance.project_id")
    name = serializers.CharField()
    kind = serializers.CharField()
    memory = serializers.BooleanField()
    frequency = serializers.CharField()
    minute = serializers.IntegerField()
    hour = serializers.IntegerField()
    weekday = serializers.IntegerField()
    time_zone = serializers.CharField()
    keep = serializers.IntegerField()
    enabled = serializers.BooleanField()
    next_run_at = serializers.SerializerMethodField()
    waits_for = serializers.CharField(help_text="Why a run that is due has not begun; it is tried every minute.")
    last_run_at = serializers.DateTimeField(allow_null=True)
    last_result = serializers.SerializerMethodField(help_text="queued, running, done, error or cancelled.")
    last_error = serializers.SerializerMethodField()
    missed_at = serializers.DateTimeField(allow_null=True, help_text="The last run that the server did not allow.")
    missed_why = serializers.CharField()
    user_id = serializers.CharField()
    user_name = serializers.CharField()
    created_at = serializers.DateTimeField()

    def get_next_run_at(self, schedule: SnapshotSchedule) -> str | None:
        """None while it is off."""
        return serializers.DateTimeField().to_representation(schedule.next_run_at) if schedule.enabled else None

    def get_last_result(self, schedule: SnapshotSchedule) -> str | None:
        """The last run's operation."""
        return schedule.last_action.state if schedule.last_action else None

    def get_last_error(self, schedule: SnapshotSchedule) -> str:
        """Why it failed."""
        return schedule.last_action.message if schedule.last_action else ""


_ONE = inline_serializer("OneSchedule", {"schedule": ScheduleAnswer()})
_ALL = inline_serializer("AllSchedules", {"schedules": ScheduleAnswer(many=True)})


def _answer(schedule: SnapshotSchedule, status: int = 200) -> Response:
    return Response({"schedule": ScheduleAnswer(schedule).data}, status=status)


def _all(rows: Any) -> Response:
    rows = rows.filter(instance__deleted_at=None).select_related("instance", "last_action")
    return Response({"schedules": [ScheduleAnswer(one).data for one in rows]})


class ProjectSchedules(ApiView):
    """The schedules of a project."""

    @extend_schema(
        operation_id="list_schedules",
        parameters=[OpenApiParameter("all_projects", OpenApiTypes.BOOL, description="For administrators.")],
        responses=_ALL,
    )
    def get(self, request: Request) -> Response:
        """List the schedules of all servers of the project."""
        enforce(self.actor, schedules.GET, self.actor.project_id)
        everywhere = request.query_params.get("all_projects", "").lower() in ("1", "true")
        return _all(SnapshotSchedule.objects.visible_to(self.actor, all_projects=everywhere))


class ServerSchedules(ApiView):
    """The schedules of a server."""

    @extend_schema(operation_id="list_schedules_of_server", responses=_ALL)
    def get(self, request: Request, server_id: UUID) -> Response:
        """List the schedules of a server."""
        instance = server_of(self.actor, server_id)
        enforce(self.actor, schedules.GET, instance.project_id)
        return _all(SnapshotSchedule.objects.filter(instance=instance))

    @extend_schema(operation_id="create_schedule", request=ScheduleBody, responses={201: _ONE})
    def post(self, request: Request, server_id: UUID) -> Response:
        """Have snapshots or backups of a server made by themselves."""
        instance = server_of(self.actor, server_id)
        made = schedules.create_schedule(self.actor, instance, **ScheduleBody.read(self.body))
        return _answer(made, 201)


class OneSchedule(ApiView):
    """One schedule."""

    def _found(self, server_id: UUID, schedule_id: UUID) -> SnapshotSchedule:
        instance = server_of(self.actor, server_id)
        return schedules.find(self.actor, schedule_id, instance)

    @extend_schema(operation_id="show_schedule", responses=_ONE)
    def get(self, request: Request, server_id: UUID, schedule_id: UUID) -> Response:
        """Show a schedule with its next run and the result of the last one."""
        return _answer(self._found(server_id, schedule_id))

    @extend_schema(operation_id="update_schedule", request=ScheduleChange, responses=_ONE)
    def patch(self, request: Request, server_id: UUID, schedule_id: UUID) -> Response:
        """Change a schedule, or switch it on or off."""
        found = self._found(server_id, schedule_id)
        return _answer(schedules.update_schedule(self.actor, found, **ScheduleChange.read(self.body)))

    @extend_schema(operation_id="delete_schedule", responses={204: None})
    def delete(self, request: Request, server_id: UUID, schedule_id: UUID) -> Response:
        """Delete a schedule; what it made stays."""
        schedules.delete_schedule(self.actor, self._found(server_id, schedule_id))
        return Response(status=204)
