"""Setting an instance's state right by hand, when an administrator knows better."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from compute import quota
from compute.errors import Conflict, NotFound
from compute.models import Instance, MigrationType, VmState, announce
from compute.operations import held
from compute.operations.engine import cancel, open_actions
from compute.operations.layout import Layout
from compute.operations.record import record
from portal.identity.actor import Actor
from portal.identity.policy import enforce

RULE = "os_compute_api:os-admin-actions:reset_state"
# What it may be set to, by the word on the wire.
STATES = {"active": VmState.ACTIVE, "error": VmState.ERROR}


def reset_state(actor: Actor, instance: Instance, *, state: VmState) -> None:
    """Set the instance to ``state`` (one of ``STATES``) with no task, and end what is under way.

    A worker at it notices at its next step and stops without writing; nothing is taken back. The
    watcher may correct the state again, if the host says otherwise. Raises NotFound; Conflict during a
    live migration, which ends by itself: to forget it would leave the guest to whichever host has it by then.
    """
    enforce(actor, RULE, instance.project_id)
    assert state in STATES.values(), state
    with transaction.atomic():
        under_way = open_actions(instance)  # before the instance, as in ``engine.request``
        fresh = Instance.objects.select_for_update().alive().filter(pk=instance.pk).first()
        if fresh is None:
            raise NotFound(f"Instance {instance.pk} could not be found.")
        _check_not_crossing(fresh)
        cancel(under_way, "An administrator reset the state.")
        held.close_open(fresh)
        if fresh.vm_state == VmState.SOFT_DELETED:
            quota.take_again(fresh)
        own_disk = Layout.of(fresh).without_rescue().names  # none of the states is one of being rescued
        Instance.objects.filter(pk=fresh.pk).update(
            vm_state=state, task_state=None, volume_names=own_disk, updated_at=timezone.now()
        )
        record(fresh, actor, "resetState", event="api_reset_state", message=f"{fresh.status} → {state.upper()}")
        announce("server", fresh.pk, fresh.project_id)


def _check_not_crossing(instance: Instance) -> None:
    open_one = held.open_migration(instance)
    if open_one is not None and open_one.migration_type == MigrationType.LIVE:
        raise Conflict(
            f"Cannot 'reset_state' instance {instance.pk} while it is live-migrated: either host may have its guest. "
            "Abort the migration, or wait for its end."
        )
