"""Limits and quota sets: how much a project may have, and has."""

from __future__ import annotations

from typing import Any

from rest_framework.exceptions import ParseError, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from compute import quota
from compute.errors import Invalid
from compute.models import DEFAULT_LIMITS, KeyPair, SecurityGroup
from portal.api.body import StrictBooleanField, StrictIntegerField
from portal.api.compute.base import ComputeView, call
from portal.api.shape import Shape, field
from portal.api.wire import HeadersOnly
from portal.identity.models import Project
from portal.identity.policy import enforce

Figures = dict[str, dict[str, int]]
UNLIMITED = -1
LARGEST = 2_147_483_647


def _limit(name: str) -> Any:
    return lambda figures, context: figures["limits"][name]


def _used(name: str) -> Any:
    return lambda figures, context: figures["used"][name]


def _always(value: int) -> Any:
    return lambda figures, context: value


# -1 stands for what is not limited here: security groups and their rules, floating addresses.
LIMITS: Shape[Figures] = Shape(
    field("maxTotalInstances", _limit("instances")),
    field("maxTotalCores", _limit("cores")),
    field("maxTotalRAMSize", _limit("memory_mb")),
    field("maxServerMeta", _limit("metadata_items")),
    field("maxTotalKeypairs", _limit("key_pairs")),
    field("maxServerGroups", _limit("server_groups")),
    field("maxServerGroupMembers", _limit("server_group_members")),
    field("totalInstancesUsed", _used("instances")),
    field("totalCoresUsed", _used("cores")),
    field("totalRAMUsed", _used("memory_mb")),
    field("totalServerGroupsUsed", _used("server_groups")),
    field("maxSecurityGroups", _always(UNLIMITED), until="2.35"),
    field("maxSecurityGroupRules", _always(UNLIMITED), until="2.35"),
    field("maxTotalFloatingIps", _always(UNLIMITED), until="2.35"),
    field("totalFloatingIpsUsed", _always(0), until="2.35"),
    field("totalSecurityGroupsUsed", _used("security_groups"), until="2.35"),
    field("maxImageMeta", _limit("metadata_items"), until="2.38"),
    field("maxPersonality", _always(0), until="2.56"),
    field("maxPersonalitySize", _always(0), until="2.56"),
)
# The wire's name of a quota, and the model's; None for what is not limited or not there.
QUOTA: Shape[dict[str, Any]] = Shape(
    field("instances", lambda get, context: get("instances")),
    field("cores", lambda get, context: get("cores")),
    field("ram", lambda get, context: get("memory_mb")),
    field("metadata_items", lambda get, context: get("metadata_items")),
    field("key_pairs", lambda get, context: get("key_pairs")),
    field("server_groups", lambda get, context: get("server_groups")),
    field("server_group_members", lambda get, context: get("server_group_members")),
    field("fixed_ips", lambda get, context: get(None), until="2.35"),
    field("floating_ips", lambda get, context: get(None), until="2.35"),
    field("security_groups", lambda get, context: get(None), until="2.35"),
    field("security_group_rules", lambda get, context: get(None), until="2.35"),
    field("injected_files", lambda get, context: get(""), until="2.56"),
    field("injected_file_content_bytes", lambda get, context: get(""), until="2.56"),
    field("injected_file_path_bytes", lambda get, context: get(""), until="2.56"),
)
SHAPES = (LIMITS, QUOTA)
CHANGEABLE = {
    "instances": "instances", "cores": "cores", "ram": "memory_mb", "metadata_items": "metadata_items",
    "key_pairs": "key_pairs", "server_groups": "server_groups", "server_group_members": "server_group_members",
}  # fmt: skip


class Limits(ComputeView):
    """/limits"""

    @call("os_compute_api:limits")
    def get(self, request: Request) -> Response:
        """Show the project's limits and what it uses of them."""
        self.known_query("tenant_id", "reserved")
        project_id = request.query_params.get("tenant_id", "None")
        if project_id in ("None", self.actor.project_id):
            project_id = self.actor.project_id or ""
        else:
            enforce(self.actor, "os_compute_api:limits:other_project")
        figures = {"limits": quota.limits(project_id), "used": quota.usage(project_id)}
        figures["used"]["server_groups"] = quota.groups_used(project_id)
        if not self.at("2.36"):
            figures["used"]["security_groups"] = SecurityGroup.objects.filter(project_id=project_id).count()
        return Response({"limits": {"rate": [], "absolute": LIMITS.render(figures, self.version)}})


class QuotaSet(ComputeView):
    """/os-quota-sets/{project}"""

    @call("os_compute_api:os-quota-sets:show")
    def get(self, request: Request, quota_project: str) -> Response:
        """Show a project's quota."""
        check_project(self, quota_project)
        return Response({"quota_set": {"id": quota_project, **plain(self, quota.limits(quota_project))}})

    @call("os_compute_api:os-quota-sets:update")
    def put(self, request: Request, quota_project: str) -> Response:
        """Change a project's quota; -1 is no limit."""
        check_project(self, quota_project)
        wanted, force = wanted_of(self.body)
        quota.set_limits(self.actor, quota_project, wanted=wanted, force=force)
        return Response({"quota_set": plain(self, quota.limits(quota_project))})

    @call("os_compute_api:os-quota-sets:delete")
    def delete(self, request: Request, quota_project: str) -> HeadersOnly:
        """Give a project the default quota again."""
        check_project(self, quota_project)
        quota.reset_limits(self.actor, quota_project)
        return HeadersOnly(202)


class QuotaSetDefaults(ComputeView):
    """/os-quota-sets/{project}/defaults"""

    @call("os_compute_api:os-quota-sets:defaults")
    def get(self, request: Request, quota_project: str) -> Response:
        """Show the quota that projects start with."""
        check_project(self, quota_project)
        return Response({"quota_set": {"id": quota_project, **plain(self, DEFAULT_LIMITS)}})


class QuotaSetDetail(ComputeView):
    """/os-quota-sets/{project}/detail"""

    @call("os_compute_api:os-quota-sets:detail")
    def get(self, request: Request, quota_project: str) -> Response:
        """Show a project's quota with what is used of it."""
        check_project(self, quota_project)
        limits, used = quota.limits(quota_project), quota.usage(quota_project)
        used["server_groups"] = quota.groups_used(quota_project)
        used["key_pairs"] = KeyPair.objects.filter(user_id=self.actor.user_id).count()

        def figures(name: str | None) -> dict[str, int]:
            return {"limit": _value(limits, name), "in_use": used.get(name or "", 0), "reserved": 0}

        return Response({"quota_set": {"id": quota_project, **QUOTA.render(figures, self.version)}})  # type: ignore[arg-type]  # its rows are functions


def plain(view: ComputeView, limits: dict[str, int]) -> dict[str, int]:
    """The limits alone."""
    return QUOTA.render(lambda name: _value(limits, name), view.version)  # type: ignore[arg-type]  # its rows are functions


def _value(limits: dict[str, int], name: str | None) -> int:
    """None: not limited. Empty: there is no such thing here, so none may be had."""
    return UNLIMITED if name is None else limits.get(name, 0)


def check_project(view: ComputeView, project_id: str) -> None:
    """Raise Forbidden for another project's quota, Invalid for a project that is not there.

    Users have no quota of their own: each may use what the project has, which is what is shown for one. It cannot be
    changed for one.
    """
    if view.request.query_params.get("user_id") and view.request.method not in ("GET", "HEAD"):
        raise Invalid("Quotas of single users are not served; leave out user_id.")
    if project_id != view.actor.project_id:
        enforce(view.actor, "os_compute_api:os-quota-sets:other_project")
        if not Project.objects.filter(pk=project_id).exists():
            raise Invalid(f"Project ID {project_id} is not a valid project.")


def wanted_of(body: dict[str, Any]) -> tuple[dict[str, int], bool]:
    """The limits that a body asks for, and whether to force them. Raises ParseError and ValidationError."""
    wanted = body.get("quota_set")
    if set(body) != {"quota_set"} or not isinstance(wanted, dict):
        raise ParseError("The body must hold 'quota_set' and nothing else.")
    if unknown := sorted(set(wanted) - set(CHANGEABLE) - {"force", "tenant_id"}):
        raise ValidationError(f"Additional properties are not allowed ({', '.join(unknown)}).")
    number = StrictIntegerField(min_value=UNLIMITED, max_value=LARGEST)
    limits = {CHANGEABLE[name]: number.run_validation(wanted[name]) for name in wanted if name in CHANGEABLE}
    return limits, StrictBooleanField().run_validation(wanted.get("force", False))
