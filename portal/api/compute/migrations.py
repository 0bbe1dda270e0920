"""Migrations: those of all servers; a server's live ones that are under way, and what can be said to them."""

from __future__ import annotations

from typing import Any

from django.db.models import Q, QuerySet
from rest_framework.exceptions import ParseError
from rest_framework.request import Request
from rest_framework.response import Response

from compute.errors import NotFound
from compute.models import LIVE_IN_PROGRESS, Host, Instance, Migration, MigrationType
from compute.operations import migration_control
from portal.api.compute.base import ComputeView, as_uuid, call
from portal.api.compute.server_query import flag, moment
from portal.api.paging import after, limit_of, next_link
from portal.api.shape import Field, Shape, field
from portal.api.wire import HeadersOnly, microseconds
from portal.identity.policy import allows, enforce

INDEX, ALL_PROJECTS = "os_compute_api:os-migrations:index", "os_compute_api:os-migrations:index:all_projects"
WITH_HOSTS = "os_compute_api:os-migrations:index:host"
SERVERS_WITH_HOSTS = "os_compute_api:servers:migrations:index:host"
FILTERS = ("hidden", "host", "instance_uuid", "source_compute", "status", "migration_type")


def _name(host: Host | None, view: MigrationsView) -> str | None:
    return host.name if host is not None and view.sees_hosts else None


def _address(host: Host | None, view: MigrationsView) -> str | None:
    return host.console_address if host is not None and view.sees_hosts else None


def _number(flavor: dict[str, Any]) -> int | None:
    """Nova's number of a flavor, which here is its id if that is a number."""
    text = str(flavor["id"])
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _links(row: Migration, view: MigrationsView) -> list[dict[str, str]]:
    return view.links(f"servers/{row.instance_id}/migrations", row.pk)


def _amount(name: str) -> Field:
    return field(name, lambda row, view: row.stats.get(name))


WHERE = (
    field("source_compute", lambda row, view: _name(row.source_host, view)),
    field("source_node", lambda row, view: _name(row.source_host, view)),
    field("dest_compute", lambda row, view: _name(row.dest_host, view)),
    field("dest_node", lambda row, view: _name(row.dest_host, view)),
    field("dest_host", lambda row, view: _address(row.dest_host, view)),
)
WHOSE = (
    field("uuid", lambda row, view: str(row.uuid), since="2.59"),
    field("user_id", lambda row, view: row.user_id or None, since="2.80"),
    field("project_id", lambda row, view: row.project_id or None, since="2.80"),
)
COMMON = (
    field("id", lambda row, view: row.pk),
    field("status", lambda row, view: row.status),
    field("created_at", lambda row, view: microseconds(row.created_at)),
    field("updated_at", lambda row, view: microseconds(row.updated_at)),
)
MIGRATION: Shape[Migration] = Shape(
    *COMMON,
    *WHERE,
    field("instance_uuid", lambda row, view: str(row.instance_id)),
    field("old_instance_type_id", lambda row, view: _number(row.old_flavor)),
    field("new_instance_type_id", lambda row, view: _number(row.new_flavor)),
    field("migration_type", lambda row, view: row.migration_type, since="2.23"),
    *WHOSE,
)
# What a live one that is under way has besides, in the list of all.
IN_PROGRESS: Shape[Migration] = Shape(field("links", _links, since="2.23"))
AMOUNTS = [f"{what}_{how}_bytes" for what in ("memory", "disk") for how in ("total", "processed", "remaining")]
SERVER_MIGRATION: Shape[Migration] = Shape(
    *COMMON,
    *WHERE,
    field("server_uuid", lambda row, view: str(row.instance_id)),
    *map(_amount, AMOUNTS),
    *WHOSE,
)
SHAPES = (MIGRATION, IN_PROGRESS, SERVER_MIGRATION)


class MigrationsView(ComputeView):
    """What the views of migrations share."""

    sees_hosts = False


class Migrations(MigrationsView):
    """/os-migrations"""

    @call(INDEX)
    def get(self, request: Request) -> Response:
        """List migrations; a manager those of the project, which it names (since 2.80)."""
        query = request.query_params
        project = query.get("project_id", "") if self.at("2.80") or not self.at("2.59") else ""
        if project != self.actor.project_id:
            enforce(self.actor, ALL_PROJECTS)
        self.sees_hosts = allows(self.actor, WITH_HOSTS)
        if query.keys() & {"host", "source_compute"}:  # who may not see them may not guess them, either
            enforce(self.actor, WITH_HOSTS)
        rows = self._filtered(Migration.objects.select_related("source_host", "dest_host"))
        if not self.at("2.59"):
            return Response({"migrations": [self._shown(row) for row in rows.order_by("-created_at", "-id")]})
        limit = limit_of(query)
        found = list(after(rows, self._marker(project), [("created_at", True), ("id", True)])[:limit])
        body: dict[str, Any] = {"migrations": [self._shown(row) for row in found]}
        if found and len(found) == limit:
            body["migrations_links"] = [next_link(request.path, query, str(found[-1].uuid))]
        return Response(body)

    def _shown(self, row: Migration) -> dict[str, Any]:
        body = MIGRATION.render(row, self.version, self)
        live = row.migration_type == MigrationType.LIVE and row.status in LIVE_IN_PROGRESS
        return body | IN_PROGRESS.render(row, self.version, self) if live else body

    def _marker(self, project: str) -> Migration | None:
        text = self.request.query_params.get("marker")
        if text is None:
            return None
        key = as_uuid(text)
        rows = Migration.objects.filter(project_id=project) if project else Migration.objects.all()
        found = rows.filter(uuid=key).first() if key else None
        if found is None:
            raise ParseError(f"Marker {text[:60]} could not be found.")
        return found

    def _filtered(self, rows: QuerySet[Migration]) -> QuerySet[Migration]:
        """By what the version knows; from 2.59 on what it does not know is an error."""
        query = self.request.query_params
        paging = ("limit", "marker", "changes-since") + (("changes-before",) if self.at("2.66") else ())
        whose = ("user_id", "project_id")
        self.known_query(*FILTERS, *paging, *(whose if self.at("2.80") else ()), strict_since="2.59")
        for name in ("status", "migration_type", *(whose if self.at("2.80") or not self.at("2.59") else ())):
            rows = rows.filter(**{name: query[name]}) if name in query else rows
        if "instance_uuid" in query:
            key = as_uuid(query["instance_uuid"])
            rows = rows.filter(instance=key) if key else rows.none()
        if "source_compute" in query:
            rows = rows.filter(source_host__name=query["source_compute"])
        if "host" in query:
            rows = rows.filter(Q(source_host__name=query["host"]) | Q(dest_host__name=query["host"]))
        if "hidden" in query and flag(query["hidden"], "hidden"):
            return rows.none()
        return self._changed(rows) if self.at("2.59") else rows

    def _changed(self, rows: QuerySet[Migration]) -> QuerySet[Migration]:
        query = self.request.query_params
        since = moment(query["changes-since"], "changes-since") if "changes-since" in query else None
        before = moment(query["changes-before"], "changes-before") if "changes-before" in query else None
        if since and before and since > before:
            raise ParseError("The value of changes-since must be less than or equal to changes-before.")
        rows = rows.filter(updated_at__gte=since) if since else rows
        return rows.filter(updated_at__lte=before) if before else rows


class ServerMigrations(MigrationsView):
    """/servers/{id}/migrations"""

    @call("os_compute_api:servers:migrations:index", since="2.23")
    def get(self, request: Request, server_id: str) -> Response:
        """List a server's live migrations that are under way."""
        instance = self.instance(server_id)
        self.sees_hosts = allows(self.actor, SERVERS_WITH_HOSTS)
        rows = live_ones(instance).filter(status__in=LIVE_IN_PROGRESS).order_by("id")
        return Response({"migrations": [SERVER_MIGRATION.render(row, self.version, self) for row in rows]})


class ServerMigration(MigrationsView):
    """/servers/{id}/migrations/{id}"""

    @call("os_compute_api:servers:migrations:show", since="2.23")
    def get(self, request: Request, server_id: str, migration_id: str) -> Response:
        """Show a server's live migration that is under way."""
        instance = self.instance(server_id)
        number = (
            int(migration_id) if migration_id.isascii() and migration_id.isdigit() and len(migration_id) < 19 else 0
        )
        row = Migration.objects.filter(instance=instance, pk=number).first()
        if row is None:
            raise NotFound(f"In-progress live migration {migration_id} is not found for server {instance.pk}.")
        if row.migration_type != MigrationType.LIVE:
            raise NotFound(f"Migration {migration_id} for server {instance.pk} is not live-migration.")
        if row.status not in LIVE_IN_PROGRESS:
            raise NotFound(f"Live migration {migration_id} for server {instance.pk} is not in progress.")
        self.sees_hosts = allows(self.actor, SERVERS_WITH_HOSTS)
        return Response({"migration": SERVER_MIGRATION.render(row, self.version, self)})

    @call("os_compute_api:servers:migrations:delete", since="2.24")
    def delete(self, request: Request, server_id: str, migration_id: str) -> HeadersOnly:
        """Abort a live migration; since 2.65 also one that has not begun."""
        instance = self.instance(server_id)
        migration_control.abort(self.actor, instance, migration_id, waiting=self.at("2.65"))
        return HeadersOnly(202)


class ServerMigrationAction(ComputeView):
    """/servers/{id}/migrations/{id}/action"""

    @call("os_compute_api:servers:migrations:force_complete", since="2.22")
    def post(self, request: Request, server_id: str, migration_id: str) -> HeadersOnly:
        """Bring a live migration to its end: force_complete."""
        instance = self.instance(server_id)
        if self.body != {"force_complete": None}:
            raise ParseError('The body must be {"force_complete": null}.')
        migration_control.force_complete(self.actor, instance, migration_id)
        return HeadersOnly(202)


def live_ones(instance: Instance) -> QuerySet[Migration]:
    """An instance's live migrations, with their hosts."""
    rows = Migration.objects.select_related("source_host", "dest_host")
    return rows.filter(instance=instance, migration_type=MigrationType.LIVE)
