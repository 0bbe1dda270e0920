"""/os-simple-tenant-usage: what projects used in a period."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.utils import timezone
from rest_framework.exceptions import ParseError
from rest_framework.response import Response

from compute.models.instance import InstanceQuerySet
from compute.usage import InstanceUsage, Period, Totals, instances_in, totals, usage_of
from portal.api.compute.base import ComputeView, as_uuid, call
from portal.api.paging import limit_of, next_link
from portal.api.shape import Shape, field
from portal.api.wire import microseconds
from portal.identity.policy import enforce

RULE = "os_compute_api:os-simple-tenant-usage"
FORMS = ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%d %H:%M:%S.%f")
OLD_LIMIT = 1_000_000
YES = ("1", "True", "true")  # Nova knows the first; the `openstack` command sends the second and counts on it

TOTALS: Shape[Totals] = Shape(
    field("total_hours", lambda row, view: row.hours),
    field("total_vcpus_usage", lambda row, view: row.vcpu_hours),
    field("total_memory_mb_usage", lambda row, view: row.memory_mb_hours),
    field("total_local_gb_usage", lambda row, view: row.disk_gb_hours),
)
USAGE: Shape[InstanceUsage] = Shape(
    field("instance_id", lambda row, view: str(row.instance.id)),
    field("name", lambda row, view: row.instance.name),
    field("tenant_id", lambda row, view: row.instance.project_id),
    field("flavor", lambda row, view: row.instance.flavor["name"]),
    field("vcpus", lambda row, view: row.instance.vcpus),
    field("memory_mb", lambda row, view: row.instance.memory_mb),
    field("local_gb", lambda row, view: row.disk_gb),
    field("state", lambda row, view: "terminated" if row.instance.deleted_at else row.instance.vm_state),
    field("started_at", lambda row, view: microseconds(row.instance.launched_at)),
    field("ended_at", lambda row, view: microseconds(row.instance.terminated_at)),
    field("hours", lambda row, view: row.hours),
    field("uptime", lambda row, view: row.age),
)
SHAPES = (TOTALS, USAGE)


class UsageView(ComputeView):
    """What the two calls share."""

    def period(self) -> Period:
        """The period asked for: in UTC, now where nothing is said. Raises ParseError."""
        query = self.request.query_params
        period = Period(_moment(query.get("start")), _moment(query.get("end")))
        if period.begin > period.end:
            raise ParseError("Invalid start time. The start time cannot occur after the end time.")
        return period

    def usages(self, rows: InstanceQuerySet, period: Period) -> list[InstanceUsage]:
        """What instances used; from 2.40 on a page of them by their ids. Raises ParseError for an unknown marker."""
        now = timezone.now()
        rows = rows.order_by("id")
        marker = self.request.query_params.get("marker") if self.at("2.40") else None
        if marker is not None:
            key = as_uuid(marker)
            if key is None or not rows.filter(pk=key).exists():
                raise ParseError(f"marker [{marker[:60]}] not found")
            rows = rows.filter(pk__gt=key)
        return [usage_of(row, period, now) for row in rows[: self.limit]]

    @property
    def limit(self) -> int:
        """How many instances are summed up at the most: all of them up to 2.39."""
        return limit_of(self.request.query_params) if self.at("2.40") else OLD_LIMIT

    def of_project(
        self, project_id: str, usages: list[InstanceUsage], period: Period, detailed: bool
    ) -> dict[str, Any]:
        """What a project used."""
        body: dict[str, Any] = {
            "tenant_id": project_id,
            "start": microseconds(period.begin),
            "stop": microseconds(period.end),
            **TOTALS.render(totals(usages), self.version),
        }
        if detailed:
            body["server_usages"] = [USAGE.render(row, self.version) for row in usages]
        return body

    def next_page(self, key: str, usages: list[InstanceUsage]) -> dict[str, Any]:
        """The link to the next page, from 2.40 on."""
        if not self.at("2.40") or not usages or len(usages) < self.limit:
            return {}
        return {key: [next_link(self.request.path, self.request.query_params, str(usages[-1].instance.id))]}


class Usages(UsageView):
    """/os-simple-tenant-usage"""

    @call(f"{RULE}:list")
    def get(self, request: Any) -> Response:
        """Show what every project used in a period."""
        self.known_query("start", "end", "detailed", "limit", "marker")
        period = self.period()
        usages = self.usages(instances_in(period), period)
        by_project: dict[str, list[InstanceUsage]] = {}
        for usage in usages:
            by_project.setdefault(usage.instance.project_id, []).append(usage)
        detailed = request.query_params.get("detailed") in YES
        found = [self.of_project(project_id, rows, period, detailed) for project_id, rows in by_project.items()]
        return Response({"tenant_usages": found, **self.next_page("tenant_usages_links", usages)})


class Usage(UsageView):
    """/os-simple-tenant-usage/{project}"""

    @call(f"{RULE}:show")
    def get(self, request: Any, usage_project: str) -> Response:
        """Show what a project used in a period."""
        self.known_query("start", "end", "limit", "marker")
        if usage_project != self.actor.project_id:
            enforce(self.actor, f"{RULE}:other_project")
        period = self.period()
        usages = self.usages(instances_in(period).filter(project_id=usage_project), period)
        # Of nothing used, Nova answers {}, and clients that add up or format the sums fail.
        body = self.of_project(usage_project, usages, period, detailed=True)
        return Response({"tenant_usage": body, **self.next_page("tenant_usage_links", usages)})


def _moment(text: str | None) -> datetime:
    if text is None:
        return timezone.now()
    for form in FORMS:
        try:
            return datetime.strptime(text, form).replace(tzinfo=UTC)
        except ValueError:
            continue
    raise ParseError(f"Invalid time {text[:40]}: write 2026-11-28T15:04:05, in UTC.")
