"""Cancelling what is under way: at every call of the driver, in time or too late, and with a worker killed there."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.db import connections

from compute import quota
from compute.errors import Conflict, NotFound
from compute.hosts.connections import hypervisor_of
from compute.hypervisor.fake import faults
from compute.hypervisor.fake.faults import Fault
from compute.models import OPEN_STATES, Action, Flavor, Host, Image, Instance, Migration
from compute.operations import OPERATIONS
from compute.operations.cancellation import RULE, cancel_action, may_cancel, refusal
from compute.operations.create import BootRequest, create
from compute.operations.engine import request
from portal.identity.policy import Forbidden, rules
from portal.requestid import new_request_id, working_on
from tests.conftest import Cloud, Persona
from tests.engine.matrix import assert_gone, assert_sound, boot, calls_made, do, finish, shared_host
from tests.engine.test_kill import perform_in_another_process

__all__ = ["shared_host"]
pytestmark = pytest.mark.django_db(transaction=True)
BACKUP = {"name": "nightly", "backup_type": "daily", "rotation": 1}


@dataclass(frozen=True)
class Case:
    """An operation that can be cancelled, and how to get back to where it starts once it is done."""

    name: str
    back: tuple[str, ...] = ()
    params: dict[str, Any] = field(default_factory=dict)
    can_be_late: bool = True


CASES = (
    Case("resize", ("revertResize",), {"flavor_id": "large"}),
    Case("rebuild"),
    Case("rescue", ("unrescue",), can_be_late=False),
    Case("create_image"),
    Case("create_backup", params=BACKUP),
    Case("shelve", ("unshelve",)),
)


@pytest.fixture(autouse=True)
def _stays_on_its_host(settings: Any) -> None:
    settings.SHELVED_OFFLOAD_SECONDS = -1


@pytest.fixture
def large(cloud: Cloud) -> Flavor:
    """More of everything."""
    return Flavor.objects.create(
        id="large", name="large", vcpus=2, memory_mb=512, disk_gb=2, ephemeral_gb=2, swap_mb=16
    )


def ask(persona: Persona, name: str, /, **params: Any) -> Callable[[Instance], Action]:
    def act(instance: Instance) -> Action:
        with working_on(new_request_id()):
            return request(OPERATIONS[name], instance, persona.actor, **params)

    return act


def at_call(monkeypatch: pytest.MonkeyPatch, number: int, then: Callable[[], Any]) -> None:
    """Before the call of this number reaches the host, something happens."""
    seen, due = [], faults._due

    def counting(state: Any, name: str) -> Any:
        seen.append(name)
        if len(seen) == number:
            then()
            if threading.current_thread() is not threading.main_thread():
                connections.close_all()  # a thread of the host's calls has none, and gives none back
        return due(state, name)

    monkeypatch.setattr(faults, "_due", counting)


def rows(instance: Instance) -> tuple[Any, ...]:
    now = Instance.objects.get(pk=instance.pk)
    names = ("vm_state", "task_state", "power_state", "flavor", "volume_names", "image_id", "name")
    return tuple(getattr(now, name) for name in names)


@pytest.mark.parametrize("case", CASES, ids=lambda one: one.name)
def test_cancelled_at_any_call(
    cloud: Cloud, shared_host: Host, alice: Persona, large: Flavor, monkeypatch: pytest.MonkeyPatch, case: Case
) -> None:
    instance = boot(alice, cloud)
    calls = calls_made(shared_host, lambda: do(instance, ask(alice, case.name, **case.params)))
    for name in case.back:
        instance = do(instance, ask(alice, name))
    cancelled = late = 0
    for number in range(1, calls + 1):
        before, images = rows(instance), set(Image.objects.values_list("pk", flat=True))
        refusals: list[str] = []
        action = ask(alice, case.name, **case.params)(instance)

        def cancel(request_id: str = action.request_id, refusals: list[str] = refusals) -> None:
            try:
                cancel_action(alice.actor, instance, request_id)
            except Conflict as error:
                refusals.append(str(error))

        with monkeypatch.context() as patch:
            at_call(patch, number, cancel)
            instance = finish(instance)
        action.refresh_from_db()
        if refusals:
            late += 1
            assert refusals == [f"It is too late to cancel '{OPERATIONS[case.name].label}': its last step has begun."]
            assert action.state == "done"
            for name in case.back:
                instance = do(instance, ask(alice, name))
        elif action.state == "cancelled":
            cancelled += 1
            assert (action.message, action.secret) == ("cancelled by alice", "")
            assert rows(instance) == before, number
            assert set(Image.objects.values_list("pk", flat=True)) == images, number
            assert not Migration.objects.filter(status__in=["pre-migrating", "migrating"]).exists()
        assert_sound(shared_host, instance, number)
    assert cancelled >= 1
    assert bool(late) == case.can_be_late
    assert quota.usage(cloud.demo.id) == {"instances": 1, "cores": 1, "memory_mb": 128}


@pytest.mark.parametrize("case", CASES, ids=lambda one: one.name)
def test_cancelled_after_its_worker_died(
    cloud: Cloud, shared_host: Host, alice: Persona, large: Flavor, case: Case
) -> None:
    instance = boot(alice, cloud)
    calls = calls_made(shared_host, lambda: do(instance, ask(alice, case.name, **case.params)))
    for name in case.back:
        instance = do(instance, ask(alice, name))
    driver = hypervisor_of(shared_host)
    for number in range(1, calls + 1):
        before = rows(instance)
        action = ask(alice, case.name, **case.params)(instance)
        driver.inject(Fault("*", call=number, do="kill"))
        for _ in range(3):
            if perform_in_another_process(action):
                break
        driver.heal()
        action.refresh_from_db()
        if refusal(action, instance, alice.actor):
            instance = finish(instance)
            for name in case.back:
                instance = do(instance, ask(alice, name))
            continue
        cancel_action(alice.actor, instance, action.request_id)
        driver.inject(Fault("*", call=1 + number % 3, do="kill", when="after"))
        for _ in range(20):  # until the worker's lease is over, nobody begins
            if perform_in_another_process(action):
                break
        driver.heal()
        instance = finish(instance)
        action.refresh_from_db()
        assert action.state == "cancelled", number
        assert rows(instance)[1:] == before[1:] and rows(instance)[0] == before[0], number
        assert_sound(shared_host, instance, number)


def test_a_build_ends_in_error_and_leaves_nothing_on_the_host(
    cloud: Cloud, shared_host: Host, alice: Persona, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = BootRequest(name="web", flavor_id=cloud.nano.id, image_id=str(cloud.image.id))
    do(boot(alice, cloud), ask(alice, "delete"))  # the image is on the host from here on
    calls = calls_made(shared_host, lambda: finish(create(alice.actor, wanted)[0]))
    do(Instance.objects.alive().get(), ask(alice, "delete"))
    for number in range(1, calls + 1):
        with working_on(new_request_id()):
            (instance,) = create(alice.actor, wanted)
        action = Action.objects.get(instance=instance)
        with monkeypatch.context() as patch:
            at_call(patch, number, lambda key=action.request_id, one=instance: cancel_action(alice.actor, one, key))
            instance = finish(instance)
        assert (instance.vm_state, instance.task_state, instance.host) == ("error", None, None)
        assert instance.faults.get().message == "cancelled by alice"
        assert hypervisor_of(shared_host).guests() == {}
        assert hypervisor_of(shared_host).volumes(prefix=str(instance.id)) == {}
        assert Host.objects.get().instances_used == 0
        do(instance, ask(alice, "delete"))
        assert_gone(shared_host, instance)


def test_an_unshelving_is_offloaded_again(cloud: Cloud, shared_host: Host, alice: Persona, settings: Any) -> None:
    settings.SHELVED_OFFLOAD_SECONDS = 0
    instance = do(boot(alice, cloud), ask(alice, "shelve"))
    assert instance.vm_state == "shelved_offloaded"
    action = ask(alice, "unshelve")(instance)
    cancel_action(alice.actor, instance, action.request_id)
    instance = finish(instance)
    assert (instance.vm_state, instance.host) == ("shelved_offloaded", None)
    assert do(instance, ask(alice, "unshelve")).vm_state == "active"


def test_a_host_that_does_not_answer_is_waited_for(cloud: Cloud, shared_host: Host, alice: Persona) -> None:
    instance = boot(alice, cloud)
    action = ask(alice, "rescue")(instance)
    driver = hypervisor_of(shared_host)
    driver.inject(Fault("start", do="kill"))
    for _ in range(3):
        if perform_in_another_process(action):
            break
    driver.break_down()
    cancel_action(alice.actor, instance, action.request_id)
    for _ in range(20):
        perform_in_another_process(action)
    action.refresh_from_db()
    assert action.state in OPEN_STATES and "no route" in action.message
    driver.heal()
    instance = finish(instance)
    action.refresh_from_db()
    assert (action.state, instance.vm_state, instance.power_state) == ("cancelled", "active", 1)
    assert_sound(shared_host, instance)


def test_of_two_requests_one_is_refused(cloud: Cloud, shared_host: Host, alice: Persona) -> None:
    instance = boot(alice, cloud)
    action = ask(alice, "rebuild")(instance)
    assert may_cancel(action, instance, alice.actor)
    assert cancel_action(alice.actor, instance, action.request_id).cancelled_by == "alice"
    with pytest.raises(Conflict, match="'Rebuild' is being cancelled already"):
        cancel_action(alice.actor, instance, action.request_id)
    finish(instance)
    with pytest.raises(Conflict, match="has ended already"):
        cancel_action(alice.actor, instance, action.request_id)


def test_what_cannot_be_cancelled_says_so(cloud: Cloud, shared_host: Host, alice: Persona, root: Persona) -> None:
    instance = boot(alice, cloud)
    with pytest.raises(NotFound):
        cancel_action(alice.actor, instance, "req-of-nobody")
    action = ask(alice, "pause")(instance)
    with pytest.raises(Conflict, match="'Pause' cannot be cancelled"):
        cancel_action(alice.actor, instance, action.request_id)
    finish(instance)
    instance = do(instance, ask(alice, "unpause"))
    action = ask(alice, "rebuild")(instance)
    Instance.objects.filter(pk=instance.pk).update(locked=True)
    instance.refresh_from_db()
    with pytest.raises(Conflict, match="is locked"):
        cancel_action(alice.actor, instance, action.request_id)
    cancel_action(root.actor, instance, action.request_id)
    assert finish(instance).vm_state == "active"


def test_who_may(cloud: Cloud, shared_host: Host, alice: Persona, bob: Persona, charlie: Persona) -> None:
    instance = boot(alice, cloud)
    action = ask(alice, "rebuild")(instance)
    assert rules()[RULE].role == "member"
    for persona in (bob, charlie):
        assert not may_cancel(action, instance, persona.actor)
        with pytest.raises(Forbidden):
            cancel_action(persona.actor, instance, action.request_id)
    action.refresh_from_db()
    assert action.cancelled_by == ""


def test_a_deletion_wins_over_a_cancellation(cloud: Cloud, shared_host: Host, alice: Persona) -> None:
    instance = boot(alice, cloud)
    action = ask(alice, "create_image")(instance)
    cancel_action(alice.actor, instance, action.request_id)
    do(instance, ask(alice, "delete"))
    assert_gone(shared_host, instance)
    assert Image.objects.count() == 1
