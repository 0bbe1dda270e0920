"""Tokens: signed and stateless. What a token may do is looked up afresh each time it is shown.

A token carries who (user, and a stamp that changes with the password or when the user is disabled),
what scope, how it was got, and when it ends. Roles are not in it: a role taken away is gone at once.
Only tokens revoked before their time are stored, until they would have ended anyway.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.core import signing
from django.db.models import Exists, Q, QuerySet
from django.utils import timezone

from portal.compiled import Rows, given
from portal.identity.actor import Actor, RoleGraph
from portal.identity.models import ApplicationCredential, Domain, Project, RevokedToken, Role, User

SALT = "nacelle.token"
MAX_LENGTH = 4096


def _with_revoked() -> QuerySet[User, User]:
    """The user, and whether the token, or the one that it was got from, was revoked."""
    revoked = Q(**given(RevokedToken, audit_id="own")) | Q(**given(RevokedToken, audit_id="first"))
    users = User.objects.select_related("domain").filter(**given(User, "pk"))
    return users.annotate(revoked=Exists(RevokedToken.objects.filter(revoked)))


_USER = Rows(_with_revoked)
_PROJECT = Rows(lambda: Project.objects.select_related("domain").filter(**given(Project, "pk")))


class InvalidToken(Exception):
    """The token is forged, ended, revoked, or its user, project or roles are gone (HTTP 401)."""


@dataclass(frozen=True)
class Scope:
    """What a token is for: a project, a domain, the system, or nothing (unscoped)."""

    project: Project | None = None
    domain: Domain | None = None
    system: bool = False


@dataclass(frozen=True)
class Token:
    """A valid token, read."""

    user: User
    scope: Scope
    roles: tuple[Role, ...]
    methods: tuple[str, ...]
    audit_ids: tuple[str, ...]
    issued_at: datetime
    expires_at: datetime
    actor: Actor
    application_credential: ApplicationCredential | None = None


def issue(
    user: User,
    scope: Scope,
    methods: tuple[str, ...],
    *,
    parent: Token | None = None,
    application_credential: ApplicationCredential | None = None,
) -> tuple[str, Token]:
    """A new token and what it says. A token got from another never outlives it (OSSA-2012-014).

    Raises InvalidToken when the user is disabled, or has no role in the scope, or that is disabled.
    """
    now = timezone.now().replace(microsecond=0)
    ends = [now + timedelta(hours=settings.TOKEN_HOURS)]
    audit = [secrets.token_urlsafe(16)]
    if parent is not None:
        ends.append(parent.expires_at)
        audit.append(parent.audit_ids[-1])
        methods = tuple(dict.fromkeys((*methods, *parent.methods)))
    if application_credential is not None and application_credential.expires_at is not None:
        ends.append(application_credential.expires_at.replace(microsecond=0))
    _check_user(user)
    _check_scope(scope)
    token = _token(
        user,
        scope,
        application_credential,
        methods=methods,
        audit_ids=tuple(audit),
        issued_at=now,
        expires_at=min(ends),
    )
    return signing.dumps(_payload(token), salt=SALT, compress=True), token


def _payload(token: Token) -> dict[str, Any]:
    payload: dict[str, Any] = {
        "u": token.user.id,
        "s": token.user.token_stamp,
        "m": token.methods,
        "a": token.audit_ids,
        "i": int(token.issued_at.timestamp()),
        "e": int(token.expires_at.timestamp()),
    }
    if token.scope.project is not None:
        payload["p"] = token.scope.project.id
    if token.scope.domain is not None:
        payload["d"] = token.scope.domain.id
    if token.scope.system:
        payload["y"] = True
    if token.application_credential is not None:
        payload["c"] = token.application_credential.id
    return payload


def read(text: str) -> Token:
    """The token that this text is. Raises InvalidToken."""
    if not text or len(text) > MAX_LENGTH:
        raise InvalidToken("no token")
    try:
        payload = signing.loads(text, salt=SALT)
    except signing.BadSignature as error:
        raise InvalidToken("not a token of this cloud") from error
    return _understand(payload)


def revoke(token: Token) -> None:
    """End a token, and those got from it, before its time."""
    RevokedToken.objects.get_or_create(audit_id=token.audit_ids[0], defaults={"expires_at": token.expires_at})
    RevokedToken.objects.filter(expires_at__lt=timezone.now()).delete()


def _understand(payload: dict[str, Any]) -> Token:
    expires = datetime.fromtimestamp(payload["e"], UTC)
    if expires <= timezone.now():
        raise InvalidToken("the token has expired")
    user = _user(payload)
    credential = _credential(payload, user)
    return _token(
        user,
        _scope(payload),
        credential,
        methods=tuple(payload["m"]),
        audit_ids=tuple(payload["a"]),
        issued_at=datetime.fromtimestamp(payload["i"], UTC),
        expires_at=expires,
    )


def _token(user: User, scope: Scope, credential: ApplicationCredential | None, **facts: Any) -> Token:
    roles = _roles(user, scope, credential)
    actor = _actor(user, scope, roles, credential)
    return Token(user=user, scope=scope, roles=tuple(roles), actor=actor, application_credential=credential, **facts)


def _user(payload: dict[str, Any]) -> User:
    user = _USER.first(pk=payload["u"], own=payload["a"][0], first=payload["a"][-1])
    if user is None or user.token_stamp != payload["s"]:
        raise InvalidToken("the user is gone, or has a new password")
    if user.revoked:  # type: ignore[attr-defined]  # an annotation
        raise InvalidToken("the token was revoked")
    _check_user(user)
    return user


def _check_user(user: User) -> None:
    if not user.is_active:
        raise InvalidToken("the user is disabled")


def _credential(payload: dict[str, Any], user: User) -> ApplicationCredential | None:
    if "c" not in payload:
        return None
    found = ApplicationCredential.objects.prefetch_related("roles", "access_rules")
    credential = found.filter(pk=payload["c"], user=user).first()
    if credential is None or (credential.expires_at and credential.expires_at <= timezone.now()):
        raise InvalidToken("the application credential is gone")
    return credential


def _scope(payload: dict[str, Any]) -> Scope:
    scope = Scope(system=bool(payload.get("y")))
    if "p" in payload:
        scope = Scope(project=_PROJECT.first(pk=payload["p"]))
        if scope.project is None:
            raise InvalidToken("the project is gone")
    if "d" in payload:
        scope = Scope(domain=Domain.objects.filter(pk=payload["d"]).first())
        if scope.domain is None:
            raise InvalidToken("the domain is gone")
    _check_scope(scope)
    return scope


def _check_scope(scope: Scope) -> None:
    if scope.project is not None and not (scope.project.enabled and scope.project.domain.enabled):
        raise InvalidToken("the project is disabled")
    if scope.domain is not None and not scope.domain.enabled:
        raise InvalidToken("the domain is disabled")


def _roles(user: User, scope: Scope, credential: ApplicationCredential | None) -> list[Role]:
    if scope.project is not None:
        graph = RoleGraph.held_by(user, project=scope.project)
    elif scope.domain is not None:
        graph = RoleGraph.held_by(user, domain=scope.domain)
    elif scope.system:
        graph = RoleGraph.held_by(user, system=True)
    else:
        return []
    roles = graph.expand(graph.held)
    if credential is not None:
        allowed = {role.id for role in graph.expand(role.id for role in credential.roles.all())}
        roles = [role for role in roles if role.id in allowed]
    if not roles:
        raise InvalidToken("the user has no role there")
    return roles


def _actor(user: User, scope: Scope, roles: list[Role], credential: ApplicationCredential | None) -> Actor:
    project = scope.project
    return Actor(
        user_id=user.id,
        user_name=user.name,
        user_domain_id=user.domain_id,
        project_id=project.id if project else None,
        project_name=project.name if project else "",
        project_domain_id=project.domain_id if project else "default",
        domain_id=scope.domain.id if scope.domain else None,
        system=scope.system,
        roles=frozenset(role.name for role in roles),
        application_credential_id=credential.id if credential else None,
        unrestricted=credential is None or credential.unrestricted,
    )
