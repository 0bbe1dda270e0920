"""Security groups through the compute API, as it was up to 2.35; the network API has the whole of them."""

from __future__ import annotations

from typing import Any

from rest_framework.exceptions import ParseError
from rest_framework.request import Request
from rest_framework.response import Response

from compute.errors import NotFound
from compute.models import SecurityGroup, SecurityGroupRule
from compute.networks.groups import create_group, default_group, delete_group, update_group
from portal.api.body import Body, StrictCharField
from portal.api.compute.base import ComputeView, as_uuid, call
from portal.api.compute.server_query import flag
from portal.api.wire import HeadersOnly


class GroupBody(Body):
    """A security group to make, or as it shall be."""

    name = StrictCharField(min_length=1, max_length=255)
    description = StrictCharField(max_length=255, allow_blank=True)


def _read(view: ComputeView) -> dict[str, Any]:
    if set(view.body) != {"security_group"}:
        raise ParseError("The body must hold 'security_group' and nothing else.")
    return GroupBody.read(view.body["security_group"], view.version)


class SecurityGroups(ComputeView):
    """/os-security-groups"""

    @call("os_compute_api:proxy:security-groups", until="2.35")
    def get(self, request: Request) -> Response:
        """List the project's security groups; an administrator's all_tenants: those of all projects (up to 2.35)."""
        everybody = flag(request.query_params.get("all_tenants", "0"), "all_tenants") and self.actor.is_admin
        rows = SecurityGroup.objects.order_by("name", "id")
        if not everybody:
            rows = rows.filter(project_id=self.actor.project_id)
        if self.actor.project_id is not None:
            default_group(self.actor.project_id)
        return Response({"security_groups": [group_body(row) for row in rows.prefetch_related("rules__remote_group")]})

    @call("os_compute_api:proxy:security-groups:modify", until="2.35")
    def post(self, request: Request) -> Response:
        """Create a security group (up to 2.35)."""
        data = _read(self)
        row = create_group(actor=self.actor, name=data["name"], description=data["description"])
        return Response({"security_group": group_body(row)})


class SecurityGroupView(ComputeView):
    """/os-security-groups/{id}"""

    @call("os_compute_api:proxy:security-groups", until="2.35")
    def get(self, request: Request, group_id: str) -> Response:
        """Show a security group (up to 2.35)."""
        return Response({"security_group": group_body(find_group(self, group_id))})

    @call("os_compute_api:proxy:security-groups:modify", until="2.35")
    def put(self, request: Request, group_id: str) -> Response:
        """Change a security group's name and description (up to 2.35)."""
        row = find_group(self, group_id)
        data = _read(self)
        update_group(actor=self.actor, group=row, fields=data)
        return Response({"security_group": group_body(find_group(self, group_id))})

    @call("os_compute_api:proxy:security-groups:modify", until="2.35")
    def delete(self, request: Request, group_id: str) -> HeadersOnly:
        """Delete a security group (up to 2.35)."""
        delete_group(actor=self.actor, group=find_group(self, group_id))
        return HeadersOnly(202)


def find_group(view: ComputeView, group_id: str) -> SecurityGroup:
    """The security group of the path, if it is the project's. Raises NotFound."""
    uuid = as_uuid(group_id)
    rows = SecurityGroup.objects.filter(project_id=view.actor.project_id)
    row = rows.prefetch_related("rules__remote_group").filter(pk=uuid).first() if uuid else None
    if row is None:
        raise NotFound(f"Security group {group_id} not found.")
    return row


def group_body(row: SecurityGroup) -> dict[str, Any]:
    """Nova's form of a group: of its rules it knows those for what comes in."""
    return {
        "id": str(row.id),
        "name": row.name,
        "description": row.description,
        "tenant_id": row.project_id,
        "rules": [rule_body(rule) for rule in row.rules.all() if rule.direction == "ingress"],
    }


def rule_body(rule: SecurityGroupRule) -> dict[str, Any]:
    """Nova's form of a rule: from a group of addresses, or from a security group."""
    group, ip_range = {}, {}
    if rule.remote_group is not None:
        group = {"name": rule.remote_group.name, "tenant_id": rule.remote_group.project_id}
    else:
        ip_range = {"cidr": rule.remote_ip_prefix or ("::/0" if rule.ethertype == "IPv6" else "0.0.0.0/0")}
    return {
        "id": str(rule.id),
        "parent_group_id": str(rule.group_id),
        "ip_protocol": rule.protocol,
        "from_port": rule.port_range_min,
        "to_port": rule.port_range_max,
        "group": group,
        "ip_range": ip_range,
    }
