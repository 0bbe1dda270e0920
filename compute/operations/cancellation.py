"""Cancelling what is under way: the worker at it undoes it, and the instance is what it was before.

A request and the worker write the same row by conditional updates: whichever is first decides whether it
is too late. What ends an operation without undoing it (a deletion, a reset state) is ``engine.cancel``.
"""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from compute.errors import Conflict, NotFound
from compute.models import OPEN_STATES, Action, Instance, announce
from compute.operations import OPERATIONS
from compute.operations.doorbell import ring_for
from compute.operations.engine import Operation
from portal.identity.actor import Actor
from portal.identity.policy import allows, enforce

RULE = Operation.cancel_policy


def rule(action: Action) -> str:
    """The policy rule for ending an action."""
    operation = OPERATIONS.get(action.operation)
    return operation.cancel_policy if operation else Operation.cancel_policy


def refusal(action: Action, instance: Instance, actor: Actor) -> str:
    """Why the action cannot be cancelled now; empty when it can. Pure and cheap."""
    operation = OPERATIONS.get(action.operation)
    label = operation.label if operation else action.operation
    if action.state not in OPEN_STATES:
        return f"'{label}' has ended already; there is nothing to cancel."
    if operation is None or not operation.cancellable:
        return f"'{label}' cannot be cancelled."
    if instance.locked and not operation.while_locked and not actor.is_admin:
        return f"Instance {instance.pk} is locked"
    if action.cancelled_by:
        return f"'{label}' is being cancelled already."
    if action.past_return:
        return f"It is too late to cancel '{label}': its last step has begun."
    return ""


def may_cancel(action: Action, instance: Instance, actor: Actor) -> bool:
    """Whether to offer it."""
    return allows(actor, rule(action), instance.project_id) and not refusal(action, instance, actor)


def cancel_action(actor: Actor, instance: Instance, request_id: str) -> Action:
    """Ask for the end of the instance's action of this request. Its undo follows; then it is cancelled.

    Raises NotFound for no such action, and Conflict with the reason why it cannot be cancelled.
    """
    with transaction.atomic():
        action = _find(instance, request_id)
        enforce(actor, rule(action), instance.project_id)
        if why := refusal(action, instance, actor):
            raise Conflict(why)
        in_time = Action.objects.filter(
            pk=action.pk, state__in=OPEN_STATES, cancelled_by="", past_return=False, finished_at=None
        )
        if not in_time.update(cancelled_by=actor.user_name[:255], updated_at=timezone.now()):
            action.refresh_from_db()
            raise Conflict(refusal(action, instance, actor))
        action.refresh_from_db()
        ring_for(action)
        announce("server", instance.pk, instance.project_id)
    return action


def _find(instance: Instance, request_id: str) -> Action:
    """The open action of this request, or else its last one. Raises NotFound."""
    rows = Action.objects.filter(instance=instance, request_id=request_id).order_by("-id")
    found = rows.filter(state__in=OPEN_STATES).first() or rows.first()
    if found is None:
        raise NotFound(f"Action {request_id} not found")
    return found
