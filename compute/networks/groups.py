"""Security groups: the ``default`` one that every project has."""

from __future__ import annotations

from django.db import IntegrityError, transaction

from compute.models import SecurityGroup, SecurityGroupRule


def default_group(project_id: str) -> SecurityGroup:
    """The project's group ``default``, made when first asked for, with Neutron's four rules."""
    group = SecurityGroup.objects.filter(project_id=project_id, name="default").first()
    if group is not None:
        return group
    try:
        with transaction.atomic():
            group = SecurityGroup.objects.create(
                project_id=project_id, name="default", description="Default security group"
            )
            for ethertype in ("IPv4", "IPv6"):
                SecurityGroupRule.objects.create(group=group, direction="egress", ethertype=ethertype)
                SecurityGroupRule.objects.create(
                    group=group, direction="ingress", ethertype=ethertype, remote_group=group
                )
            return group
    except IntegrityError:
        return SecurityGroup.objects.get(project_id=project_id, name="default")
