"""Writing server groups, and joining one."""

from __future__ import annotations

from uuid import UUID

from django.db import transaction

from compute import quota
from compute.errors import Invalid, NotFound, QuotaExceeded
from compute.models import GroupPolicy, Instance, QuotaUsage, ServerGroup, announce
from portal.identity.actor import Actor
from portal.identity.policy import enforce

RULE = "os_compute_api:os-server-groups:"
# What a scheduler hint names, and what the launch form offers.
HINT = "group"


def create_group(actor: Actor, *, name: str, policy: str, max_server_per_host: int | None = None) -> ServerGroup:
    """A new group of the actor's project. ``max_server_per_host`` is for anti-affinity alone.

    Raises Invalid and QuotaExceeded.
    """
    enforce(actor, RULE + "create", actor.project_id)
    if actor.project_id is None:
        raise Invalid("A server group belongs to a project; the token is not scoped to one.")
    if policy not in GroupPolicy.values:
        raise Invalid(f"Invalid policy {policy}.", about="policy")
    if max_server_per_host is not None and policy != GroupPolicy.ANTI_AFFINITY:
        raise Invalid("Only anti-affinity policy supports rules.", about="max_server_per_host")
    with transaction.atomic():
        _check_quota(actor.project_id)
        made = ServerGroup.objects.create(
            name=name,
            project_id=actor.project_id,
            user_id=actor.user_id,
            policy=policy,
            max_server_per_host=max_server_per_host,
        )
        announce("server_group", made.pk, made.project_id)
    return made


def _check_quota(project_id: str) -> None:
    """Room for one more group; two requests at once count one after the other."""
    QuotaUsage.objects.get_or_create(project_id=project_id)
    QuotaUsage.objects.select_for_update().get(project_id=project_id)
    if 0 <= quota.limits(project_id)["server_groups"] <= quota.groups_used(project_id):
        raise QuotaExceeded("Quota exceeded, too many server groups.")


def delete_group(actor: Actor, group: ServerGroup) -> None:
    """Delete a group; its instances stay, and are in none. Raises NotFound when somebody was faster."""
    enforce(actor, RULE + "delete", group.project_id)
    with transaction.atomic():
        fresh = ServerGroup.objects.select_for_update().filter(pk=group.pk).first()
        if fresh is None:
            raise NotFound(f"Instance group {group.pk} could not be found.")
        for key in Instance.objects.alive().filter(server_group=fresh).values_list("pk", flat=True):
            announce("server", key, fresh.project_id)
        announce("server_group", fresh.pk, fresh.project_id)
        fresh.delete()


def joined(actor: Actor, group_id: object, count: int) -> ServerGroup:
    """The project's group of this id, with room for so many more instances.

    Call it inside the transaction that makes them. Raises Invalid and QuotaExceeded, with Nova's sentences.
    """
    try:
        key = UUID(str(group_id))
    except ValueError:
        key = None
    own = ServerGroup.objects.select_for_update().filter(project_id=actor.project_id)
    group = own.filter(pk=key).first() if key else None
    if group is None:
        raise Invalid(f"Instance group {group_id} could not be found.", about="server_group")
    allowed = quota.limits(group.project_id)["server_group_members"]
    if 0 <= allowed < Instance.objects.alive().filter(server_group=group).count() + count:
        raise QuotaExceeded("Quota exceeded, too many servers in group")
    announce("server_group", group.pk, group.project_id)
    return group
