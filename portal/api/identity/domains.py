"""Domains."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.response import Response

from portal.api.identity import shapes
from portal.api.identity.base import IdentityView
from portal.api.identity.bodies import DomainBody, DomainUpdate
from portal.api.wire import HeadersOnly
from portal.identity.errors import NotFound
from portal.identity.models import Domain
from portal.identity.projects import create_domain, delete_domain, update_domain


class Domains(IdentityView):
    """All domains."""

    def get(self, request: Request) -> Response:
        """By name; filters name and enabled."""
        self.enforce("list_domains")
        rows = self.filtered(Domain.objects.order_by("name"), "name", "enabled")
        return self.listed("domains", rows, shapes.domain)

    def post(self, request: Request) -> Response:
        """Create."""
        self.enforce("create_domain")
        given = DomainBody.read(self.wrapped("domain"))
        domain = create_domain(id=given.pop("explicit_domain_id", None), **given)
        return Response({"domain": shapes.domain(domain)}, status=201)


class OneDomain(IdentityView):
    """One domain."""

    def _domain(self, domain_id: str, rule: str) -> Domain:
        """The domain; that of the token's own project counts as the project's."""
        own = self.actor.project_id if domain_id == self.actor.project_domain_id else ""
        self.enforce(rule, own, domain_id=domain_id)
        domain = Domain.objects.filter(pk=domain_id).first()
        if domain is None:
            raise NotFound("domain", domain_id)
        return domain

    def get(self, request: Request, domain_id: str) -> Response:
        """Show."""
        return Response({"domain": shapes.domain(self._domain(domain_id, "get_domain"))})

    def patch(self, request: Request, domain_id: str) -> Response:
        """Change."""
        domain = self._domain(domain_id, "update_domain")
        domain = update_domain(domain, self.read_changes("domain", DomainUpdate, domain_id))
        return Response({"domain": shapes.domain(domain)})

    def delete(self, request: Request, domain_id: str) -> HeadersOnly:
        """Delete, with all that is in it."""
        delete_domain(self._domain(domain_id, "delete_domain"))
        return HeadersOnly(204)
