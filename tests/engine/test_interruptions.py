"""Pause, suspend, crash dumps, passwords, soft deletion: at every call of the driver it fails, or kills its worker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from compute import quota
from compute.errors import Conflict, QuotaExceeded
from compute.hosts.connections import hypervisor_of
from compute.models import Action, Host, Image, Instance
from compute.operations import OPERATIONS
from compute.operations.engine import request
from compute.operations.password import change_password
from compute.operations.soft_delete import reclaim
from portal.identity.actor import SYSTEM
from tests.conftest import Cloud, Persona
from tests.engine.matrix import (
    assert_gone,
    assert_sound,
    boot,
    calls_made,
    do,
    each_fault,
    finish,
    shared_host,
    strike,
)

__all__ = ["shared_host"]
pytestmark = pytest.mark.django_db(transaction=True)
HELD = {"instances": 1, "cores": 1, "memory_mb": 128}
FREE = dict.fromkeys(HELD, 0)


@dataclass(frozen=True)
class Case:
    """An operation, what leads to where it starts, and how to get back there."""

    name: str
    before: tuple[str, ...]
    ends: tuple[str, int]
    back: tuple[str, ...]


CASES = (
    Case("pause", (), ("paused", 3), ("unpause",)),
    Case("unpause", ("pause",), ("active", 1), ("pause",)),
    Case("suspend", (), ("suspended", 4), ("resume",)),
    Case("resume", ("suspend",), ("active", 1), ("suspend",)),
    Case("trigger_crash_dump", (), ("active", 1), ()),
    Case("inject_network_info", (), ("active", 1), ()),
    Case("soft_delete", (), ("soft-delete", 4), ("restore",)),
    Case("restore", ("soft_delete",), ("active", 1), ("soft_delete",)),
)


def ask(name: str) -> Any:
    return lambda instance: request(OPERATIONS[name], instance, SYSTEM)


def look(host: Host, instance: Instance) -> None:
    """Rows, host and counts agree."""
    if instance.vm_state != "soft-delete":
        assert quota.usage(instance.project_id) == HELD
        return assert_sound(host, instance)
    seen = hypervisor_of(host).guest(instance.id)
    assert seen is not None and int(seen.power_state) == instance.power_state == 4
    assert instance.task_state is None and quota.usage(instance.project_id) == FREE
    assert Host.objects.get(pk=host.pk).instances_used == 1


@pytest.mark.parametrize("case", CASES, ids=lambda one: one.name)
def test_no_fault_leaves_it_stuck(cloud: Cloud, shared_host: Host, alice: Persona, case: Case) -> None:
    instance = boot(alice, cloud)
    for name in case.before:
        instance = do(instance, ask(name))
    start = (instance.vm_state, instance.power_state)
    calls = calls_made(shared_host, lambda: do(instance, ask(case.name)))
    assert calls >= 1
    instance = Instance.objects.get()
    assert (instance.vm_state, instance.power_state) == case.ends
    for name in case.back:
        instance = do(instance, ask(name))
    for fault in each_fault(calls):
        instance = strike(shared_host, instance, ask(case.name), fault)
        action = Action.objects.filter(operation=case.name).first()
        assert action is not None
        assert action.state == ("done" if fault[0] == "kill" else "error"), fault
        assert (instance.vm_state, instance.power_state) == (case.ends if fault[0] == "kill" else start), fault
        look(shared_host, instance)
        if fault[0] == "kill":
            for name in case.back:
                instance = do(instance, ask(name))
        assert (instance.vm_state, instance.power_state) == start, fault


def test_force_delete_of_a_soft_deleted_one_outlives_its_worker(
    cloud: Cloud, shared_host: Host, alice: Persona
) -> None:
    (instance, calls) = (do(boot(alice, cloud), ask("soft_delete")), 0)
    calls = calls_made(shared_host, lambda: do(instance, ask("force_delete")))
    assert_gone(shared_host, instance)
    for fault in each_fault(calls, ("kill",)):
        instance = do(boot(alice, cloud), ask("soft_delete"))
        instance = strike(shared_host, instance, ask("force_delete"), fault)
        assert instance.vm_state == "deleted", fault
        assert_gone(shared_host, instance)


def test_a_soft_deleted_one_whose_deletion_fails_stays_what_it_was(
    cloud: Cloud, shared_host: Host, alice: Persona
) -> None:
    instance = do(boot(alice, cloud), ask("soft_delete"))
    instance = strike(shared_host, instance, ask("force_delete"), ("fail", 1, "before"))
    assert (instance.vm_state, quota.usage(instance.project_id)) == ("soft-delete", FREE)
    instance = do(instance, ask("restore"))
    assert (instance.vm_state, quota.usage(instance.project_id)) == ("active", HELD)


def test_a_deletion_is_soft_where_that_is_set_up(cloud: Cloud, shared_host: Host, alice: Persona, settings) -> None:
    settings.RECLAIM_SECONDS = 1000
    instance = do(boot(alice, cloud), ask("delete"))
    assert (instance.vm_state, instance.deleted_at) == ("soft-delete", None)
    instance = do(instance, ask("delete"))  # once more: nothing is given back twice
    assert (instance.vm_state, quota.usage(instance.project_id)) == ("soft-delete", FREE)
    assert reclaim() == 0
    Action.objects.update(created_at="2020-01-01T00:00:00Z")
    settings.RECLAIM_SECONDS = 0
    assert reclaim() == 0
    settings.RECLAIM_SECONDS = 1000
    assert reclaim() == 1
    assert reclaim() == 0
    instance = finish(instance)
    assert instance.vm_state == "deleted"
    assert_gone(shared_host, instance)


def test_what_never_ran_is_deleted_at_once(cloud: Cloud, shared_host: Host, alice: Persona, settings) -> None:
    from compute.operations.create import BootRequest, create

    settings.RECLAIM_SECONDS = 1000
    (instance,) = create(alice.actor, BootRequest(name="x", flavor_id=cloud.nano.id, image_id=str(cloud.image.id)))
    instance = do(instance, ask("delete"))
    assert instance.vm_state == "deleted"


def test_restore_needs_quota(cloud: Cloud, shared_host: Host, alice: Persona) -> None:
    from compute.models import QuotaLimit

    instance = do(boot(alice, cloud), ask("soft_delete"))
    QuotaLimit.objects.create(project_id=cloud.demo.id, resource="instances", limit=0)
    with pytest.raises(QuotaExceeded, match="Quota exceeded for instances: Requested 1, but already used 0 of 0"):
        request(OPERATIONS["restore"], instance, alice.actor)
    assert Instance.objects.get().task_state is None


def test_a_hard_reboot_gets_out_of_a_pause_that_hangs(cloud: Cloud, shared_host: Host, alice: Persona) -> None:
    instance = boot(alice, cloud)
    for name, task in (("pause", "pausing"), ("suspend", "suspending")):
        request(OPERATIONS[name], instance, alice.actor)
        assert Instance.objects.get().task_state == task
        instance = do(instance, ask("reboot_hard"))
        assert (instance.vm_state, instance.task_state) == ("active", None)
        assert Action.objects.get(operation=name).state == "cancelled"
        assert_sound(shared_host, instance)


def test_a_suspended_one_forgets_its_memory_in_a_hard_reboot(cloud: Cloud, shared_host: Host, alice: Persona) -> None:
    instance = do(boot(alice, cloud), ask("suspend"))
    instance = do(instance, ask("reboot_hard"))
    assert instance.vm_state == "active"
    assert_sound(shared_host, instance)


def test_a_password_is_set_and_forgotten(cloud: Cloud, shared_host: Host, alice: Persona) -> None:
    instance = boot(alice, cloud)
    with pytest.raises(Conflict, match="QEMU guest agent is not enabled"):
        change_password(alice.actor, instance, password="hunter2")
    assert Instance.objects.get().task_state is None
    Image.objects.update(properties={"hw_qemu_guest_agent": "yes"})
    change_password(alice.actor, instance, password="hunter2")
    row = Action.objects.get(operation="change_password")
    assert row.secret and "hunter2" not in row.secret and "hunter2" not in str(row.params)
    instance = finish(instance)
    assert hypervisor_of(shared_host).passwords(instance.id) == {"root": "hunter2"}
    assert (instance.vm_state, instance.task_state) == ("active", None)
    assert Action.objects.get(operation="change_password").secret == ""
    Image.objects.update(properties={"hw_qemu_guest_agent": "true", "os_admin_user": "debian", "os_type": "windows"})
    for fault in each_fault(1):
        instance = strike(
            shared_host, instance, lambda one: change_password(alice.actor, one, password="hunter3"), fault
        )
        assert (instance.vm_state, instance.task_state) == ("active", None), fault
        assert not Action.objects.exclude(secret="").exists()
    assert hypervisor_of(shared_host).passwords(instance.id)["debian"] == "hunter3"


def test_a_password_is_forgotten_when_its_action_is_cancelled(cloud: Cloud, shared_host: Host, alice: Persona) -> None:
    instance = boot(alice, cloud)
    Image.objects.update(properties={"hw_qemu_guest_agent": "yes"})
    change_password(alice.actor, instance, password="hunter2")
    request(OPERATIONS["delete"], instance, alice.actor)
    row = Action.objects.get(operation="change_password")
    assert (row.state, row.secret) == ("cancelled", "")


def test_a_crash_dump_leaves_what_comes_after_it_alone(cloud: Cloud, shared_host: Host, alice: Persona) -> None:
    instance = boot(alice, cloud)
    request(OPERATIONS["trigger_crash_dump"], instance, alice.actor)
    assert Instance.objects.get().task_state is None
    request(OPERATIONS["stop"], instance, alice.actor)
    from compute.operations.worker import perform

    perform(Action.objects.get(operation="trigger_crash_dump").pk, "compute")
    assert Instance.objects.get().task_state == "powering-off"
    assert finish(instance).vm_state == "stopped"
    assert b"NMI" in hypervisor_of(shared_host).console_log(instance.id)
