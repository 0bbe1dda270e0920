"""How many network things a project may have: Neutron's own defaults."""

from __future__ import annotations

from typing import Any

from django.db.models import Count, Model

from compute.errors import QuotaExceeded
from compute.models import Network, Port, SecurityGroup, SecurityGroupRule, Subnet
from compute.networks.errors import OverQuota
from portal.compiled import Given, Rows, given
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


def _number(model: type[Model], owner: str) -> Rows[Any]:
    """How many rows a project has: one row with the number, or none."""
    project = Given("project", Project._meta.pk)
    of_project = model._default_manager.filter(**{owner: project}).order_by()
    return Rows(lambda: of_project.values(owner).annotate(number=Count("pk")).values_list("number"))


_NUMBERS = {resource: _number(*counted) for resource, counted in _COUNTED.items()}
# Whoever makes something for the project waits here for the others, so that counting is safe.
_LOCKED = Rows(lambda: Project.objects.select_for_update(no_key=True).filter(**given(Project, "pk")).values_list("pk"))


def used(resource: str, project_id: str) -> int:
    """How many a project has."""
    if resource not in _NUMBERS:
        return 0
    return next((count for (count,) in _NUMBERS[resource].rows(project=project_id)), 0)


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
    _LOCKED.rows(pk=project_id)
    return used(resource, project_id) + number <= LIMITS[resource]
