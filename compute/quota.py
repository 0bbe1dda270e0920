"""Quota: taken and given back by conditional updates, never by counting first.

``QuotaUsage`` is derived data: the sum over the project's instances that are neither deleted nor soft-deleted.
"""

from __future__ import annotations

from django.db import transaction
from django.db.models import BigIntegerField, F, QuerySet
from django.db.models.functions import Greatest

from compute.errors import Invalid, QuotaExceeded
from compute.models import DEFAULT_LIMITS, Flavor, Instance, QuotaLimit, QuotaUsage, ServerGroup, announce
from compute.models.quota import UNLIMITED
from portal.compiled import Given, Rows, given
from portal.identity.actor import Actor
from portal.identity.policy import enforce

COUNTED = ("instances", "cores", "memory_mb")
# Nova's names of the resources in its answers.
WIRE_NAMES = {"instances": "instances", "cores": "cores", "memory_mb": "ram"}
NO_END = (1 << 63) - 1


def _amounts(words: str) -> dict[str, Given]:
    return {name: Given(f"{words} {name}", BigIntegerField()) for name in COUNTED}


def _with_room() -> QuerySet[QuotaUsage, QuotaUsage]:
    most = {f"{name}__lte": amount for name, amount in _amounts("most").items()}
    return QuotaUsage.objects.filter(**given(QuotaUsage, "project"), **most)


_WITH_ROOM = Rows(_with_room, **{name: F(name) + amount for name, amount in _amounts("more").items()})
_LIMITS = Rows(lambda: QuotaLimit.objects.filter(**given(QuotaLimit, "project")).values_list("resource", "limit"))


def limits(project_id: str) -> dict[str, int]:
    """Every limit of a project; -1 is no limit."""
    return {**DEFAULT_LIMITS, **dict(_LIMITS.rows(project=project_id))}


def usage(project_id: str) -> dict[str, int]:
    """What the project's instances take."""
    row = QuotaUsage.objects.filter(project_id=project_id).first()
    return {name: getattr(row, name, 0) for name in COUNTED}


def groups_used(project_id: str) -> int:
    """How many server groups the project has."""
    return ServerGroup.objects.filter(project_id=project_id).count()


def leaves(project_id: str, flavor: Flavor) -> int | None:
    """How many more instances of a flavor a project's quota leaves; None: it has no limit."""
    allowed, used = limits(project_id), usage(project_id)
    takes = {"instances": 1, "cores": flavor.vcpus, "memory_mb": flavor.memory_mb}
    limited = {name: amount for name, amount in takes.items() if amount and allowed[name] != UNLIMITED}
    return min((max(0, allowed[name] - used[name]) // amount for name, amount in limited.items()), default=None)


def take(project_id: str, *, instances: int, cores: int, memory_mb: int) -> None:
    """Take quota for new instances, or for an instance that grows; all of it or none.

    Call it inside the transaction that makes them. Who wants nothing of a resource may be over its limit.

    Raises QuotaExceeded with Nova's sentence, which clients look for.
    """
    wanted = {"instances": instances, "cores": cores, "memory_mb": memory_mb}
    allowed = limits(project_id)
    limited = {name for name, amount in wanted.items() if amount and allowed[name] != UNLIMITED}
    most = {f"most {name}": allowed[name] - wanted[name] if name in limited else NO_END for name in COUNTED}
    more = {f"more {name}": amount for name, amount in wanted.items()}
    if _WITH_ROOM.update({}, project=project_id, **most, **more):
        return
    QuotaUsage.objects.get_or_create(project_id=project_id)  # the first time there is no row
    if not _WITH_ROOM.update({}, project=project_id, **most, **more):
        raise QuotaExceeded(_sentence(wanted, usage(project_id), allowed))


def _sentence(wanted: dict[str, int], used: dict[str, int], allowed: dict[str, int]) -> str:
    limited = [name for name in COUNTED if wanted[name] and allowed[name] != UNLIMITED]
    short = [name for name in limited if used[name] + wanted[name] > allowed[name]]

    def words(values: dict[str, int]) -> str:
        return ", ".join(str(values[name]) for name in short)

    names = ", ".join(WIRE_NAMES[name] for name in short)
    return (
        f"Quota exceeded for {names}: Requested {words(wanted)}, but already used {words(used)} of {words(allowed)} "
        f"{names}"
    )


def give_back(instance: Instance) -> None:
    """Give back what an instance took. Call it once, in the transaction that deletes the instance."""
    release(instance.project_id, instances=1, cores=instance.vcpus, memory_mb=instance.memory_mb)


def release(project_id: str, *, instances: int = 0, cores: int, memory_mb: int) -> None:
    """Give back so much. Call it once, in the transaction that ends what it was taken for."""
    QuotaUsage.objects.filter(project_id=project_id).update(
        instances=Greatest(F("instances") - instances, 0),
        cores=Greatest(F("cores") - cores, 0),
        memory_mb=Greatest(F("memory_mb") - memory_mb, 0),
    )


def check(instance: Instance) -> None:
    """Raise QuotaExceeded where the project has no room for what this instance takes."""
    wanted = {"instances": 1, "cores": instance.vcpus, "memory_mb": instance.memory_mb}
    allowed, used = limits(instance.project_id), usage(instance.project_id)
    if any(0 <= allowed[name] < used[name] + wanted[name] for name in COUNTED if wanted[name]):
        raise QuotaExceeded(_sentence(wanted, used, allowed))


def take_again(instance: Instance) -> None:
    """What an instance took and gave back counts again, whatever the limits are by now."""
    QuotaUsage.objects.get_or_create(project_id=instance.project_id)
    QuotaUsage.objects.filter(project_id=instance.project_id).update(
        instances=F("instances") + 1,
        cores=F("cores") + instance.vcpus,
        memory_mb=F("memory_mb") + instance.memory_mb,
    )


def set_limits(actor: Actor, project_id: str, *, wanted: dict[str, int], force: bool = False) -> None:
    """Change some of a project's limits. Raises Invalid for less than is used, unless forced, or no such project."""
    enforce(actor, "os_compute_api:os-quota-sets:update")
    used = {**usage(project_id), "server_groups": groups_used(project_id)}
    for resource, limit in wanted.items():
        if not force and 0 <= limit < used.get(resource, 0):
            raise Invalid(
                f"Quota limit {limit} for {WIRE_NAMES.get(resource, resource)} must be greater than or equal to "
                f"already used and reserved {used[resource]}."
            )
    with transaction.atomic():
        for resource, limit in wanted.items():
            QuotaLimit.objects.update_or_create(project_id=project_id, resource=resource, defaults={"limit": limit})
        announce("project", project_id, project_id)


def reset_limits(actor: Actor, project_id: str) -> None:
    """Give a project the default limits again."""
    enforce(actor, "os_compute_api:os-quota-sets:delete")
    with transaction.atomic():
        QuotaLimit.objects.filter(project_id=project_id).delete()
        announce("project", project_id, project_id)
