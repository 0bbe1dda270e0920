"""Application credentials and their access rules: a user's own."""

from __future__ import annotations

from typing import Any

from rest_framework.exceptions import ParseError
from rest_framework.request import Request
from rest_framework.response import Response

from portal.api.identity import shapes
from portal.api.identity.base import IdentityView
from portal.api.identity.bodies import CredentialBody
from portal.api.wire import HeadersOnly
from portal.identity.credentials import (
    RoleWanted,
    RuleWanted,
    check_may_manage,
    create_credential,
    delete_access_rule,
)
from portal.identity.errors import NotFound
from portal.identity.models import AccessRule, ApplicationCredential
from portal.identity.policy import Forbidden

CREATE = "identity:create_application_credential"


class Credentials(IdentityView):
    """A user's application credentials."""

    def get(self, request: Request, user_id: str) -> Response:
        """By name; filter name."""
        self.enforce("list_application_credentials", user_id=user_id)
        rows = ApplicationCredential.objects.filter(user_id=user_id).prefetch_related("roles", "access_rules")
        rows = self.filtered(rows.order_by("name"), "name")
        return self.listed("application_credentials", rows, shapes.credential)

    def post(self, request: Request, user_id: str) -> Response:
        """Create one; nobody does that for somebody else, administrators neither."""
        if user_id != self.actor.user_id:
            raise Forbidden(CREATE)
        given = self._given(CredentialBody.read(self.wrapped("application_credential")))
        credential, secret = create_credential(self.token, **given)
        shown = {**shapes.credential(credential), "secret": secret}
        return Response({"application_credential": shown}, status=201)

    def _given(self, given: dict[str, Any]) -> dict[str, Any]:
        if given.pop("project_id", None) not in (None, self.actor.project_id):
            raise ParseError("An application credential is for the project of the token.")
        given["roles"] = [RoleWanted(**one) for one in given.get("roles") or ()]
        given["access_rules"] = [RuleWanted(**one) for one in given.get("access_rules") or ()]
        given["unrestricted"] = bool(given.get("unrestricted"))
        return given


class OneCredential(IdentityView):
    """One application credential."""

    def _credential(self, user_id: str, credential_id: str, rule: str) -> ApplicationCredential:
        self.enforce(rule, user_id=user_id)
        rows = ApplicationCredential.objects.prefetch_related("roles", "access_rules")
        credential = rows.filter(pk=credential_id, user_id=user_id).first()
        if credential is None:
            raise NotFound("application credential", credential_id)
        return credential

    def get(self, request: Request, user_id: str, credential_id: str) -> Response:
        """Show, without the secret."""
        credential = self._credential(user_id, credential_id, "get_application_credential")
        return Response({"application_credential": shapes.credential(credential)})

    def delete(self, request: Request, user_id: str, credential_id: str) -> HeadersOnly:
        """Delete; its tokens end."""
        credential = self._credential(user_id, credential_id, "delete_application_credential")
        check_may_manage(self.token)
        credential.delete()
        return HeadersOnly(204)


class AccessRules(IdentityView):
    """A user's access rules: those of all the user's application credentials, past ones too."""

    def get(self, request: Request, user_id: str) -> Response:
        """List; filters service, method and path."""
        self.enforce("list_access_rules", user_id=user_id)
        rows = AccessRule.objects.filter(user_id=user_id).order_by("service", "path", "method")
        rows = self.filtered(rows, "service", "method", "path")
        return self.listed("access_rules", rows, lambda row: shapes.access_rule_of(user_id, row))


class OneAccessRule(IdentityView):
    """One access rule."""

    def _rule(self, user_id: str, rule_id: str, rule: str) -> AccessRule:
        self.enforce(rule, user_id=user_id)
        row = AccessRule.objects.filter(pk=rule_id, user_id=user_id).first()
        if row is None:
            raise NotFound("access rule", rule_id)
        return row

    def get(self, request: Request, user_id: str, rule_id: str) -> Response:
        """Show."""
        row = self._rule(user_id, rule_id, "list_access_rules")
        return Response({"access_rule": shapes.access_rule_of(user_id, row)})

    def delete(self, request: Request, user_id: str, rule_id: str) -> HeadersOnly:
        """Delete one that no credential uses."""
        row = self._rule(user_id, rule_id, "delete_access_rule")
        check_may_manage(self.token)
        delete_access_rule(row)
        return HeadersOnly(204)
