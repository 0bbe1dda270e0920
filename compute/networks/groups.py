"""Security groups: the ``default`` one that every project has, and those that users make."""

from __future__ import annotations

from django.db import IntegrityError, transaction
from django.utils import timezone

from compute.errors import Invalid
from compute.models import SecurityGroup, SecurityGroupRule, announce
from compute.networks import quota
from compute.networks.errors import (
    SecurityGroupCannotRemoveDefault,
    SecurityGroupCannotUpdateDefault,
    SecurityGroupDefaultAlreadyExists,
    SecurityGroupInUse,
    SecurityGroupNotFound,
)
from portal.compiled import Rows, given
from portal.identity.actor import Actor
from portal.identity.models import Project
from portal.identity.policy import enforce

ETHERTYPES = ("IPv4", "IPv6")
_DEFAULT = Rows(lambda: SecurityGroup.objects.filter(**given(SecurityGroup, "project"), name="default"))


def default_group(project_id: str) -> SecurityGroup:
    """The project's group ``default``, made when first asked for, with Neutron's four rules."""
    group = _DEFAULT.first(project=project_id)
    if group is not None:
        return group
    try:
        with transaction.atomic():
            group = SecurityGroup.objects.create(
                project_id=project_id, name="default", description="Default security group"
            )
            for ethertype in ETHERTYPES:
                _let_out(group, ethertype)
                SecurityGroupRule.objects.create(
                    group=group, direction="ingress", ethertype=ethertype, remote_group=group
                )
            announce("security_group", group.pk, project_id)
            return group
    except IntegrityError:
        return SecurityGroup.objects.get(project_id=project_id, name="default")


def _let_out(group: SecurityGroup, ethertype: str) -> None:
    SecurityGroupRule.objects.create(group=group, direction="egress", ethertype=ethertype)


def create_group(*, actor: Actor, name: str, description: str = "", owner: str | None = None) -> SecurityGroup:
    """A new group, which lets everything out and nothing in, as Neutron's.

    Raises SecurityGroupDefaultAlreadyExists, OverQuota, Invalid and Forbidden.
    """
    owner = owner or actor.project_id
    enforce(actor, "network:modify", owner)
    if owner is None or not Project.objects.filter(pk=owner).exists():
        raise Invalid("A security group belongs to a project; the token is not scoped to one.")
    if name == "default":
        raise SecurityGroupDefaultAlreadyExists("Default security group already exists.")
    default_group(owner)
    with transaction.atomic():
        quota.check("security_group", owner)
        group = SecurityGroup.objects.create(project_id=owner, name=name, description=description)
        for ethertype in ETHERTYPES:
            _let_out(group, ethertype)
        announce("security_group", group.pk, owner)
    return group


def update_group(*, actor: Actor, group: SecurityGroup, fields: dict[str, str]) -> None:
    """Change ``name`` and ``description``.

    Raises SecurityGroupCannotUpdateDefault, SecurityGroupDefaultAlreadyExists, SecurityGroupNotFound and Forbidden.
    """
    enforce(actor, "network:modify", group.project_id)
    renamed = fields.get("name", group.name) != group.name
    if renamed and group.name == "default":
        raise SecurityGroupCannotUpdateDefault("Updating default security group not allowed.")
    if renamed and fields["name"] == "default":
        raise SecurityGroupDefaultAlreadyExists("Default security group already exists.")
    with transaction.atomic():
        if not SecurityGroup.objects.filter(pk=group.pk).update(**fields, updated_at=timezone.now()):
            raise SecurityGroupNotFound(f"Security group {group.pk} does not exist")
        announce("security_group", group.pk, group.project_id)


def delete_group(*, actor: Actor, group: SecurityGroup) -> None:
    """Delete a group that no port wears. Rules of other groups that name it go with it.

    Raises SecurityGroupCannotRemoveDefault (but for administrators), SecurityGroupInUse and Forbidden.
    """
    enforce(actor, "network:modify", group.project_id)
    if group.name == "default" and not actor.is_admin:
        raise SecurityGroupCannotRemoveDefault("Insufficient rights for removing default security group.")
    with transaction.atomic():
        if SecurityGroup.objects.select_for_update().filter(pk=group.pk).first() is None:
            raise SecurityGroupNotFound(f"Security group {group.pk} does not exist")
        if group.ports.exists():
            raise SecurityGroupInUse(f"Security Group {group.pk} in use.")
        SecurityGroup.objects.filter(pk=group.pk).delete()
        announce("security_group", group.pk, group.project_id)
