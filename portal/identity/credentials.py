"""Application credentials: a program's own password, for one project and no more roles than its maker had."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from django.contrib.auth.hashers import check_password, make_password
from django.db import IntegrityError, transaction
from django.utils import timezone

from portal.identity.backend import PASSWORD_MAX_LENGTH
from portal.identity.catalog import service_of_path
from portal.identity.errors import Conflict, Invalid, NotAllowed, NotFound
from portal.identity.models import AccessRule, ApplicationCredential, Role
from portal.identity.tokens import Token


@dataclass(frozen=True)
class RoleWanted:
    """A role by its id or by its name."""

    id: str = ""
    name: str = ""


@dataclass(frozen=True)
class RuleWanted:
    """A kind of request: by the id of a rule that the user has, or by what it allows."""

    id: str = ""
    service: str = ""
    method: str = ""
    path: str = ""


def create_credential(
    token: Token,
    *,
    name: str,
    description: str = "",
    secret: str | None = None,
    expires_at: datetime | None = None,
    unrestricted: bool = False,
    roles: Sequence[RoleWanted] = (),
    access_rules: Sequence[RuleWanted] = (),
) -> tuple[ApplicationCredential, str]:
    """A new credential for the token's user and project, and its secret, which nobody sees again.

    Raises Invalid, NotFound (a role that the token has not), NotAllowed (a restricted credential makes no
    others, so that nothing handed out can grow) and Conflict (the user has one of this name).
    """
    check_may_manage(token)
    if token.scope.project is None:
        raise Invalid("An application credential is for a project; the token is not scoped to one.")
    if expires_at is not None and expires_at <= timezone.now():
        raise Invalid("expires_at lies in the past.")
    secret = secret or secrets.token_urlsafe(64)
    credential = ApplicationCredential(
        user=token.user,
        project=token.scope.project,
        name=name,
        description=description,
        secret_hash=make_password(_checked(secret)),
        expires_at=expires_at,
        unrestricted=unrestricted,
    )
    _save(token, credential, roles, access_rules)
    return credential, secret


def _save(
    token: Token, credential: ApplicationCredential, roles: Sequence[RoleWanted], access_rules: Sequence[RuleWanted]
) -> None:
    granted = _roles(token, roles)
    try:
        with transaction.atomic():
            rules = [_rule(token, one) for one in access_rules]
            credential.save(force_insert=True)
            credential.roles.set(granted)
            credential.access_rules.set(rules)
    except IntegrityError as error:
        raise Conflict(
            "Conflict occurred attempting to store application_credential - "
            f"Duplicate entry found with name {credential.name}."
        ) from error


def check_may_manage(token: Token) -> None:
    """Raise NotAllowed for tokens of credentials that may not make or delete credentials."""
    credential = token.application_credential
    if credential is not None and (not credential.unrestricted or credential.access_rules.all()):
        raise NotAllowed("manage application credentials with a restricted application credential.")


def verify_secret(credential: ApplicationCredential | None, secret: str) -> bool:
    """Whether this is the credential's secret; takes as long for a credential that is not there."""
    if len(secret) > PASSWORD_MAX_LENGTH:
        return False
    if credential is None:
        make_password(secret)
        return False
    in_time = credential.expires_at is None or credential.expires_at > timezone.now()
    return check_password(secret, credential.secret_hash) and in_time


def _checked(secret: str) -> str:
    if len(secret) > PASSWORD_MAX_LENGTH:
        raise Invalid(f"A secret has at most {PASSWORD_MAX_LENGTH} characters.")
    return secret


def _roles(token: Token, wanted: Sequence[RoleWanted]) -> list[Role]:
    if not wanted:
        return list(token.roles)
    found = []
    for one in wanted:
        role = next((role for role in token.roles if one.id == role.id or (not one.id and one.name == role.name)), None)
        if role is None:
            raise NotFound("role assignment with role", one.id or one.name)
        found.append(role)
    return found


def _rule(token: Token, wanted: RuleWanted) -> AccessRule:
    if wanted.id:
        rule = AccessRule.objects.filter(pk=wanted.id, user=token.user).first()
        if rule is None:
            raise NotFound("access rule", wanted.id)
        return rule
    return AccessRule.objects.get_or_create(
        user=token.user, service=wanted.service, method=wanted.method, path=wanted.path
    )[0]


def delete_access_rule(rule: AccessRule) -> None:
    """Delete an access rule. Raises NotAllowed while a credential needs it."""
    if rule.application_credentials.exists():
        raise NotAllowed(f"delete access rule {rule.pk}, which an application credential still uses.")
    rule.delete()


def allows_request(token: Token, method: str, path: str) -> bool:
    """Whether the access rules of the token's credential let a request pass; without rules all do."""
    if token.application_credential is None:
        return True
    rules = token.application_credential.access_rules.all()
    service, within = service_of_path(path)
    return not rules or any(
        rule.service == service and rule.method == method and _pattern(rule.path).fullmatch(within) for rule in rules
    )


@lru_cache(maxsize=1024)
def _pattern(path: str) -> re.Pattern[str]:
    """``*`` and ``{name}`` stand for one part of a path, ``**`` for any number of them."""
    words = {"**": ".*", "*": "[^/]+"}
    parts = re.split(r"(\*\*|\*|\{[^{}/]*\})", path)
    return re.compile("".join(words.get(part, "[^/]+" if part.startswith("{") else re.escape(part)) for part in parts))
