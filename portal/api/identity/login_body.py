"""The body of ``POST /v3/auth/tokens``: what somebody offers as proof, and the scope asked for."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers
from rest_framework.exceptions import ValidationError

from portal.api.body import Body
from portal.api.identity.bodies import Flag, Name, Text
from portal.identity.login import (
    CredentialProof,
    DomainRef,
    Password,
    Proof,
    Ref,
    ScopeKind,
    ScopeWanted,
    TokenProof,
)

METHODS = ("password", "token", "application_credential")


class DomainRefBody(Body):
    """A domain by id or name."""

    id = Name(required=False)
    name = Name(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """One of the two is needed."""
        if not attrs:
            raise ValidationError("It needs an id or a name.")
        return attrs


class NamedBody(Body):
    """Something by its id, or by its name and its domain."""

    id = Name(required=False)
    name = Name(required=False)
    domain = DomainRefBody(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Names hold within a domain alone."""
        if "id" not in attrs and not {"name", "domain"} <= set(attrs):
            raise ValidationError("It needs an id, or a name and a domain.")
        return attrs


class PasswordUser(NamedBody):
    """A user and the password."""

    password = Text()


class PasswordMethod(Body):
    """The method password."""

    user = PasswordUser()


class TokenMethod(Body):
    """The method token."""

    id = Text()


class CredentialMethod(Body):
    """The method application_credential."""

    id = Name(required=False)
    name = Name(required=False)
    user = NamedBody(required=False)
    secret = Text()

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Names are a user's own."""
        if "id" not in attrs and not {"name", "user"} <= set(attrs):
            raise ValidationError("It needs an id, or a name and a user.")
        return attrs


class IdentityBody(Body):
    """The proofs."""

    methods = serializers.ListField(child=serializers.ChoiceField(METHODS), min_length=1, max_length=len(METHODS))
    password = PasswordMethod(required=False)
    token = TokenMethod(required=False)
    application_credential = CredentialMethod(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Each method named comes with what it needs."""
        for method in attrs["methods"]:
            if method not in attrs:
                raise ValidationError(f"Expecting to find {method} in identity.")
        return attrs


class SystemBody(Body):
    """The system, which is one whole."""

    all = Flag()


class ScopeBody(Body):
    """At most one of the kinds of scope."""

    project = NamedBody(required=False)
    domain = DomainRefBody(required=False)
    system = SystemBody(required=False)
    unscoped = serializers.DictField(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """One, and the system as a whole."""
        if len(attrs) > 1:
            raise ValidationError("A token has one scope: project, domain, system or unscoped.")
        if attrs.get("system", {}).get("all") is False:
            raise ValidationError("The system can only be had as a whole.")
        return attrs


def read_login(auth: dict[str, Any]) -> tuple[list[Proof], ScopeWanted]:
    """The proofs and the scope. Raises ValidationError (400)."""
    if unknown := set(auth) - {"identity", "scope"}:
        raise ValidationError(f"Additional properties are not allowed ({', '.join(sorted(map(str, unknown)))}).")
    identity = IdentityBody.read(auth.get("identity"))
    return [_proof(method, identity[method]) for method in dict.fromkeys(identity["methods"])], _scope(
        auth.get("scope")
    )


def _proof(method: str, value: dict[str, Any]) -> Proof:
    if method == "password":
        return Password(_ref(value["user"]), value["user"]["password"])
    if method == "token":
        return TokenProof(value["id"])
    user = _ref(value["user"]) if "user" in value else None
    return CredentialProof(Ref(value.get("id", ""), value.get("name", "")), user, value["secret"])


def _ref(value: dict[str, Any]) -> Ref:
    return Ref(value.get("id", ""), value.get("name", ""), DomainRef(**value.get("domain", {})))


def _scope(value: Any) -> ScopeWanted:
    if value is None:
        return ScopeWanted()
    if value == "unscoped":
        return ScopeWanted(ScopeKind.UNSCOPED)
    wanted = ScopeBody.read(value)
    if "project" in wanted:
        return ScopeWanted(ScopeKind.PROJECT, project=_ref(wanted["project"]))
    if "domain" in wanted:
        return ScopeWanted(ScopeKind.DOMAIN, domain=DomainRef(**wanted["domain"]))
    for kind in (ScopeKind.SYSTEM, ScopeKind.UNSCOPED):
        if kind.value in wanted:
            return ScopeWanted(kind)
    return ScopeWanted()
