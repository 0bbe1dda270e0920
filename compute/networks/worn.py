"""Which security groups a server's ports wear."""

from __future__ import annotations

from uuid import UUID

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from compute.errors import Conflict, NotFound
from compute.models import Instance, Port, SecurityGroup, announce
from compute.networks.errors import SecurityGroupNotFound
from compute.networks.groups import default_group
from portal.identity.actor import Actor
from portal.identity.policy import enforce


def group_named(project_id: str, name: str) -> SecurityGroup:
    """The project's group of this id or name. Raises SecurityGroupNotFound, and Conflict when several have the name."""
    if name == "default":
        return default_group(project_id)
    by_id = Q(pk=name) if _is_uuid(name) else Q(pk__in=[])
    found = list(SecurityGroup.objects.filter(by_id | Q(name=name), project_id=project_id)[:2])
    if not found:
        raise SecurityGroupNotFound(f"Security group {name} not found.")
    if len(found) > 1:
        raise Conflict(f"Multiple security groups found matching '{name}'. Use an ID to be more specific.")
    return found[0]


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def put_on(actor: Actor, instance: Instance, *, name: str) -> SecurityGroup:
    """Every port of the instance wears the group. A lock does not keep from it, as in Nova.

    Raises SecurityGroupNotFound, Conflict (several of the name), NotFound (no port, or deleted) and Forbidden.
    """
    enforce(actor, "os_compute_api:os-security-groups:add", instance.project_id)
    with transaction.atomic():
        group = group_named(instance.project_id, name)
        for port in _ports(instance):
            port.security_groups.add(group)
            _changed(port)
        announce("server", instance.pk, instance.project_id)
    return group


def take_off(actor: Actor, instance: Instance, *, name: str) -> SecurityGroup:
    """No port of the instance wears the group any more.

    Raises SecurityGroupNotFound (also when none wears it), Conflict, NotFound and Forbidden.
    """
    enforce(actor, "os_compute_api:os-security-groups:remove", instance.project_id)
    with transaction.atomic():
        group = group_named(instance.project_id, name)
        wearing = [port for port in _ports(instance) if port.security_groups.filter(pk=group.pk).exists()]
        if not wearing:
            raise SecurityGroupNotFound(f"Security group {name} not associated with the instance {instance.pk}")
        for port in wearing:
            port.security_groups.remove(group)
            _changed(port)
        announce("server", instance.pk, instance.project_id)
    return group


def _ports(instance: Instance) -> list[Port]:
    """The instance's ports, which nobody else changes before this transaction ends. Raises NotFound."""
    if not Instance.objects.select_for_update().alive().filter(pk=instance.pk).exists():
        raise NotFound(f"Instance {instance.pk} could not be found.")
    ports = list(instance.ports.all())
    if not ports:
        raise NotFound(f"instance_id {instance.pk} could not be found as device id on any ports")
    return ports


def _changed(port: Port) -> None:
    Port.objects.filter(pk=port.pk).update(updated_at=timezone.now())
    announce("port", port.pk, port.project_id)
