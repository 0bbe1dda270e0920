"""Users: create, change, delete, and their own way to a new password."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from portal.identity.backend import PASSWORD_MAX_LENGTH, verify_password
from portal.identity.errors import Invalid, NotAllowed, NotFound, Unauthorized
from portal.identity.models import Domain, Project, User, new_stamp
from portal.identity.storing import USER_OPTIONS, assign, merged_options, remove, store


def create_user(*, name: str, domain_id: str, password: str | None = None, **fields: Any) -> User:
    """A new user. ``fields``: email, description, enabled, default_project_id, options, extra.

    Raises Invalid, NotFound (domain, default project) and Conflict (the name is taken in the domain).
    """
    domain = Domain.objects.filter(pk=domain_id).first()
    if domain is None:
        raise NotFound("domain", domain_id)
    options = merged_options({}, fields.pop("options", {}), USER_OPTIONS)
    user = User(name=name, domain=domain, options=options, **_checked(fields))
    user.set_password(_checked_password(password))
    store(user, "user")
    return user


@transaction.atomic
def update_user(user: User, changes: dict[str, Any]) -> User:
    """Change a user. A new password or being disabled ends all tokens of the user.

    Raises Invalid, NotFound (default project), NotAllowed (locked password) and Conflict.
    """
    changes = dict(changes)
    fields: list[str] = []
    if "options" in changes:
        changes["options"] = merged_options(user.options, changes["options"], USER_OPTIONS)
    if "extra" in changes:
        changes["extra"] = {**user.extra, **changes["extra"]}
    if "password" in changes:
        fields += _set_password(user, changes.pop("password"))
    if changes.get("enabled") is False:
        user.token_stamp = new_stamp()
        fields.append("token_stamp")
    fields += assign(user, _checked(changes))
    store(user, "user", fields)
    return user


def change_password(user: User | None, original: str, password: str) -> None:
    """A user's own change of password. Raises Unauthorized for a wrong one, NotAllowed when it is locked."""
    if not verify_password(user, original):
        raise Unauthorized("wrong original password")
    assert user is not None
    update_user(user, {"password": password})


def delete_user(user: User) -> None:
    """Delete a user with all roles, key pairs and application credentials."""
    remove(user, "user")


def _set_password(user: User, password: str | None) -> list[str]:
    if user.options.get("lock_password"):
        raise NotAllowed(f"change the password of user {user.pk}, which is locked.")
    user.set_password(_checked_password(password))
    return ["password", "password_changed_at", "token_stamp"]


def _checked_password(password: str | None) -> str | None:
    if password is not None and len(password) > PASSWORD_MAX_LENGTH:
        raise Invalid(f"A password has at most {PASSWORD_MAX_LENGTH} characters.")
    return password


def _checked(fields: dict[str, Any]) -> dict[str, Any]:
    project_id = fields.get("default_project_id")
    if project_id is not None and not Project.objects.filter(pk=project_id).exists():
        raise NotFound("project", project_id)
    return fields
