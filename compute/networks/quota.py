"""How many network things a project may have: Neutron's own defaults."""

from __future__ import annotations

from django.db.models import Model

from compute.errors import QuotaExceeded
from compute.models import Network, Port, SecurityGroup, SecurityGroupRule, Subnet
from compute.networks.errors import OverQuota
from portal.identity.models import Project

# What is not there yet (routers, floating addresses …) has its limit too: clients ask for all of them.
LIMITS = {
    "network": 100,
    "subnet": 100,
    "subnetpool": -1,
    "port": 500,
    "router": 10,
    "floatingip": 50,
    "security_group": 10,
    "security_group_rule": 100,
    "rbac_policy": 10,
}
_COUNTED: dict[str, tuple[type[Model], str]] = {
    "network": (Network, "project_id"),
    "subnet": (Subnet, "project_id"),
    "port": (Port, "project_id"),
    "security_group": (SecurityGroup, "project_id"),
    "security_group_rule": (SecurityGroupRule, "group__project_id"),
}


def used(resource: str, project_id: str) -> int:
    """How many a project has."""
    if resource not in _COUNTED:
        return 0
    model, owner = _COUNTED[resource]
    return int(model._default_manager.filter(**{owner: project_id}).count())


def check(resource: str, project_id: str) -> None:
    """Raise OverQuota unless the project may have one more. Call it in the transaction that makes it."""
    if not _has_room(resource, project_id, 1):
        raise OverQuota(f"Quota exceeded for resources: ['{resource}'].")


def check_ports_of_servers(project_id: str, number: int) -> None:
    """Raise QuotaExceeded, with Nova's sentence, unless the project may have so many more ports.

    Call it in the transaction that makes them.
    """
    if number and not _has_room("port", project_id, number):
        raise QuotaExceeded("Maximum number of ports exceeded")


def _has_room(resource: str, project_id: str, number: int) -> bool:
    # Whoever makes one for the project waits here for the others, so that counting is safe.
    Project.objects.select_for_update(no_key=True).filter(pk=project_id).first()
    return used(resource, project_id) + number <= LIMITS[resource]
