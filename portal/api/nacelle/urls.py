"""Paths below /nacelle/v1/."""

from __future__ import annotations

from django.urls import path
from drf_spectacular.views import SpectacularJSONAPIView

from portal.api.nacelle import actions, api, from, live_resize, nacelle, placements, portal, scheduler, schedules, snapshots, views
    path("servers/<uuid:server_id>/snapshots", snapshots.Snapshots.as_view()),
    path("servers/<uuid:server_id>/snapshots/<uuid:snapshot_id>", snapshots.OneSnapshot.as_view()),
    path("servers/<uuid:server_id>/snapshots/<uuid:snapshot_id>/revert", snapshots.Revert.as_view()),
    path("servers/<uuid:server_id>/schedules", schedules.ServerSchedules.as_view()),
    path("servers/<uuid:server_id>/schedules/<uuid:schedule_id>", schedules.OneSchedule.as_view()),
    path("schedules", schedules.ProjectSchedules.as_view()),
    path("schema", SpectacularJSONAPIView.as_view(urlconf="portal.api.nacelle.urls")),
]
