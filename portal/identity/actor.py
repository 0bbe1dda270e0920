"""Who is asking, as a value: made once at the edge, passed inwards to every check."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

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


def expand(role_ids: set[str]) -> list[Role]:
    """The roles of these ids and all that they imply, each once."""
    roles = {role.id: role for role in Role.objects.prefetch_related("implies")}
    seen: dict[str, Role] = {}
    queue = deque(sorted(role_ids))
    while queue:
        role = roles.get(queue.popleft())
        if role is not None and role.id not in seen:
            seen[role.id] = role
            queue.extend(implied.id for implied in role.implies.all())
    return sorted(seen.values(), key=lambda role: role.name)


def roles_on_project(user: User, project: Project) -> list[Role]:
    """The effective roles of a user on a project."""
    return expand(set(Assignment.objects.filter(user=user, project=project).values_list("role_id", flat=True)))


def actor_on_project(user: User, project: Project) -> Actor | None:
    """The actor that a user is on a project; None without a role there, or where either is disabled."""
    if not (user.is_active and project.enabled and project.domain.enabled):
        return None
    roles = roles_on_project(user, project)
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
    """The actor that a user is on the system; None without a role there, or where disabled."""
    if not user.is_active:
        return None
    roles = expand(set(Assignment.objects.filter(user=user, system=True).values_list("role_id", flat=True)))
    if not roles:
        return None
    return Actor(
        user_id=user.id,
        user_name=user.name,
        user_domain_id=user.domain_id,
        system=True,
        roles=frozenset(role.name for role in roles),
    )
