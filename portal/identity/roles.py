"""Roles: create, change, delete, which implies which, and who has which where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db import transaction

from portal.identity import signals
from portal.identity.actor import RoleGraph
from portal.identity.errors import Invalid, NotAllowed, NotFound
from portal.identity.models import Assignment, Domain, Project, Role, User
from portal.identity.storing import RESOURCE_OPTIONS, assign, check_mutable, merged_options, remove, store


def create_role(*, name: str, domain_id: str | None = None, **fields: Any) -> Role:
    """A new role. ``fields``: description, options. Raises Invalid, NotFound (domain) and Conflict."""
    if domain_id is not None and not Domain.objects.filter(pk=domain_id).exists():
        raise NotFound("domain", domain_id)
    options = merged_options({}, fields.pop("options", {}), RESOURCE_OPTIONS)
    role = Role(name=name, domain_id=domain_id, options=options, **fields)
    store(role, "role")
    return role


@transaction.atomic
def update_role(role: Role, changes: dict[str, Any]) -> Role:
    """Change a role. Raises Invalid, NotAllowed (immutable) and Conflict (the name is taken)."""
    check_mutable(role, "role", changes)
    changes = dict(changes)
    if changes.pop("domain_id", role.domain_id) != role.domain_id:
        raise Invalid("A role stays in its domain.")
    if "options" in changes:
        changes["options"] = merged_options(role.options, changes["options"], RESOURCE_OPTIONS)
    store(role, "role", assign(role, changes))
    return role


def delete_role(role: Role) -> None:
    """Delete a role; whoever had it has it no longer. Raises NotAllowed (immutable)."""
    check_mutable(role, "role")
    remove(role, "role")


@transaction.atomic
def imply(prior: Role, implied: Role) -> None:
    """Have a role imply another.

    Raises NotAllowed for what would let a domain's role into the global ones, Invalid for a circle.
    """
    if prior.domain_id is None and implied.domain_id is not None:
        raise NotAllowed("have a global role imply a role of a domain.")
    if prior.pk == implied.pk or prior.pk in _reach(implied):
        raise Invalid(f"Role {implied.pk} implies role {prior.pk} already; roles may not imply each other in a circle.")
    prior.implies.add(implied)
    signals.changed.send(Role, kind="role", object_id=prior.pk, project_id="")


def _reach(role: Role) -> set[str]:
    implies = RoleGraph.load().implies
    seen: set[str] = set()
    queue = [role.pk]
    while queue:
        for one in implies.get(queue.pop(), ()):
            if one not in seen:
                seen.add(one)
                queue.append(one)
    return seen


@transaction.atomic
def no_longer_imply(prior: Role, implied: Role) -> None:
    """Undo ``imply``."""
    prior.implies.remove(implied)
    signals.changed.send(Role, kind="role", object_id=prior.pk, project_id="")


@dataclass(frozen=True)
class Target:
    """Where a role holds: on a project, on a domain, or (neither) on the system."""

    project: Project | None = None
    domain: Domain | None = None

    @property
    def fields(self) -> dict[str, Any]:
        """As an assignment stores it."""
        return {"project": self.project, "domain": self.domain, "system": not (self.project or self.domain)}

    @property
    def domain_id(self) -> str | None:
        """The domain that it is in; None for the system."""
        if self.project is not None:
            return self.project.domain_id
        return self.domain.pk if self.domain else None


@transaction.atomic
def grant(user: User, role: Role, target: Target) -> None:
    """Give a user a role; nothing changes when the user has it. Raises NotAllowed for another domain's role."""
    if role.domain_id is not None and role.domain_id != target.domain_id:
        raise NotAllowed("give a role of a domain outside of that domain.")
    if Assignment.objects.get_or_create(user=user, role=role, **target.fields)[1]:
        _tell(user, target)


@transaction.atomic
def take_away(user: User, role: Role, target: Target) -> None:
    """Take a role from a user; tokens that stand on it end. Raises NotFound when the user has not got it."""
    if not Assignment.objects.filter(user=user, role=role, **target.fields).delete()[0]:
        raise NotFound("role assignment with role", role.pk)
    _tell(user, target)


def _tell(user: User, target: Target) -> None:
    project_id = target.project.pk if target.project else ""
    signals.changed.send(User, kind="user", object_id=user.pk, project_id=project_id)
