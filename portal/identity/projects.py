"""Projects and domains: create, change, delete."""

from __future__ import annotations

from collections import Counter
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import ProtectedError

from portal.identity.errors import Conflict, Invalid, NotAllowed, NotFound
from portal.identity.models import Domain, Project, Role, User
from portal.identity.storing import RESOURCE_OPTIONS, assign, check_mutable, merged_options, remove, store

MAX_DEPTH = 5
"""How deep projects may lie within each other, the domain counted (Keystone's max_project_tree_depth)."""


def create_project(*, name: str, domain_id: str, parent_id: str | None = None, **fields: Any) -> Project:
    """A new project. ``fields``: description, enabled, tags, options, extra.

    Raises Invalid, NotFound (domain, parent), NotAllowed and Conflict (the name is taken in the domain).
    """
    domain = Domain.objects.filter(pk=domain_id).first()
    if domain is None:
        raise NotFound("domain", domain_id)
    options = merged_options({}, fields.pop("options", {}), RESOURCE_OPTIONS)
    parent = None if parent_id in (None, domain.pk) else _parent(str(parent_id), domain)
    project = Project(name=name, domain=domain, parent=parent, options=options, **fields)
    store(project, "project", project_id=project.pk)
    return project


def _parent(parent_id: str, domain: Domain) -> Project:
    parent = Project.objects.filter(pk=parent_id).first()
    if parent is None:
        raise NotFound("project", parent_id)
    if parent.domain_id != domain.pk:
        raise Invalid("A project lies in the same domain as its parent.")
    if not parent.enabled:
        raise NotAllowed(f"create a project below the disabled project {parent_id}.")
    depth, above = 2, parent.parent
    while above is not None:
        depth, above = depth + 1, above.parent
    if depth >= MAX_DEPTH:
        raise NotAllowed(f"nest projects more than {MAX_DEPTH - 1} deep.")
    return parent


@transaction.atomic
def update_project(project: Project, changes: dict[str, Any]) -> Project:
    """Change a project; disabled, it ends the tokens that are for it. Raises NotAllowed and Conflict."""
    check_mutable(project, "project", changes)
    changes = dict(changes)
    for name, present in (("domain_id", project.domain_id), ("parent_id", project.parent_id or project.domain_id)):
        if changes.pop(name, present) != present:
            raise NotAllowed(f"change the {name} of a project.")
    if changes.get("enabled") is False and project.children.filter(enabled=True).exists():
        raise NotAllowed(f"disable project {project.pk}, which has enabled projects below it.")
    if "options" in changes:
        changes["options"] = merged_options(project.options, changes["options"], RESOURCE_OPTIONS)
    if "extra" in changes:
        changes["extra"] = {**project.extra, **changes["extra"]}
    store(project, "project", assign(project, changes), project_id=project.pk)
    return project


def delete_project(project: Project) -> None:
    """Delete a project with its roles, quotas and security groups.

    What it still owns besides protects it: servers, images, networks and ports must go first, since
    nobody could reach them afterwards. Raises NotAllowed (immutable, projects below) and Conflict.
    """
    check_mutable(project, "project")
    if project.children.exists():
        raise NotAllowed(f"delete project {project.pk}, which has projects below it.")
    try:
        remove(project, "project", project_id=project.pk)
    except ProtectedError as error:
        owned = Counter(str(type(row)._meta.verbose_name) for row in error.protected_objects)
        words = " and ".join(f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in sorted(owned.items()))
        raise Conflict(f"Project {project.pk} still owns {words}; delete them first.") from error
    except IntegrityError as error:
        raise Conflict(f"Something was made in project {project.pk} just now; look and try again.") from error


def create_domain(*, name: str, id: str | None = None, **fields: Any) -> Domain:
    """A new domain. ``fields``: description, enabled, options. Raises Invalid and Conflict."""
    options = merged_options({}, fields.pop("options", {}), RESOURCE_OPTIONS)
    if id is not None:
        if Domain.objects.filter(pk=id).exists():
            raise Conflict(f"Conflict occurred attempting to store domain - Duplicate ID, {id}.")
        fields["id"] = id
    domain = Domain(name=name, options=options, **fields)
    store(domain, "domain")
    return domain


@transaction.atomic
def update_domain(domain: Domain, changes: dict[str, Any]) -> Domain:
    """Change a domain; disabled, it locks out its users and projects. Raises NotAllowed and Conflict."""
    check_mutable(domain, "domain", changes)
    changes = dict(changes)
    if "options" in changes:
        changes["options"] = merged_options(domain.options, changes["options"], RESOURCE_OPTIONS)
    store(domain, "domain", assign(domain, changes))
    return domain


@transaction.atomic
def delete_domain(domain: Domain) -> None:
    """Delete a disabled domain with its projects, users and roles; all of them or none.

    Raises NotAllowed (enabled, immutable) and Conflict (a project of it still owns something).
    """
    check_mutable(domain, "domain")
    if domain.enabled:
        raise NotAllowed(f"delete domain {domain.pk}, which is enabled. Disable it first.")
    while leaves := list(Project.objects.filter(domain=domain, children=None)):
        for project in leaves:
            delete_project(project)
    for user in User.objects.filter(domain=domain):
        remove(user, "user")
    for role in Role.objects.filter(domain=domain):
        remove(role, "role")
    remove(domain, "domain")
