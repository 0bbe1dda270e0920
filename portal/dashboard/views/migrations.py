"""Migrations, for administrators: what has gone, goes and waits to be confirmed, from which host to which."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.core.paginator import Paginator
from django.db.models import Q, QuerySet
from django.http import HttpResponse
from django.shortcuts import render

from compute.errors import NotFound
from compute.models import (
    OPEN_MIGRATIONS,
    OPEN_STATES,
    Action,
    ActionState,
    Host,
    Migration,
    MigrationStatus,
    MigrationType,
)
from compute.operations.cancellation import may_cancel
from compute.operations.migration_control import forcible
from portal.dashboard import menus
from portal.dashboard.access import PortalRequest, admin_page
from portal.dashboard.views.instance import label_of
from portal.dashboard.views.instances import PAGE_SIZE
from portal.identity.actor import Actor
from portal.identity.models import Project

HOSTS_OFFERED = 500
UNDER_WAY = "under way"  # in the place of a status: all that are not over
KINDS = {
    MigrationType.LIVE: "live migration",
    MigrationType.MIGRATION: "cold migration",
    MigrationType.RESIZE: "resize",
    MigrationType.EVACUATION: "evacuation",
}
WHOLE = (MigrationStatus.FINISHED, MigrationStatus.CONFIRMED, MigrationStatus.COMPLETED, MigrationStatus.DONE)
_TONES = {
    MigrationStatus.FINISHED.value: "warn",
    MigrationStatus.CONFIRMED.value: "ok",
    MigrationStatus.COMPLETED.value: "ok",
    MigrationStatus.DONE.value: "ok",
    MigrationStatus.CANCELLED.value: "warn",
    MigrationStatus.FAILED.value: "bad",
    MigrationStatus.ERROR.value: "bad",
}
ENDS = ("confirmResize", "revertResize")
SORTS = {
    "instance": ("instance__name", "id"),
    "kind": ("migration_type", "id"),
    "from": ("source_host__name", "id"),
    "to": ("dest_host__name", "id"),
    "status": ("status", "id"),
    "started": ("created_at", "id"),
}


@dataclass(frozen=True)
class Shown:
    """A migration with what was asked for: ``asked`` is what began it, ``newest`` what concerned it last."""

    row: Migration
    project: str
    asked: Action | None
    newest: Action | None

    @property
    def kind(self) -> str:
        """In words."""
        return KINDS[MigrationType(self.row.migration_type)]

    @property
    def by(self) -> str:
        """Who asked for it, as far as it is known."""
        return (self.asked.user_name if self.asked is not None else "") or "Nacelle itself"

    @property
    def tone(self) -> str:
        """The colour of its status."""
        return "busy" if self.is_open and not self.waits else _TONES.get(self.row.status, "off")

    @property
    def is_open(self) -> bool:
        """Whether it is not over; one that waits to be confirmed is not."""
        return self.row.status in OPEN_MIGRATIONS

    @property
    def waits(self) -> bool:
        """Whether somebody is to confirm it or take it back."""
        return self.row.status == MigrationStatus.FINISHED

    @property
    def percent(self) -> int | None:
        """How far it is. None: nobody can tell, or it came to nothing."""
        if self.row.status in WHOLE:
            return 100
        if not self.is_open or self.newest is None:
            return None
        found: int | None = self.newest.progress.get("percent")
        return found

    @property
    def ended_at(self) -> datetime | None:
        """When it was over."""
        return None if self.is_open else self.row.updated_at

    @property
    def message(self) -> str:
        """Why it came to nothing, or what it waits for."""
        return self.newest.message if self.newest is not None else ""

    @property
    def open_action(self) -> Action | None:
        """What is under way."""
        return self.newest if self.newest is not None and self.newest.state in OPEN_STATES else None

    @property
    def is_bad(self) -> bool:
        """Whether its message is of a failure."""
        return self.newest is not None and self.newest.state == ActionState.ERROR

    @property
    def amounts(self) -> list[dict[str, Any]]:
        """Of a live one: what has crossed of its memory and of its disks, in bytes."""
        stats = self.row.stats
        return [
            {
                "name": name,
                "total": stats[f"{what}_total_bytes"],
                "left": stats[f"{what}_remaining_bytes"],
                "sent": stats[f"{what}_processed_bytes"],
                "crossed": max(0, stats[f"{what}_total_bytes"] - stats[f"{what}_remaining_bytes"]),
            }
            for what, name in (("memory", "Memory"), ("disk", "Disks"))
            if stats.get(f"{what}_total_bytes")
        ]


def shown(rows: Iterable[Migration]) -> list[Shown]:
    """Migrations whose instances and hosts are loaded, with their actions and their projects' names."""
    found = list(rows)
    concern = Action.objects.filter(
        instance__in=[one.instance_id for one in found], params__migration_id__in=[one.pk for one in found]
    )
    actions: dict[int, list[Action]] = {}
    for action in concern.order_by("created_at", "id"):
        actions.setdefault(action.params["migration_id"], []).append(action)
    # Not by a join: a deleted instance may have outlived its project.
    names = dict(Project.objects.filter(pk__in={one.instance.project_id for one in found}).values_list("pk", "name"))
    return [
        Shown(one, names.get(one.instance.project_id, ""), of_it[0] if of_it else None, of_it[-1] if of_it else None)
        for one in found
        for of_it in [actions.get(one.pk, [])]
    ]


def under_way_at(host: Host) -> list[Shown]:
    """Those that are not over and that a host has to do with."""
    rows = _rows().filter(Q(source_host=host) | Q(dest_host=host), status__in=OPEN_MIGRATIONS)
    return shown(rows[:PAGE_SIZE])


def _rows() -> QuerySet[Migration]:
    return Migration.objects.select_related("instance", "source_host", "dest_host")


def _filtered(query: dict[str, str]) -> QuerySet[Migration]:
    rows = _rows()
    if text := query["q"]:
        rows = rows.filter(Q(instance__name__icontains=text) | Q(instance__id__icontains=text))
    if query["host"]:
        rows = rows.filter(Q(source_host__name=query["host"]) | Q(dest_host__name=query["host"]))
    if query["kind"] in KINDS:
        rows = rows.filter(migration_type=query["kind"])
    if query["status"] == UNDER_WAY:
        rows = rows.filter(status__in=OPEN_MIGRATIONS)
    elif query["status"] in MigrationStatus.values:
        rows = rows.filter(status=query["status"])
    return rows


@admin_page
def migrations(request: PortalRequest) -> HttpResponse:
    """All migrations, the newest first."""
    query = {name: request.GET.get(name, "").strip()[:255] for name in ("q", "host", "kind", "status")}
    sort = request.GET.get("sort", "")
    if sort.removeprefix("-") not in SORTS:
        sort = "-started"
    order = [f"-{name}" if sort.startswith("-") else name for name in SORTS[sort.removeprefix("-")]]
    page_of = Paginator(_filtered(query).order_by(*order), PAGE_SIZE).get_page(request.GET.get("page"))
    context = {
        "rows": shown(page_of),
        "page_of": page_of,
        "sort": sort,
        **query,
        "filtered": any(query.values()),
        "kinds": [(kind.value, words) for kind, words in KINDS.items()],
        "statuses": [UNDER_WAY, *MigrationStatus.values],
        "hosts": Host.objects.order_by("name").values_list("name", flat=True)[:HOSTS_OFFERED],
    }
    return render(request, "migrations/list.html", context)


@admin_page
def migration(request: PortalRequest, migration_id: int) -> HttpResponse:
    """One of them, with how far it is and what can be done about it."""
    row = _rows().filter(pk=migration_id).first() if migration_id < 1 << 63 else None
    if row is None:
        raise NotFound(f"Migration {migration_id} could not be found.")
    (one,) = shown([row])
    return render(request, "migrations/detail.html", {"one": one, **_what_can_be_done(one, request.actor)})


def _what_can_be_done(one: Shown, actor: Actor) -> dict[str, Any]:
    """Ending it, bringing it to its end, confirming it and taking it back, each where it can be."""
    instance, action = one.row.instance, one.open_action
    if instance.deleted_at is not None:
        return {}
    return {
        "newest_label": label_of(one.newest) if one.newest is not None else "",
        "may_cancel": action is not None and may_cancel(action, instance, actor),
        "forcible": forcible(action, instance, actor) if action is not None else None,
        "ends": [entry for entry in menus.entries(instance, actor) if entry.name in ENDS] if one.waits else [],
    }
