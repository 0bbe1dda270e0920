"""Tokens, and what somebody may do with the one at hand: ``/v3/auth``."""

from __future__ import annotations

import logging

from django.db.models import QuerySet
from rest_framework.exceptions import NotAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response

from portal.api.authentication import UNAUTHORIZED
from portal.api.identity import shapes
from portal.api.identity.base import IdentityView, self_link
from portal.api.identity.login_body import read_login
from portal.api.wire import HeadersOnly
from portal.identity.catalog import catalog
from portal.identity.errors import NotAllowed, NotFound, Unauthorized
from portal.identity.login import log_in
from portal.identity.models import Domain, Project
from portal.identity.tokens import InvalidToken, Token, read, revoke
from portal.requestid import identify

log = logging.getLogger(__name__)


class Tokens(IdentityView):
    """Issue, show and end tokens. Issuing needs no token."""

    def get_permissions(self) -> list[object]:  # type: ignore[override]  # DRF's own element type is not exported
        """Everything but POST needs a token."""
        return [] if self.request.method == "POST" else super().get_permissions()  # type: ignore[return-value]  # as above

    def get_authenticators(self) -> list[object]:  # type: ignore[override]  # as above
        """A token sent along with a login, perhaps an old one, is not looked at."""
        return [] if self.request.method == "POST" else super().get_authenticators()  # type: ignore[return-value]  # as above

    def post(self, request: Request) -> Response:
        """Log in. Raises NotAuthenticated, the same for whatever was wrong."""
        proofs, scope = read_login(self.wrapped("auth"))
        try:
            text, token = log_in(proofs, scope)
        except Unauthorized as error:
            log.warning("login refused: %s", error)
            raise NotAuthenticated(UNAUTHORIZED) from error
        identify(token.actor.user_name, token.actor.project_name)
        return self._shown(text, token, 201)

    def get(self, request: Request) -> Response:
        """What a token says: one's own, or anybody's for services."""
        text, token = self._subject("validate_token")
        return self._shown(text, token, 200)

    def delete(self, request: Request) -> HeadersOnly:
        """End a token, and those got from it."""
        revoke(self._subject("revoke_token")[1])
        return HeadersOnly(204)

    def _subject(self, rule: str) -> tuple[str, Token]:
        text = self.request.headers.get("X-Subject-Token", "")
        if text == self.request.headers.get("X-Auth-Token"):
            return text, self.token
        try:
            token = read(text)
        except InvalidToken as error:
            self.enforce(rule, user_id=self.actor.user_id)
            raise NotFound("token", "it is not valid") from error
        self.enforce(rule, user_id=token.user.id)
        return text, token

    def _shown(self, text: str, token: Token, status: int) -> Response:
        body = {"token": shapes.token(token, with_catalog="nocatalog" not in self.request.GET)}
        return Response(body, status=status, headers={"X-Subject-Token": text, "Vary": "X-Auth-Token"})


def projects_of(user_id: str) -> QuerySet[Project]:
    """The projects that a user can work in."""
    rows = Project.objects.filter(assignments__user=user_id, enabled=True, domain__enabled=True)
    return rows.distinct().order_by("name")


class AuthCatalog(IdentityView):
    """The catalog."""

    def get(self, request: Request) -> Response:
        """For a token with a project, as in Keystone."""
        if self.actor.project_id is None:
            raise NotAllowed("show a catalog; it takes a token with a project.")
        return Response({"catalog": catalog(), "links": self_link("auth/catalog")})


class AuthProjects(IdentityView):
    """The projects that the caller can have a token for."""

    def get(self, request: Request) -> Response:
        """By name."""
        rows = projects_of(self.actor.user_id)
        if self.actor.application_credential_id:
            rows = rows.filter(pk=self.actor.project_id)
        return self.listed("projects", rows, shapes.project)


class AuthDomains(IdentityView):
    """The domains that the caller can have a token for."""

    def get(self, request: Request) -> Response:
        """By name."""
        rows = Domain.objects.filter(assignments__user=self.actor.user_id, enabled=True).distinct().order_by("name")
        return self.listed("domains", rows.none() if self.actor.application_credential_id else rows, shapes.domain)


class AuthSystem(IdentityView):
    """Whether the caller can have a token for the system."""

    def get(self, request: Request) -> Response:
        """The system is one whole, or nothing."""
        held = self.token.user.assignments.filter(system=True).exists() and not self.actor.application_credential_id
        return Response({"system": [{"all": True}] if held else [], "links": self_link("auth/system")})
