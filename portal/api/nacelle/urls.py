"""Paths below /nacelle/v1/."""

from __future__ import annotations

from django.urls import path
from drf_spectacular.views import SpectacularJSONAPIView

from portal.api.nacelle import (
    actions,
    fencing,
    hosts,
    live_resize,
    placements,
    rebalance,
    relocations,
    schedules,
    snapshots,
    stats,
    strangers,
)
from portal.api.nacelle.scheduler import Scheduler

urlpatterns = [
    path("hosts", hosts.Hosts.as_view()),
    path("hosts/tls-script", hosts.TlsScript.as_view()),
    path("hosts/<uuid:host_id>", hosts.OneHost.as_view()),
    path("hosts/<uuid:host_id>/guests", strangers.Guests.as_view()),
    path("hosts/<uuid:host_id>/guests/<uuid:guest_id>/adopt", strangers.AdoptGuest.as_view()),
    path("hosts/<uuid:host_id>/check", hosts.Check.as_view()),
    path("hosts/<uuid:host_id>/fence", fencing.Fence.as_view()),
    path("hosts/<uuid:host_id>/stats", stats.HostStats.as_view()),
    path("hosts/<uuid:host_id>/events", fencing.HostEvents.as_view()),
    path("hosts/<uuid:host_id>/evacuate", relocations.Evacuate.as_view()),
    path("hosts/<uuid:host_id>/drain", relocations.Drain.as_view()),
    path("hosts/<uuid:host_id>/resume", relocations.Resume.as_view()),
    path("rebalance", rebalance.Rebalance.as_view()),
    path("relocations", relocations.Relocations.as_view()),
    path("relocations/<uuid:relocation_id>", relocations.OneRelocation.as_view()),
    path("relocations/<uuid:relocation_id>/stop", relocations.StopRelocation.as_view()),
    path("relocations/<uuid:relocation_id>/retry", relocations.RetryRelocation.as_view()),
    path("capacity", placements.CapacityView.as_view()),
    path("placement/dry-run", placements.DryRun.as_view()),
    path("scheduler", Scheduler.as_view()),
    path("servers/<uuid:server_id>/placement", placements.Placement.as_view()),
    path("servers/<uuid:server_id>/actions", actions.Actions.as_view()),
    path("servers/<uuid:server_id>/actions/<str:request_id>/cancel", actions.CancelAction.as_view()),
    path("servers/<uuid:server_id>/live-resize", live_resize.LiveResizes.as_view()),
    path("servers/<uuid:server_id>/stats", stats.ServerStats.as_view()),
    path("servers/<uuid:server_id>/snapshots", snapshots.Snapshots.as_view()),
    path("servers/<uuid:server_id>/snapshots/<uuid:snapshot_id>", snapshots.OneSnapshot.as_view()),
    path("servers/<uuid:server_id>/snapshots/<uuid:snapshot_id>/revert", snapshots.Revert.as_view()),
    path("servers/<uuid:server_id>/schedules", schedules.ServerSchedules.as_view()),
    path("servers/<uuid:server_id>/schedules/<uuid:schedule_id>", schedules.OneSchedule.as_view()),
    path("schedules", schedules.ProjectSchedules.as_view()),
    path("schema", SpectacularJSONAPIView.as_view(urlconf="portal.api.nacelle.urls")),
]
