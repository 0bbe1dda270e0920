"""Writing flavors: no operations, as no host has a part in it. Instances keep copies, so nothing here reaches them."""

from __future__ import annotations

from typing import Any

from django.db import IntegrityError, transaction

from compute.errors import Conflict, Invalid, NotFound
from compute.extra_specs import check_own
from compute.models import Flavor, FlavorAccess, announce
from portal.identity.actor import Actor
from portal.identity.models import Project
from portal.identity.policy import enforce

MANAGE = "os_compute_api:os-flavor-manage:"
EXTRA_SPECS = "os_compute_api:os-flavor-extra-specs:"
ACCESS = "os_compute_api:os-flavor-access:"


def create_flavor(actor: Actor, *, flavor_id: str | None, name: str, **fields: Any) -> Flavor:
    """A new flavor; ``flavor_id`` None makes one up. Memory and swap in MiB, disks in GiB.

    Raises Conflict when the name or the id is in use.
    """
    enforce(actor, MANAGE + "create")
    if Flavor.objects.filter(name=name).exists():
        raise Conflict(f"Flavor with name {name} already exists.")
    if flavor_id is not None:
        if Flavor.objects.filter(pk=flavor_id).exists():
            raise Conflict(f"Flavor with ID {flavor_id} already exists.")
        fields["id"] = flavor_id
    try:
        with transaction.atomic():
            flavor = Flavor(name=name, **fields)
            flavor.save(force_insert=True)
            announce("flavor", flavor.pk)
    except IntegrityError as error:
        raise Conflict(f"Flavor with name {name} already exists.") from error
    return flavor


def set_description(actor: Actor, flavor: Flavor, *, description: str | None) -> None:
    """Change what is said of a flavor, the one thing of it that may change."""
    enforce(actor, MANAGE + "update")
    _write(flavor, description=description)


def delete_flavor(actor: Actor, flavor: Flavor) -> None:
    """Delete a flavor; instances made of it keep their copy."""
    enforce(actor, MANAGE + "delete")
    with transaction.atomic():
        announce("flavor", flavor.pk)
        flavor.delete()


def set_extra_specs(actor: Actor, flavor: Flavor, *, specs: dict[str, str]) -> None:
    """Add extra specs or change them. Raises Invalid for one of Nacelle's own that says what it cannot."""
    enforce(actor, EXTRA_SPECS + "create")
    check_own(specs)
    with transaction.atomic():
        fresh = Flavor.objects.select_for_update().get(pk=flavor.pk)
        _write(flavor, extra_specs={**fresh.extra_specs, **specs})


def delete_extra_spec(actor: Actor, flavor: Flavor, *, key: str) -> None:
    """Take an extra spec off. Raises NotFound."""
    enforce(actor, EXTRA_SPECS + "delete")
    with transaction.atomic():
        fresh = Flavor.objects.select_for_update().get(pk=flavor.pk)
        if key not in fresh.extra_specs:
            raise NotFound(f"Flavor {flavor.pk} has no extra specs with key {key}.")
        _write(flavor, extra_specs={name: value for name, value in fresh.extra_specs.items() if name != key})


def add_access(actor: Actor, flavor: Flavor, *, project_id: str) -> None:
    """Let a project use a private flavor. Raises Conflict when it may already, Invalid for no such project."""
    enforce(actor, ACCESS + "add_tenant_access")
    _check_project(project_id)
    try:
        with transaction.atomic():
            FlavorAccess.objects.create(flavor=flavor, project_id=project_id)
            announce("flavor", flavor.pk, project_id)
    except IntegrityError as error:
        raise Conflict(
            f"Flavor access already exists for flavor {flavor.pk} and project {project_id} combination."
        ) from error


def remove_access(actor: Actor, flavor: Flavor, *, project_id: str) -> None:
    """Take a private flavor away from a project. Raises NotFound when it had it not."""
    enforce(actor, ACCESS + "remove_tenant_access")
    _check_project(project_id)
    with transaction.atomic():
        gone, _ = FlavorAccess.objects.filter(flavor=flavor, project_id=project_id).delete()
        if not gone:
            raise NotFound(f"Flavor access not found for {flavor.pk} / {project_id} combination.")
        announce("flavor", flavor.pk, project_id)


def _check_project(project_id: str) -> None:
    if not Project.objects.filter(pk=project_id).exists():
        raise Invalid(f"Project ID {project_id} is not a valid project.")


def _write(flavor: Flavor, **fields: Any) -> None:
    with transaction.atomic():
        Flavor.objects.filter(pk=flavor.pk).update(**fields)
        announce("flavor", flavor.pk)
    for name, value in fields.items():
        setattr(flavor, name, value)
