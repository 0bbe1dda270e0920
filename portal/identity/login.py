"""Getting a token: proofs of who it is, and the scope that it shall be for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from portal.identity.backend import verify_password
from portal.identity.credentials import verify_secret
from portal.identity.errors import Invalid, NotAllowed, NotFound, Unauthorized
from portal.identity.models import ApplicationCredential, Domain, Project, User
from portal.identity.tokens import InvalidToken, Scope, Token, issue, read


@dataclass(frozen=True)
class DomainRef:
    """A domain by its id or by its name."""

    id: str = ""
    name: str = ""

    def lookup(self, prefix: str = "") -> dict[str, str]:
        """The conditions of a query; ``prefix`` is the way to the domain."""
        return {f"{prefix}id": self.id} if self.id else {f"{prefix}name": self.name}


@dataclass(frozen=True)
class Ref:
    """A user, a project or a credential: by its id, or by its name and where that name holds."""

    id: str = ""
    name: str = ""
    domain: DomainRef = DomainRef()

    def lookup(self) -> dict[str, str]:
        """The conditions of a query."""
        return {"pk": self.id} if self.id else {"name": self.name, **self.domain.lookup("domain__")}


@dataclass(frozen=True)
class Proven:
    """Who it is, and what the proof says besides."""

    user: User
    token: Token | None = None
    credential: ApplicationCredential | None = None


@dataclass(frozen=True)
class Password:
    """A user and the password."""

    user: Ref
    password: str
    method = "password"

    def prove(self) -> Proven:
        """Raises Unauthorized, after the same time whatever was wrong."""
        rows = User.objects.select_related("domain", "default_project__domain")
        user = rows.filter(**self.user.lookup()).first()
        if not verify_password(user, self.password) or user is None:
            raise Unauthorized(f"no such user or another password: {self.user.id or self.user.name}")
        return Proven(user)


@dataclass(frozen=True)
class TokenProof:
    """A token got before."""

    text: str
    method = "token"

    def prove(self) -> Proven:
        """Raises NotFound for a token that is none, as Keystone does."""
        try:
            token = read(self.text)
        except InvalidToken as error:
            raise NotFound("token", "it is not valid") from error
        return Proven(token.user, token=token, credential=token.application_credential)


@dataclass(frozen=True)
class CredentialProof:
    """An application credential (by its id, or by its name and the user) and the secret."""

    credential: Ref
    user: Ref | None
    secret: str
    method = "application_credential"

    def prove(self) -> Proven:
        """Raises Unauthorized, after the same time whatever was wrong."""
        rows = ApplicationCredential.objects.select_related("user__domain", "project__domain")
        found = rows.prefetch_related("roles", "access_rules").filter(**self._lookup()).first()
        if not verify_secret(found, self.secret) or found is None:
            raise Unauthorized(f"no such credential or another secret: {self.credential.id or self.credential.name}")
        return Proven(found.user, credential=found)

    def _lookup(self) -> dict[str, str]:
        if self.credential.id or self.user is None:
            return {"pk": self.credential.id}
        of_user = {f"user__{key}": value for key, value in self.user.lookup().items()}
        return {"name": self.credential.name, **of_user}


Proof = Password | TokenProof | CredentialProof


class ScopeKind(Enum):
    """What kind of scope a client asks for; ``DEFAULT``: it does not say."""

    DEFAULT = "default"
    UNSCOPED = "unscoped"
    PROJECT = "project"
    DOMAIN = "domain"
    SYSTEM = "system"


@dataclass(frozen=True)
class ScopeWanted:
    """The scope that a client asks for."""

    kind: ScopeKind = ScopeKind.DEFAULT
    project: Ref = Ref()
    domain: DomainRef = DomainRef()


def log_in(proofs: Sequence[Proof], wanted: ScopeWanted) -> tuple[str, Token]:
    """A token for whoever all the proofs show, in the scope wanted.

    Without one: what the credential or the former token is for, else the user's default project, else none.
    Raises Invalid, Unauthorized, NotFound (a token as proof that is none) and NotAllowed.
    """
    if wanted.kind is not ScopeKind.DEFAULT and any(isinstance(proof, CredentialProof) for proof in proofs):
        raise Invalid("Application credentials cannot request a scope.")
    proven = [proof.prove() for proof in proofs]
    user = proven[0].user
    if any(one.user.pk != user.pk for one in proven):
        raise Unauthorized("the proofs are of different users")
    credential = next((one.credential for one in proven if one.credential), None)
    if wanted.kind is not ScopeKind.DEFAULT and credential is not None:
        raise NotAllowed("use a token of an application credential to create a scoped token.")
    facts: dict[str, Any] = {
        "parent": next((one.token for one in proven if one.token), None),
        "application_credential": credential,
    }
    methods = tuple(dict.fromkeys(proof.method for proof in proofs))
    if wanted.kind is ScopeKind.DEFAULT:
        return _issue_default(user, methods, facts)
    try:
        return issue(user, _scope(wanted), methods, **facts)
    except InvalidToken as error:
        raise Unauthorized(f"{user.name}: {error}") from error


def _issue_default(user: User, methods: tuple[str, ...], facts: dict[str, Any]) -> tuple[str, Token]:
    credential, parent = facts["application_credential"], facts["parent"]
    try:
        if credential is not None:
            return issue(user, Scope(project=credential.project), methods, **facts)
        if parent is not None:
            return issue(user, parent.scope, methods, **facts)
    except InvalidToken as error:
        raise Unauthorized(f"{user.name}: {error}") from error
    if user.default_project is not None:
        try:
            return issue(user, Scope(project=user.default_project), methods, **facts)
        except InvalidToken:
            pass  # no role there (any more): Keystone then gives an unscoped token
    return issue(user, Scope(), methods, **facts)


def _scope(wanted: ScopeWanted) -> Scope:
    if wanted.kind is ScopeKind.PROJECT:
        project = Project.objects.select_related("domain").filter(**wanted.project.lookup()).first()
        if project is None:
            raise Unauthorized(f"no such project: {wanted.project.id or wanted.project.name}")
        return Scope(project=project)
    if wanted.kind is ScopeKind.DOMAIN:
        domain = Domain.objects.filter(**wanted.domain.lookup()).first()
        if domain is None:
            raise Unauthorized(f"no such domain: {wanted.domain.id or wanted.domain.name}")
        return Scope(domain=domain)
    return Scope(system=wanted.kind is ScopeKind.SYSTEM)
