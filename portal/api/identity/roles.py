"""Roles, and which implies which."""

from __future__ import annotations

from django.db.models import QuerySet
from rest_framework.request import Request
from rest_framework.response import Response

from portal.api.identity import shapes
from portal.api.identity.base import IdentityView, url
from portal.api.identity.bodies import RoleBody, RoleUpdate
from portal.api.wire import HeadersOnly
from portal.identity.errors import NotFound
from portal.identity.models import Role
from portal.identity.roles import create_role, delete_role, imply, no_longer_imply, update_role


class Roles(IdentityView):
    """All roles."""

    def get(self, request: Request) -> Response:
        """By name; filters name and domain_id. Without a domain: the roles of none (Keystone's rule)."""
        self.enforce("list_roles")
        rows = self.filtered(Role.objects.order_by("name"), "name", "domain_id")
        if "domain_id" not in self.query:
            rows = rows.filter(domain=None)
        return self.listed("roles", rows, shapes.role)

    def post(self, request: Request) -> Response:
        """Create."""
        self.enforce("create_role")
        role = create_role(**RoleBody.read(self.wrapped("role")))
        return Response({"role": shapes.role(role)}, status=201)


class RoleView(IdentityView):
    """What is below one role."""

    def role(self, role_id: str, rule: str) -> Role:
        """The role, when the caller may see or change roles."""
        self.enforce(rule)
        role = Role.objects.filter(pk=role_id).first()
        if role is None:
            raise NotFound("role", role_id)
        return role


class OneRole(RoleView):
    """One role."""

    def get(self, request: Request, role_id: str) -> Response:
        """Show."""
        return Response({"role": shapes.role(self.role(role_id, "get_role"))})

    def patch(self, request: Request, role_id: str) -> Response:
        """Change."""
        role = self.role(role_id, "update_role")
        role = update_role(role, self.read_changes("role", RoleUpdate, role_id))
        return Response({"role": shapes.role(role)})

    def delete(self, request: Request, role_id: str) -> HeadersOnly:
        """Delete."""
        delete_role(self.role(role_id, "delete_role"))
        return HeadersOnly(204)


def _implied(prior: Role) -> QuerySet[Role]:
    return prior.implies.order_by("name")


class ImpliedRoles(RoleView):
    """The roles that one implies directly."""

    def get(self, request: Request, role_id: str) -> Response:
        """By name."""
        prior = self.role(role_id, "list_implied_roles")
        links = {"self": url(f"roles/{role_id}/implies")}
        return Response({"role_inference": shapes.inference(prior, _implied(prior)), "links": links})


class ImpliedRole(RoleView):
    """One role that another implies."""

    def _two(self, role_id: str, implied_id: str, rule: str) -> tuple[Role, Role]:
        return self.role(role_id, rule), self.role(implied_id, rule)

    def _shown(self, prior: Role, implied: Role, status: int = 200) -> Response:
        inference = {"prior_role": shapes.role_briefly(prior), "implies": shapes.role_briefly(implied)}
        links = {"self": url(f"roles/{prior.pk}/implies/{implied.pk}")}
        return Response({"role_inference": inference, "links": links}, status=status)

    def _there(self, prior: Role, implied: Role) -> None:
        if not prior.implies.filter(pk=implied.pk).exists():
            raise NotFound("implied role", f"{prior.pk} implies {implied.pk}")

    def get(self, request: Request, role_id: str, implied_id: str) -> Response:
        """Show; or (HEAD) whether it is there."""
        prior, implied = self._two(role_id, implied_id, "list_implied_roles")
        self._there(prior, implied)
        return self._shown(prior, implied)

    def head(self, request: Request, role_id: str, implied_id: str) -> HeadersOnly:
        """Whether it is there."""
        self.get(request, role_id, implied_id)
        return HeadersOnly(204)

    def put(self, request: Request, role_id: str, implied_id: str) -> Response:
        """Have the one imply the other."""
        prior, implied = self._two(role_id, implied_id, "create_implied_role")
        imply(prior, implied)
        return self._shown(prior, implied, 201)

    def delete(self, request: Request, role_id: str, implied_id: str) -> HeadersOnly:
        """Undo that."""
        prior, implied = self._two(role_id, implied_id, "delete_implied_role")
        self._there(prior, implied)
        no_longer_imply(prior, implied)
        return HeadersOnly(204)


class RoleInferences(IdentityView):
    """Every role that implies others."""

    def get(self, request: Request) -> Response:
        """By name."""
        self.enforce("list_implied_roles")
        priors = Role.objects.exclude(implies=None).prefetch_related("implies").distinct().order_by("name")
        rules = [shapes.inference(prior, prior.implies.all()) for prior in priors]
        return Response({"role_inferences": rules, "links": {"self": url("role_inferences")}})
