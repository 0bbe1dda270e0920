"""Who is asking, as a value: made once at the edge, passed inwards to every check."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from django.db.models import Exists, OuterRef, Q

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


@dataclass(frozen=True)
class RoleGraph:
    """Every role, and which it implies: ids to ids."""

    roles: dict[str, Role]
    implies: dict[str, list[str]]
    held: frozenset[str] = frozenset()

    @classmethod
    def load(cls, held: Q | None = None) -> RoleGraph:
        """All of it, in one query. ``held``: conditions on assignments; those roles are then ``held``."""
        rows = Role.objects.order_by("name")
        if held is not None:
            rows = rows.annotate(held=Exists(Assignment.objects.filter(held, role=OuterRef("pk"))))
        marked = rows.values_list("id", "name", "domain_id", "implies", "held" if held is not None else "id")
        roles: dict[str, Role] = {}
        implies: dict[str, list[str]] = {}
        ids = set()
        for role_id, name, domain_id, implied, mark in marked:
            roles.setdefault(role_id, Role.from_db(rows.db, ["id", "name", "domain_id"], [role_id, name, domain_id]))
            if implied is not None:
                implies.setdefault(role_id, []).append(implied)
            if held is not None and mark:
                ids.add(role_id)
        return cls(roles, implies, frozenset(ids))

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


def effective_roles(held: Q) -> list[Role]:
    """What the roles of these assignments amount to, implied ones included; by name. One query."""
    graph = RoleGraph.load(held)
    return graph.expand(graph.held)


def actor_on_project(user: User, project: Project) -> Actor | None:
    """The actor that a user is on a project; None without a role there, or where either is disabled."""
    if not (user.is_active and project.enabled and project.domain.enabled):
        return None
    roles = effective_roles(Q(user=user, project=project))
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
    roles = effective_roles(Q(user=user, system=True)) if user.is_active else []
    if not roles:
        return None
    return Actor(
        user_id=user.id,
        user_name=user.name,
        user_domain_id=user.domain_id,
        system=True,
        roles=frozenset(role.name for role in roles),
    )
