"""What can be said to a live migration that is under way: that it is to end now, one way or the other."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from compute.errors import Conflict, Invalid, NotFound
from compute.models import OPEN_STATES, Action, Instance, Migration, MigrationStatus, MigrationType, TaskState, announce
from compute.operations.cancellation import cancel_action
from compute.operations.live_migration import LiveMigration
from compute.operations.record import record
from portal.identity.actor import Actor
from portal.identity.policy import allows, enforce

FORCE_RULE = "os_compute_api:servers:migrations:force_complete"
WAITING = (MigrationStatus.QUEUED, MigrationStatus.PREPARING)


def abort(actor: Actor, instance: Instance, migration_id: str, *, waiting: bool = True) -> None:
    """End it: the guest stays where it is. ``waiting``: also when nothing has been sent yet.

    Raises Forbidden, NotFound, Invalid for one that cannot be aborted in its status, and Conflict.
    """
    enforce(actor, LiveMigration.cancel_policy, instance.project_id)
    _check_under_way(actor, instance, "abort live migration")
    migration = find(instance, migration_id)
    allowed = (MigrationStatus.RUNNING, *(WAITING if waiting else ()))
    if migration.status not in allowed:
        raise Invalid(_wrong_status(migration, "abort live migration"))
    action = open_action(instance)
    if action is None:
        raise Invalid(_wrong_status(migration, "abort live migration"))
    with transaction.atomic():
        cancel_action(actor, instance, action.request_id)
        record(instance, actor, "live_migration_cancel")


def force_complete(actor: Actor, instance: Instance, migration_id: str) -> None:
    """Bring it to its end: the guest stands still until it has crossed, or crosses before its memory (post-copy).

    Raises Forbidden, NotFound, Invalid for one that is not running, and Conflict.
    """
    enforce(actor, FORCE_RULE, instance.project_id)
    _check_under_way(actor, instance, "force_complete")
    migration = find(instance, migration_id)
    with transaction.atomic():
        running = Migration.objects.filter(pk=migration.pk, status=MigrationStatus.RUNNING)
        if not running.update(forced=True, updated_at=timezone.now()):
            migration.refresh_from_db()
            raise Invalid(_wrong_status(migration, "force complete"))
        record(instance, actor, "live_migration_force_complete")
        announce("server", instance.pk, instance.project_id)


def forcible(action: Action, instance: Instance, actor: Actor) -> Migration | None:
    """The live migration of an open action that this actor could bring to its end now."""
    if action.operation != LiveMigration.name or action.cancelled_by:
        return None
    if not allows(actor, FORCE_RULE, instance.project_id):
        return None
    return Migration.objects.filter(instance=instance, status=MigrationStatus.RUNNING, forced=False).first()


def find(instance: Instance, migration_id: str) -> Migration:
    """The live migration of an instance by its number. Raises NotFound."""
    rows = Migration.objects.filter(instance=instance, migration_type=MigrationType.LIVE)
    found = rows.filter(pk=int(migration_id)).first() if _is_number(migration_id) else None
    if found is None:
        raise NotFound(f"Migration {migration_id} not found for instance {instance.pk}")
    return found


def open_action(instance: Instance) -> Action | None:
    """The live migration that is under way with an instance."""
    return Action.objects.filter(instance=instance, operation=LiveMigration.name, state__in=OPEN_STATES).first()


def _check_under_way(actor: Actor, instance: Instance, verb: str) -> None:
    if instance.locked and not actor.is_admin:
        raise Conflict(f"Instance {instance.pk} is locked")
    if instance.task_state != TaskState.MIGRATING:
        raise Conflict(f"Cannot '{verb}' instance {instance.pk} while it is in task_state {instance.task_state}")


def _wrong_status(migration: Migration, verb: str) -> str:
    return (
        f"Migration {migration.pk} state of instance {migration.instance_id} is {migration.status}. "
        f"Cannot {verb} while the migration is in this state."
    )


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 19
