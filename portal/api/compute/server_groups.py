"""Server groups: list, create, show, delete."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db.models import Prefetch, QuerySet
from rest_framework import serializers
from rest_framework.exceptions import ParseError, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from compute.errors import NotFound
from compute.models import GroupPolicy, Instance, ServerGroup
from compute.server_groups import RULE, create_group, delete_group
from portal.api.body import Body, StrictIntegerField
from portal.api.compute.aggregates import object_in
from portal.api.compute.base import ComputeView, as_uuid, call
from portal.api.compute.server_body import NameField
from portal.api.paging import limit_of
from portal.api.shape import Shape, field
from portal.api.wire import HeadersOnly
from portal.identity.policy import allows

LARGEST = 2_147_483_647
HARD = (GroupPolicy.AFFINITY, GroupPolicy.ANTI_AFFINITY)


def _rules(row: ServerGroup, view: Any) -> dict[str, int]:
    return {} if row.max_server_per_host is None else {"max_server_per_host": row.max_server_per_host}


GROUP: Shape[ServerGroup] = Shape(
    field("id", lambda row, view: str(row.id)),
    field("name", lambda row, view: row.name),
    field("policies", lambda row, view: [row.policy], until="2.63"),
    field("policy", lambda row, view: row.policy, since="2.64"),
    field("rules", _rules, since="2.64"),
    field("members", lambda row, view: [str(one.pk) for one in row.instances.all()]),
    field("metadata", lambda row, view: {}, until="2.63"),
    field("project_id", lambda row, view: row.project_id, since="2.13"),
    field("user_id", lambda row, view: row.user_id or "", since="2.13"),
)
SHAPES = (GROUP,)


class RulesBody(Body):
    """The rules of a policy (2.64)."""

    max_server_per_host = StrictIntegerField(required=False, min_value=1, max_value=LARGEST)


class GroupBody(Body):
    """POST /os-server-groups."""

    name = NameField()
    policies = serializers.ListField(child=serializers.JSONField(), min_length=1, max_length=1)
    policy = serializers.JSONField()
    rules = serializers.JSONField(required=False)
    since: ClassVar[dict[str, str]] = {"policy": "2.64", "rules": "2.64"}
    until: ClassVar[dict[str, str]] = {"policies": "2.63"}


class ServerGroups(ComputeView):
    """/os-server-groups"""

    @call("os_compute_api:os-server-groups:index")
    def get(self, request: Request) -> Response:
        """List the project's server groups; an administrator's all_projects lists those of all."""
        self.known_query("all_projects", "limit", "offset")
        query = request.query_params
        everywhere = "all_projects" in query and allows(self.actor, RULE + "index:all_projects")
        rows = ServerGroup.objects.order_by("created_at", "id")
        if not everywhere:
            rows = rows.filter(project_id=self.actor.project_id)
        start = _offset(query.get("offset", "0"))
        page = with_members(rows)[start : start + limit_of(query)]
        return Response({"server_groups": [GROUP.render(row, self.version, self) for row in page]})

    @call("os_compute_api:os-server-groups:create")
    def post(self, request: Request) -> Response:
        """Create a server group."""
        data = GroupBody.read(object_in(self.body, "server_group"), self.version)
        policy = _policy(self, data["policy"] if self.at("2.64") else data["policies"][0])
        most = RulesBody.read(data["rules"]).get("max_server_per_host") if "rules" in data else None
        made = create_group(self.actor, name=data["name"], policy=policy, max_server_per_host=most)
        return Response({"server_group": GROUP.render(made, self.version, self)})


class ServerGroupView(ComputeView):
    """/os-server-groups/{id}"""

    @call("os_compute_api:os-server-groups:show")
    def get(self, request: Request, group_id: str) -> Response:
        """Show a server group."""
        return Response({"server_group": GROUP.render(find_group(self, group_id), self.version, self)})

    @call("os_compute_api:os-server-groups:delete")
    def delete(self, request: Request, group_id: str) -> HeadersOnly:
        """Delete a server group; its servers stay."""
        delete_group(self.actor, find_group(self, group_id))
        return HeadersOnly()


def with_members(rows: QuerySet[ServerGroup]) -> QuerySet[ServerGroup]:
    """Groups with the instances that are there, in the order that they came."""
    members = Instance.objects.alive().order_by("created_at", "id").only("id", "server_group_id")
    return rows.prefetch_related(Prefetch("instances", members))


def find_group(view: ComputeView, group_id: str) -> ServerGroup:
    """The group of the path, if it is the project's (or the caller an administrator). Raises NotFound."""
    rows = with_members(ServerGroup.objects.all())
    if not view.actor.is_admin:
        rows = rows.filter(project_id=view.actor.project_id)
    key = as_uuid(group_id)
    found = rows.filter(pk=key).first() if key else None
    if found is None:
        raise NotFound(f"Instance group {group_id[:60]} could not be found.")
    return found


def _policy(view: ComputeView, value: Any) -> str:
    """The policy, if the version has it: the soft ones came with 2.15."""
    known = GroupPolicy.values if view.at("2.15") else [one.value for one in HARD]
    if not isinstance(value, str) or value not in known:
        raise ValidationError(
            f"Invalid input for field/attribute policy. Value: {str(value)[:60]}. It must be one of {', '.join(known)}."
        )
    return value


def _offset(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise ParseError(f"Invalid input for query parameters offset. Value: {text[:50]}. It must be a whole number.")
    return int(text)
