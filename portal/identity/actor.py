"""Who is asking, as a value: made once at the edge, passed inwards to every check."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from django.db import DEFAULT_DB_ALIAS as ALIAS
from django.db.models import Exists, OuterRef, QuerySet, Value

from portal.compiled import Rows, given
from portal.identity.models import Assignment, Project, Role, User


@dataclass(frozen=True)
class Actor:
    """A user with the roles that hold in the scope of the request (implied roles included)."""

    user_id: str
    user_name: str = ""
    user_domain_id: str = "default"
    project_id: str | None = None
    project_name: str = ""
    project_domain_id: str = "default"
    domain_id: str | None = None
    system: bool = False
    roles: frozenset[str] = field(default_factory=frozenset)
    application_credential_id: str | None = None
    unrestricted: bool = True

    @property
    def is_admin(self) -> bool:
        """Whether this is an administrator of the cloud (the role admin, in a project or on the system)."""
        return "admin" in self.roles and self.domain_id is None


SYSTEM = Actor(user_id="", user_name="nacelle", system=True, roles=frozenset({"admin", "manager", "member", "reader"}))


def _roles(held: Any) -> QuerySet[Role, Any]:
    """Each role, as often as it implies one, and whether it is held."""
    return Role.objects.order_by("name").annotate(held=held).values_list("id", "name", "domain_id", "implies", "held")


def _held(scope: str) -> Callable[[], QuerySet[Role, Any]]:
    return lambda: _roles(Exists(Assignment.objects.filter(role=OuterRef("pk"), **given(Assignment, "user", scope))))


_ROLES = Rows(lambda: _roles(Value(False)))
_HELD = {scope: Rows(_held(scope)) for scope in ("project", "domain", "system")}


@dataclass(frozen=True)
class RoleGraph:
    """Every role, and which it implies: ids to ids."""

    roles: dict[str, Role]
    implies: dict[str, list[str]]
    held: frozenset[str] = frozenset()

    @classmethod
    def load(cls) -> RoleGraph:
        """All of it, in one query."""
        return cls._of(_ROLES.rows())

    @classmethod
    def held_by(cls, user: User, **where: Any) -> RoleGraph:
        """The same, and which roles are given to a user ``project=…``, ``domain=…`` or ``system=True``."""
        (scope,) = where
        return cls._of(_HELD[scope].rows(user=user, **where))

    @classmethod
    def _of(cls, rows: list[tuple[Any, ...]]) -> RoleGraph:
        roles: dict[str, Role] = {}
        implies: dict[str, list[str]] = {}
        for role_id, name, domain_id, implied, _ in rows:
            roles.setdefault(role_id, Role.from_db(ALIAS, ["id", "name", "domain_id"], [role_id, name, domain_id]))
            if implied is not None:
                implies.setdefault(role_id, []).append(implied)
        return cls(roles, implies, frozenset(role_id for role_id, *_, held in rows if held))

    def expand(self, role_ids: Iterable[str]) -> list[Role]:
        """The roles of these ids and all that they imply, each once.

        A role of a domain counts only by what it implies, as in Keystone: it never shows in a token.
        """
        seen: set[str] = set()
        queue = [role_id for role_id in role_ids if role_id in self.roles]
        while queue:
            role_id = queue.pop()
            if role_id not in seen:
                seen.add(role_id)
                queue.extend(self.implies.get(role_id, ()))
        return [role for role_id, role in self.roles.items() if role_id in seen and role.domain_id is None]


def effective_roles(user: User, **where: Any) -> list[Role]:
    """What a user's roles there (``RoleGraph.held_by``) amount to, implied ones included; by name. One query."""
    graph = RoleGraph.held_by(user, **where)
    return graph.expand(graph.held)


def actor_on_project(user: User, project: Project) -> Actor | None:
    """The actor that a user is on a project; None without a role there, or where either is disabled."""
    if not (user.is_active and project.enabled and project.domain.enabled):
        return None
    roles = effective_roles(user, project=project)
    if not roles:
        return None
    return Actor(
        user_id=user.id,
        user_name=user.name,
        user_domain_id=user.domain_id,
        project_id=project.id,
        project_name=project.name,
        project_domain_id=project.domain_id,
        roles=frozenset(role.name for role in roles),
    )


def actor_on_system(user: User) -> Actor | None:
    """The actor that a user is on the system as a whole; None without a role there, or when disabled."""
    roles = effective_roles(user, system=True) if user.is_active else []
    if not roles:
        return None
    return Actor(
        user_id=user.id,
        user_name=user.name,
        user_domain_id=user.domain_id,
        system=True,
        roles=frozenset(role.name for role in roles),
    )
