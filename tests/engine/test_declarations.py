"""What the operations say of themselves is what ``request`` does, for every state, task, lock and person."""

from __future__ import annotations

import itertools

import pytest

from compute.errors import Conflict
from compute.models import Instance, TaskState, VmState
from compute.operations import OPERATIONS
from compute.operations.create import BootRequest, create
from compute.operations.engine import Operation, offered, request
from portal.identity.policy import Forbidden, rules

VERBS = [operation for operation in OPERATIONS.values() if operation.name != "create"]
TASKS = (None, TaskState.SPAWNING, TaskState.REBOOTING, TaskState.DELETING)


@pytest.fixture
def instance(cloud, alice) -> Instance:
    return create(alice.actor, BootRequest(name="web", flavor_id="42", image_id=str(cloud.image.id)))[0]


@pytest.fixture
def declared_alone(monkeypatch) -> None:
    """What is declared decides: what an operation asks of its parameters besides has tests of its own."""
    for operation in VERBS:
        monkeypatch.setattr(operation, "prepare", classmethod(lambda cls, instance, actor, params: None))


def put(instance: Instance, **states) -> Instance:
    Instance.objects.filter(pk=instance.pk).update(**{"launched_at": instance.created_at, **states})
    instance.actions.all().delete()
    return Instance.objects.get(pk=instance.pk)


def for_members(operation: type[Operation]) -> bool:
    return rules()[operation.policy].role not in ("manager", "admin")


@pytest.mark.parametrize("operation", VERBS, ids=lambda one: one.name)
def test_a_request_is_refused_exactly_when_the_declaration_says_so(operation, instance, alice, root, declared_alone):
    actor = alice.actor if for_members(operation) else root.actor
    states = [state for state in VmState if state != VmState.DELETED]
    for vm_state, task_state, locked in itertools.product(states, TASKS, (False, True)):
        now = put(instance, vm_state=vm_state, task_state=task_state, locked=locked)
        why = operation.refusal(now, actor)
        if not why:
            action = request(operation, now, actor)
            assert action.state == "queued"
            assert Instance.objects.get(pk=now.pk).task_state == operation.during
            continue
        with pytest.raises(Conflict) as caught:
            request(operation, now, actor)
        assert str(caught.value) == why
        assert Instance.objects.get(pk=now.pk).task_state == task_state
        assert not now.actions.exists()


def test_the_sentences_are_novas(instance, alice):
    now = put(instance, vm_state="stopped", task_state=None)
    assert OPERATIONS["stop"].refusal(now) == f"Cannot 'stop' instance {now.id} while it is in vm_state stopped"
    now = put(instance, vm_state="active", task_state="powering-off")
    assert OPERATIONS["stop"].refusal(now) == f"Cannot 'stop' instance {now.id} while it is in task_state powering-off"
    now = put(instance, vm_state="error", task_state=None, launched_at=None)
    assert OPERATIONS["stop"].refusal(now) == "Cannot 'stop' an instance which has never been active"
    now = put(instance, vm_state="active", task_state=None, locked=True)
    assert OPERATIONS["stop"].refusal(now, alice.actor) == f"Instance {now.id} is locked"


@pytest.mark.parametrize("operation", VERBS, ids=lambda one: one.name)
def test_who_may(operation, instance, alice, bob, charlie, root, declared_alone):
    now = put(instance, vm_state=sorted(operation.allowed)[0], task_state=None)
    may, may_not = ((alice, root), (bob, charlie)) if for_members(operation) else ((root,), (alice, bob, charlie))
    for persona in may_not:
        with pytest.raises(Forbidden):
            request(operation, now, persona.actor)
    assert not now.actions.exists()
    for persona in may:
        now = put(now, vm_state=sorted(operation.allowed)[0], task_state=None)
        assert request(operation, now, persona.actor).user_name == persona.user.name


def test_the_menu_offers_what_would_be_accepted(instance, alice, bob, charlie):
    for vm_state in set(VmState) - {VmState.DELETED}:
        now = put(instance, vm_state=vm_state, task_state=None)
        names = {one.name for one in offered(now, alice.actor)}
        assert ("stop" in names, "pause" in names) == (vm_state in ("active", "error"), vm_state == "active")
        assert ("delete" in names, "force_delete" in names) == (vm_state != "soft-delete", vm_state == "soft-delete")
        assert all(OPERATIONS[name].in_menu and not OPERATIONS[name].refusal(now) for name in names)
        assert offered(now, bob.actor) == offered(now, charlie.actor) == []


def test_every_operation_is_listed_once():
    def below(base: type[Operation]) -> set[type[Operation]]:
        return {one for sub in base.__subclasses__() for one in {sub, *below(sub)}}

    listed = list(OPERATIONS.values())
    assert {one for one in below(Operation) if "name" in vars(one)} == set(listed)
    assert len(set(listed)) == len(listed)
    assert all(name == operation.name for name, operation in OPERATIONS.items())
