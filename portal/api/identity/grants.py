"""Who has which role where: grants one by one, and the list of all assignments."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db.models import QuerySet
from rest_framework.request import Request
from rest_framework.response import Response

from portal.api.identity import shapes
from portal.api.identity.base import IdentityView, is_true, url
from portal.api.wire import HeadersOnly
from portal.identity.actor import RoleGraph
from portal.identity.errors import NotFound
from portal.identity.models import Assignment, Domain, Project, Role, User
from portal.identity.roles import Target, grant, take_away


class Grants(IdentityView):
    """The roles that a user has on a project, on a domain or on the system."""

    def parties(self, rule: str, user_id: str, project_id: str = "", domain_id: str = "") -> tuple[User, Target]:
        """The user and the target. Raises Forbidden before NotFound."""
        project = Project.objects.filter(pk=project_id).first() if project_id else None
        domain = Domain.objects.filter(pk=domain_id).first() if domain_id else None
        target = Target(project, domain)
        self.enforce(rule, domain_id=target.domain_id)
        if project_id and project is None:
            raise NotFound("project", project_id)
        if domain_id and domain is None:
            raise NotFound("domain", domain_id)
        user = User.objects.filter(pk=user_id).first()
        if user is None:
            raise NotFound("user", user_id)
        return user, target

    def get(self, request: Request, **ids: str) -> Response:
        """By name, without those that they imply."""
        user, target = self.parties("list_grants", **ids)
        held = Assignment.objects.filter(user=user, **target.fields).values("role")
        return self.listed("roles", Role.objects.filter(pk__in=held).order_by("name"), shapes.role)


class Grant(Grants):
    """One role of a user somewhere."""

    def _three(self, rule: str, ids: dict[str, str]) -> tuple[User, Role, Target]:
        role_id = ids.pop("role_id")
        user, target = self.parties(rule, **ids)
        role = Role.objects.filter(pk=role_id).first()
        if role is None:
            raise NotFound("role", role_id)
        return user, role, target

    def put(self, request: Request, **ids: str) -> HeadersOnly:
        """Give."""
        grant(*self._three("create_grant", ids))
        return HeadersOnly(204)

    def get(self, request: Request, **ids: str) -> HeadersOnly:  # type: ignore[override]  # an answer without a body
        """Whether the user has it."""
        user, role, target = self._three("list_grants", ids)
        if not Assignment.objects.filter(user=user, role=role, **target.fields).exists():
            raise NotFound("role assignment with role", role.pk)
        return HeadersOnly(204)

    def delete(self, request: Request, **ids: str) -> HeadersOnly:
        """Take away."""
        take_away(*self._three("revoke_grant", ids))
        return HeadersOnly(204)


class RoleAssignments(IdentityView):
    """Every assignment, or every role that follows from them (``effective``)."""

    FILTERS: ClassVar[dict[str, str]] = {
        "user.id": "user_id",
        "scope.project.id": "project_id",
        "scope.domain.id": "domain_id",
    }

    def get(self, request: Request) -> Response:
        """In the order of names."""
        self.enforce("list_role_assignments")
        rows = Assignment.objects.select_related("user__domain", "role__domain", "project__domain", "domain")
        rows = self._asked(rows.order_by("user__name", "project__name", "domain__name", "role__name", "id"))
        pairs = self._effective(rows) if self._flag("effective") else [(row, row.role, None) for row in rows]
        role_id = self.query.get("role.id")
        named = self._flag("include_names")
        shown = [_shape(*pair, named=named) for pair in pairs if role_id in (None, pair[1].pk)]
        return self.collection("role_assignments", shown)

    def _flag(self, name: str) -> bool:
        return name in self.query and is_true(self.query[name])

    def _asked(self, rows: QuerySet[Assignment]) -> QuerySet[Assignment]:
        if "group.id" in self.query or "scope.OS-INHERIT:inherited_to" in self.query:
            return rows.none()
        for name, field in self.FILTERS.items():
            if name in self.query and not (field == "project_id" and self._flag("include_subtree")):
                rows = rows.filter(**{field: self.query[name]})
        if self._flag("include_subtree") and "scope.project.id" in self.query:
            rows = rows.filter(project_id__in=_subtree(self.query["scope.project.id"]))
        return rows.filter(system=True) if "scope.system" in self.query else rows

    def _effective(self, rows: QuerySet[Assignment]) -> list[tuple[Assignment, Role, Role | None]]:
        graph = RoleGraph.load()
        found: dict[Any, tuple[Assignment, Role, Role | None]] = {}
        for row in rows:
            for role in graph.expand([row.role_id]):
                prior = None if role.pk == row.role_id else row.role
                key = (row.user_id, row.project_id, row.domain_id, role.pk)
                if key not in found or prior is None:
                    found[key] = (row, role, prior)
        return list(found.values())


def _subtree(project_id: str) -> set[str]:
    found, level = {project_id}, {project_id}
    while level:
        below = Project.objects.filter(parent__in=level).values_list("pk", flat=True)
        level = set(below) - found
        found |= level
    return found


def _shape(row: Assignment, role: Role, prior: Role | None, *, named: bool) -> dict[str, Any]:
    scope, where = _scope(row, named)
    links = {"assignment": url(f"{where}/users/{row.user_id}/roles/{row.role_id}")}
    if prior is not None:
        links["prior_role"] = url(f"roles/{prior.pk}")
    return {"role": _role(role, named), "user": _user(row.user, named), "scope": scope, "links": links}


def _scope(row: Assignment, named: bool) -> tuple[dict[str, Any], str]:
    if row.project is not None:
        names = {"name": row.project.name, "domain": _named(row.project.domain)} if named else {}
        return {"project": {"id": row.project_id, **names}}, f"projects/{row.project_id}"
    if row.domain is not None:
        names = {"name": row.domain.name} if named else {}
        return {"domain": {"id": row.domain_id, **names}}, f"domains/{row.domain_id}"
    return {"system": {"all": True}}, "system"


def _user(row: User, named: bool) -> dict[str, Any]:
    return {"id": row.pk, **({"name": row.name, "domain": _named(row.domain)} if named else {})}


def _role(row: Role, named: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {"id": row.pk, **({"name": row.name} if named else {})}
    if named and row.domain_id is not None and row.domain is not None:
        shown["domain"] = _named(row.domain)
    return shown


def _named(row: Domain) -> dict[str, str]:
    return {"id": row.pk, "name": row.name}
