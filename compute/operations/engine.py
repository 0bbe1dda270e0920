"""What an operation is: facts above, steps below; and ``request``, the one way in.

An operation states its name, its key on the wire, its policy rule, the states that it may start
from, its task state, its lane, its limit and its steps. Menus, the API, the documentation, the
tests and the checks read these facts; nothing is written a second time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from compute.errors import Conflict, NotFound
from compute.models import OPEN_STATES, Action, ActionState, Host, Instance, announce
from compute.models.states import TaskState, VmState
from compute.operations.calls import Calls
from compute.operations.doorbell import ring
from compute.operations.journal import Journal
from compute.operations.sealing import seal, unseal
from portal.compiled import Rows, given, insert
from portal.identity.actor import Actor
from portal.identity.policy import allows, enforce
from portal.requestid import current_request_id

if TYPE_CHECKING:
    from compute.hypervisor.interface import Hypervisor
    from compute.operations.leases import Lease


_ACTION = Rows(lambda: Action.objects.filter(**given(Action, "pk")))
_INSTANCE = Rows(lambda: Instance.objects.filter(**given(Instance, "pk")))

# How often a request looks again when another one came between its looks.
LOOKS = 2


class Overtaken(Conflict):
    """Another request for the instance came in between; what is right now may be another answer."""


class AnotherLane(Exception):
    """A step is too long for this lane; the operation goes on in ``lane``."""

    def __init__(self, lane: str) -> None:
        self.lane = lane
        super().__init__(f"goes on in the lane {lane}")


@dataclass(frozen=True)
class Step:
    """One step. ``run`` looks first whether its work is already done; ``undo`` may run twice, too.

    ``ahead`` does or reads for several operations what is cheaper done at once; what it leaves, ``run`` does for
    each, and what it raises only means that it has left everything.
    """

    name: str
    run: Callable[[Any], None]
    undo: Callable[[Any], None] | None = None
    task_state: TaskState | None = None
    final: bool = False  # from its beginning on the operation cannot be cancelled
    ahead: Callable[[Sequence[Any]], None] | None = None


class Operation:
    """One verb that a user can say to an instance. Subclasses state the facts and have the steps."""

    name: ClassVar[str]
    wire: ClassVar[str | None] = None  # the key in POST /servers/{id}/action
    logged_as: ClassVar[str] = ""  # Nova's name of it in the action log, where that is not the key
    label: ClassVar[str]  # on a button
    policy: ClassVar[str]
    lane: ClassVar[str] = "compute"
    allowed: ClassVar[frozenset[VmState]]
    over: ClassVar[frozenset[TaskState]] = frozenset()  # tasks that it may start over, cancelling them
    launched: ClassVar[bool] = True  # only for an instance that was active once
    during: ClassVar[TaskState | None]  # the task state from the request on; None: it shows none
    leads_to: ClassVar[VmState | None]  # None: the instance stays what it was
    on_failure: ClassVar[VmState | None] = None  # None: the instance stays what it was
    while_locked: ClassVar[bool] = False
    cancellable: ClassVar[bool] = False  # while it is under way; its undo then leaves the instance as it was
    cancel_policy: ClassVar[str] = "nacelle:actions:cancel"
    in_menu: ClassVar[bool] = True
    most_together: ClassVar[int] = 1  # so many a worker takes on at once, in the lane where its steps are quick
    for_adopted: ClassVar[bool] = False  # it leaves the guest's definition and disks as they are
    limit: ClassVar[timedelta] = timedelta(seconds=settings.OPERATION_LIMIT_SECONDS)
    steps: ClassVar[tuple[Step, ...]] = ()

    def __init__(self, action: Action, instance: Instance, lease: Lease, lane: str) -> None:
        self.action = action
        self.instance = instance
        self.lease = lease
        self.lane_now = lane
        self.calls = Calls(lease, self.limit)
        self.journal = Journal(action, instance)

    # facts ----------------------------------------------------------------------------------------
    @classmethod
    def refusal(cls, instance: Instance, actor: Actor | None = None) -> str:
        """Why the operation may not start now; empty when it may. Pure and cheap."""
        if instance.locked and not cls.while_locked and not (actor and actor.is_admin):
            return f"Instance {instance.id} is locked"
        verb = cls.novas_name()
        if instance.is_adopted and not cls.for_adopted:
            return f"Cannot '{verb}' instance {instance.id}: it was adopted, and its disks and definition stay"
        if instance.vm_state not in cls.allowed:
            return f"Cannot '{verb}' instance {instance.id} while it is in vm_state {instance.vm_state}"
        if instance.task_state is not None and instance.task_state not in cls.over:
            return f"Cannot '{verb}' instance {instance.id} while it is in task_state {instance.task_state}"
        if cls.launched and instance.launched_at is None:
            return f"Cannot '{verb}' an instance which has never been active"
        return ""

    @classmethod
    def novas_name(cls) -> str:
        """What Nova calls it, in its action log and in refusals."""
        return cls.logged_as or (cls.wire or cls.name).removeprefix("os-")

    @classmethod
    def label_for(cls, params: dict[str, Any]) -> str:
        """What it is called where these are its parameters."""
        return cls.label

    @classmethod
    def task_states(cls) -> frozenset[TaskState]:
        """Every task state that the instance may show while this runs."""
        shown = (cls.during, *(step.task_state for step in cls.steps))
        return frozenset(state for state in shown if state)

    # what steps use -------------------------------------------------------------------------------
    @property
    def hypervisor(self) -> Hypervisor:
        """The driver of the instance's host. Its calls are made while the lease is ours, and end in time."""
        assert self.instance.host is not None, "no host was chosen yet"
        return self.hypervisor_of(self.instance.host)

    def hypervisor_of(self, host: Host) -> Hypervisor:
        """The driver of another host that has to do with the operation, likewise."""
        return self.calls.to(host)

    def note(self, **progress: Any) -> None:
        """Leave something with the operation, for later steps, for people, and for whoever takes over."""
        self.lease.check()
        self.action.progress.update(progress)
        _ACTION.update({"progress": self.action.progress}, pk=self.action.pk)

    def set_instance(self, **fields: Any) -> None:
        """Change fields of the instance, in the row and in hand."""
        self.lease.check()
        _INSTANCE.update({"updated_at": timezone.now(), **fields}, pk=self.instance.pk)
        for name, value in fields.items():
            setattr(self.instance, name, value)

    def still_wanted(self) -> bool:
        """Whether to go on waiting: nobody has cancelled or preempted the operation."""
        return self.lease.held()

    @property
    def secrets(self) -> dict[str, Any]:
        """What the request sealed. Raises ComputeError when another ``SECRET_KEY`` did."""
        return unseal(self.action.secret) if self.action.secret else {}

    # what subclasses may change -------------------------------------------------------------------
    @classmethod
    def instead(cls, instance: Instance) -> type[Operation]:
        """What a request for this operation asks for on this instance: itself, or what stands in for it."""
        return cls

    @classmethod
    def shown(cls, instance: Instance) -> bool:
        """Whether it is in the menu of this instance, given that it could be started. Pure and cheap."""
        return cls.in_menu

    @classmethod
    def ends(cls, action: Action) -> bool:
        """Whether this open action of the instance is cancelled by the request; each, for what comes over others."""
        return bool(cls.over)

    @classmethod
    def prepare(cls, instance: Instance, actor: Actor, params: dict[str, Any]) -> None:
        """Runs in the transaction of the request, after the checks: more checks, and what is taken with it.

        ``params`` are the action's and may be added to. May raise any ComputeError; then nothing is changed.
        """

    def outcome(self) -> dict[str, Any]:
        """Fields of the instance on success, besides the task state."""
        return {"vm_state": self.leads_to} if self.leads_to else {}

    def failed_as(self) -> VmState | None:
        """The instance's state after a failure; None: as it was."""
        return self.on_failure

    def completed(self) -> None:
        """Runs in the transaction of success: what must change together with the instance's state."""

    @staticmethod
    def completed_together(operations: Sequence[Any]) -> None:
        """The same of several operations of this kind that succeed in one transaction."""
        for operation in operations:
            operation.completed()

    def failed(self) -> None:
        """Runs in the transaction that ends it after its undo, failed or cancelled: what must change with that."""

    @classmethod
    def cancelled(cls, action: Action) -> None:
        """Runs in the transaction that cancels an open action: what the request took and no undo will give back."""

    def outran(self) -> bool:
        """Before a cancellation is carried out: whether it came too late, as what was to be done is done by now."""
        return False

    def try_again(self, error: Exception) -> bool:
        """After a failure and its undo: whether to run the steps once more (on another host, say)."""
        return False


def request(operation: type[Operation], instance: Instance, actor: Actor, **params: Any) -> Action:
    """Ask for an operation on an instance: checks all, then one transaction, then the doorbell.

    What ``params`` hold below ``secrets`` (an object) is sealed, and forgotten when the operation has ended.

    Raises ``policy.Forbidden``, ``Conflict`` (state, lock, or another request came first), ``NotFound``
    (deleted meanwhile) and what the operation's ``prepare`` raises. Nothing is changed unless all of it is.
    """
    enforce(actor, operation.policy, instance.project_id)
    for _ in range(LOOKS):
        with suppress(Overtaken):
            return _request(operation, instance, actor, dict(params))
    return _request(operation, instance, actor, params)


def _request(operation: type[Operation], instance: Instance, actor: Actor, params: dict[str, Any]) -> Action:
    with transaction.atomic():
        # Before the instance, as a worker does that writes to it: else the two could wait for each other,
        # and what may come at any time (a deletion) would be refused while something else ends.
        under_way = open_actions(instance)
        seen = Instance.objects.alive().filter(pk=instance.pk).first()
        if seen is None:
            raise NotFound(f"Instance {instance.pk} could not be found.")
        operation = operation.instead(seen)
        if why := operation.refusal(seen, actor):
            raise Conflict(why)
        as_seen = Instance.objects.filter(
            pk=seen.pk, vm_state=seen.vm_state, task_state=seen.task_state, locked=seen.locked, deleted_at=None
        )
        changed = not as_seen.update(task_state=operation.during, updated_at=timezone.now())
        # The instance is ours now; an action that another request has added since we looked was not seen. To lock that
        # would be to wait, with the instance in hand, for a worker that waits for the instance.
        known = [action.pk for action in under_way]
        added = Action.objects.filter(instance=seen, state__in=OPEN_STATES).exclude(pk__in=known)
        if changed or added.exists():
            raise Overtaken(f"Cannot '{operation.novas_name()}' instance {seen.pk}: another operation came first")
        cancel([one for one in under_way if operation.ends(one)], f"{operation.label} came in between")
        operation.prepare(seen, actor, params)
        action = new_action(operation, seen, actor, params)
        announce("server", seen.pk, seen.project_id)
    return action


def new_action(operation: type[Operation], instance: Instance, actor: Actor, params: dict[str, Any]) -> Action:
    """The row of an operation, and its doorbell. For ``request`` and for creating an instance."""
    params = dict(params)
    secrets = {name: value for name, value in params.pop("secrets", {}).items() if value is not None}
    action = Action(
        instance=instance,
        operation=operation.name,
        request_id=current_request_id(),
        user_id=actor.user_id,
        user_name=actor.user_name,
        project_id=actor.project_id or instance.project_id,
        project_name=actor.project_name,
        params=params,
        secret=seal(secrets) if secrets else "",
    )
    insert(action)
    ring(action.pk, operation.lane, operation.limit)
    return action


def open_actions(instance: Instance) -> list[Action]:
    """An instance's actions that are not ended, which nobody else ends before this transaction does."""
    return list(Action.objects.select_for_update().filter(instance=instance, state__in=OPEN_STATES).order_by("id"))


def cancel(actions: list[Action], why: str) -> None:
    """End these open actions. A worker at one of them notices at its next step."""
    from compute.operations import OPERATIONS

    for action in actions:
        OPERATIONS[action.operation].cancelled(action)
    Action.objects.filter(pk__in=[action.pk for action in actions]).update(
        state=ActionState.CANCELLED, message=why, secret="", finished_at=timezone.now(), updated_at=timezone.now()
    )


def offered(instance: Instance, actor: Actor) -> list[type[Operation]]:
    """The operations that this actor could start on this instance now: the menu."""
    from compute.operations import OPERATIONS

    return [
        operation
        for operation in OPERATIONS.values()
        if operation.in_menu
        and allows(actor, operation.policy, instance.project_id)
        and operation.shown(instance)
        and not operation.instead(instance).refusal(instance, actor)
    ]


def past_limit(action: Action, operation: type[Operation]) -> bool:
    """Whether an action has had more time than its operation allows."""
    return timezone.now() > action.created_at + max(operation.limit, timedelta(seconds=2 * settings.LEASE_SECONDS))
