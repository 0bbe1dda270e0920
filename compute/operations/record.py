"""What is done at once, without a worker, in the action log: the lock, a state set right, what a guest did itself."""

from __future__ import annotations

from django.utils import timezone

from compute.models import Action, ActionState, Event, Instance
from portal.identity.actor import Actor
from portal.requestid import current_request_id


def record(instance: Instance, actor: Actor, operation: str, *, event: str = "", message: str = "") -> Action:
    """An action that is done. The names are Nova's. Call it in the transaction of the change."""
    now = timezone.now()
    action = Action.objects.create(
        instance=instance,
        operation=operation,
        request_id=current_request_id(),
        user_id=actor.user_id,
        user_name="" if actor.system else actor.user_name,
        project_id=actor.project_id or instance.project_id,
        project_name=actor.project_name,
        state=ActionState.DONE,
        message=message,
        created_at=now,
        finished_at=now,
    )
    if event:
        Event.objects.create(action=action, name=event, started_at=now, finished_at=now, result="Success")
    return action
