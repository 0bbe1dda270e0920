"""The first things of a cloud: a domain, the roles, an administrator, and the files that let clients in."""

from __future__ import annotations

import itertools
import os
import secrets
import shlex
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from django.conf import settings
from django.contrib.auth.hashers import check_password
from django.db import transaction

from portal.identity.models import Assignment, Domain, Project, Role, User

CLOUD = "nacelle"
# Keystone's default roles; each name implies the next of its row.
CHAIN = ("admin", "manager", "member", "reader")
ROLES = (*CHAIN, "service")
# For any POSIX shell: what is typed is not shown.
ASK_FOR_IT = """\
printf 'Password of %s: ' "$OS_USERNAME" >&2
stty -echo
read -r OS_PASSWORD
stty echo
echo >&2
export OS_PASSWORD
"""


@dataclass(frozen=True)
class Identity:
    """What ``ensure_identity`` found or made. ``password`` is known only where it was given or made just now."""

    domain: Domain
    project: Project
    user: User
    password: str | None = field(repr=False)


@transaction.atomic
def ensure_identity(admin_password: str | None = None) -> Identity:
    """The domain Default, the roles, the project and the user admin; what is there already stays.

    A new administrator gets ``admin_password``, or one made up here. One that exists keeps the password,
    unless another is given: then that is the password from now on, and older tokens end.
    """
    domain, _ = Domain.objects.get_or_create(
        id="default", defaults={"name": "Default", "description": "The default domain"}
    )
    roles = _ensure_roles()
    project, _ = Project.objects.get_or_create(
        domain=domain, name="admin", defaults={"description": "The project of the administrators"}
    )
    user, password = _ensure_admin(domain, project, admin_password)
    Assignment.objects.get_or_create(user=user, role=roles["admin"], project=project)
    Assignment.objects.get_or_create(user=user, role=roles["admin"], system=True)
    return Identity(domain=domain, project=project, user=user, password=password)


def _ensure_roles() -> dict[str, Role]:
    # Immutable, as Keystone's bootstrap makes them: the policy stands on these names.
    fixed = {"options": {"immutable": True}}
    roles = {name: Role.objects.get_or_create(name=name, domain=None, defaults=fixed)[0] for name in ROLES}
    for prior, implied in itertools.pairwise(CHAIN):
        roles[prior].implies.add(roles[implied])
    return roles


def _ensure_admin(domain: Domain, project: Project, password: str | None) -> tuple[User, str | None]:
    user = User.objects.filter(domain=domain, name="admin").first()
    if user is None:
        password = password or secrets.token_urlsafe(18)
        return User.objects.create_user("admin", password, domain=domain, default_project=project), password
    if password is not None and not check_password(password, user.password):
        user.set_password(password)
        user.save(update_fields=["password", "password_changed_at", "token_stamp"])
    return user, password


@dataclass(frozen=True)
class Access:
    """How a client logs in with a password. Every value may be any text: the writers keep it inert.

    Without a password (None) the file asks for it, or leaves that to the client.
    """

    username: str
    password: str | None = field(repr=False)
    project_name: str
    user_domain_name: str = "Default"
    project_domain_name: str = "Default"

    @property
    def auth_url(self) -> str:
        """Where tokens come from."""
        return f"{settings.PUBLIC_URL}/identity/v3"


def clouds_yaml(access: Access) -> str:
    """The text of a ``clouds.yaml`` with the cloud ``nacelle``."""
    cloud: dict[str, Any] = {
        "auth": {
            "auth_url": access.auth_url,
            "username": access.username,
            "password": access.password,
            "project_name": access.project_name,
            "user_domain_name": access.user_domain_name,
            "project_domain_name": access.project_domain_name,
        },
        "region_name": settings.REGION,
        "interface": "public",
        "identity_api_version": 3,
    }
    if access.password is None:
        del cloud["auth"]["password"]
    return yaml.safe_dump({"clouds": {CLOUD: cloud}}, sort_keys=False, allow_unicode=True)


def admin_openrc(access: Access) -> str:
    """The text of a file to source in a shell; no value in it can be run (OSSN-0097)."""
    variables = {
        "OS_AUTH_URL": access.auth_url,
        "OS_USERNAME": access.username,
        "OS_PASSWORD": access.password,
        "OS_PROJECT_NAME": access.project_name,
        "OS_USER_DOMAIN_NAME": access.user_domain_name,
        "OS_PROJECT_DOMAIN_NAME": access.project_domain_name,
        "OS_REGION_NAME": settings.REGION,
        "OS_INTERFACE": "public",
        "OS_IDENTITY_API_VERSION": "3",
    }
    known = {name: value for name, value in variables.items() if value is not None}
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in known.items())
    return exports if access.password is not None else exports + ASK_FOR_IT


def write_private(path: Path, text: str) -> None:
    """Put a file there as a whole or not at all, readable by its owner alone (mode 0600)."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
