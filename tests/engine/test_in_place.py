"""In-place snapshots on a fake host: the tree, going back, letting go, and every fault on the way."""

from __future__ import annotations

from typing import Any

import pytest

from compute import errors
from compute.hosts.connections import hypervisor_of
from compute.hypervisor.fake.faults import Fault
from compute.models import Action, Host, Instance, Port, Snapshot, SnapshotState
from compute.operations import OPERATIONS
from compute.operations.cancellation import cancel_action
from compute.operations.engine import request
from compute.operations.reset_state import reset_state
from compute.operations.worker import perform
from portal.identity.policy import Forbidden
from tests.engine.matrix import assert_gone, assert_sound, boot, calls_made, do, each_fault, finish, shared_host, strike

__all__ = ["shared_host"]
pytestmark = pytest.mark.django_db(transaction=True)


def act_of(persona: Any, verb: str, /, **params: Any) -> Any:
    return lambda instance: request(OPERATIONS[verb], instance, persona.actor, **params)


def take(persona: Any, instance: Instance, name: str, /, **params: Any) -> Snapshot:
    """A snapshot of this name, made."""
    do(instance, act_of(persona, "create_snapshot", name=name, **params))
    return Snapshot.objects.get(instance=instance, name=name)


def now(instance: Instance) -> Instance:
    return Instance.objects.get(pk=instance.pk)


def tree(instance: Instance) -> dict[str, str | None]:
    """Each snapshot's name, and its parent's."""
    rows = Snapshot.objects.filter(instance=instance).select_related("parent")
    return {one.name: one.parent.name if one.parent else None for one in rows}


def current(instance: Instance) -> str | None:
    return Snapshot.objects.filter(instance=instance, current=True).values_list("name", flat=True).first()


def write(host: Host, instance: Instance, text: bytes) -> None:
    """The guest writes to its disk."""
    hypervisor_of(host)._state.write(instance.root_volume, text)


def read(host: Host, instance: Instance) -> bytes:
    return hypervisor_of(host)._state.read(instance.root_volume) or b""


def assert_agrees(host: Host, instance: Instance, about: object = "") -> None:
    """The host holds what the rows say, no more; but for what a row says is unsure."""
    rows = {str(one.pk): one.state for one in Snapshot.objects.filter(instance=instance)}
    held = hypervisor_of(host).snapshots(instance.id)
    assert {pk for pk, state in rows.items() if state == SnapshotState.AVAILABLE} <= held <= set(rows), about
    assert not set(rows.values()) & {SnapshotState.CREATING, SnapshotState.DELETING}, about


@pytest.mark.parametrize("state", ["active", "paused", "stopped", "suspended"])
def test_the_instance_goes_on_as_it_was(cloud, shared_host, alice, state):
    instance = boot(alice, cloud)
    if state != "active":
        verb = {"paused": "pause", "stopped": "stop", "suspended": "suspend"}[state]
        instance = do(instance, act_of(alice, verb))
    action = request(OPERATIONS["create_snapshot"], instance, alice.actor, name=" before ", description="why")
    made = Snapshot.objects.get()
    assert (now(instance).task_state, made.state, made.size_bytes) == ("snapshot_creating", "creating", None)
    instance = finish(instance)
    made.refresh_from_db()
    assert (instance.vm_state, instance.task_state) == (state, None)
    assert (made.state, made.current, made.name, made.description) == ("available", True, "before", "why")
    assert (made.memory, made.vm_state, made.user_name, made.size_bytes) == (False, state, "alice", 0)
    assert action.params["snapshot"] == str(made.pk)
    assert_agrees(shared_host, instance)
    if state in ("active", "stopped"):
        assert_sound(shared_host, instance)


def test_going_back_and_forth_makes_a_tree(cloud, shared_host, alice):
    instance = boot(alice, cloud)
    for name in ("one", "two"):
        write(shared_host, instance, name.encode())
        take(alice, instance, name)
    write(shared_host, instance, b"lost")
    one, two = (Snapshot.objects.get(name=name) for name in ("one", "two"))
    instance = do(instance, act_of(alice, "revert_snapshot", snapshot=str(one.pk)))
    assert (instance.vm_state, instance.power_state, current(instance)) == ("active", 1, "one")
    assert read(shared_host, instance) == b"one"
    write(shared_host, instance, b"three")
    take(alice, instance, "three")
    take(alice, instance, "four")
    assert tree(instance) == {"one": None, "two": "one", "three": "one", "four": "three"}
    assert_sound(shared_host, instance)
    for gone, left, stands in (
        ("three", {"one": None, "two": "one", "four": "one"}, "four"),
        ("four", {"one": None, "two": "one"}, "one"),
        ("one", {"two": None}, None),
    ):
        snapshot = Snapshot.objects.get(name=gone)
        instance = do(instance, act_of(alice, "delete_snapshot", snapshot=str(snapshot.pk)))
        assert (tree(instance), current(instance), instance.vm_state) == (left, stands, "active")
        assert_agrees(shared_host, instance)
    instance = do(instance, act_of(alice, "revert_snapshot", snapshot=str(two.pk)))
    assert (read(shared_host, instance), current(instance)) == (b"two", "two")


@pytest.mark.parametrize(
    ("taken", "before", "memory", "start", "after"),
    [
        ("active", "active", None, None, ("active", 1)),
        ("active", "stopped", None, None, ("active", 1)),
        ("active", "error", None, None, ("active", 1)),
        ("active", "suspended", None, None, ("active", 1)),
        ("paused", "active", None, None, ("paused", 3)),
        ("paused", "stopped", True, None, ("paused", 3)),
        ("active", "active", False, None, ("active", 1)),
        ("active", "paused", False, None, ("active", 1)),
        ("active", "active", False, False, ("stopped", 4)),
        ("active", "suspended", False, None, ("stopped", 4)),
        ("active", "stopped", False, None, ("stopped", 4)),
        ("active", "stopped", False, True, ("active", 1)),
    ],
)
def test_how_it_is_afterwards(cloud, shared_host, alice, taken, before, memory, start, after):
    instance = boot(alice, cloud)
    if taken == "paused":
        instance = do(instance, act_of(alice, "pause"))
    snapshot = take(alice, instance, "moment", memory=True)
    assert snapshot.memory and snapshot.definition
    if taken == "paused":
        instance = do(instance, act_of(alice, "unpause"))
    if verb := {"stopped": "stop", "paused": "pause", "suspended": "suspend"}.get(before):
        instance = do(instance, act_of(alice, verb))
    if before == "error":
        Instance.objects.filter(pk=instance.pk).update(vm_state="error")
    since = hypervisor_of(shared_host)._changing
    chosen = {"memory": memory, "start": start}
    instance = do(now(instance), act_of(alice, "revert_snapshot", snapshot=str(snapshot.pk), **chosen))
    assert (instance.vm_state, instance.power_state) == after
    with since(instance.id) as (guest, _):
        assert (guest["power"], guest["saved"]) == (after[1], False)
    assert_agrees(shared_host, instance)


def test_memory_goes_on_where_it_was(cloud, shared_host, alice):
    instance = boot(alice, cloud)
    with hypervisor_of(shared_host)._changing(instance.id) as (guest, _):
        guest["log"] += "written before\r\n"
    snapshot = take(alice, instance, "moment", memory=True)
    instance = do(instance, act_of(alice, "reboot_hard"))
    assert b"written before" not in hypervisor_of(shared_host).console_log(instance.id)
    do(instance, act_of(alice, "revert_snapshot", snapshot=str(snapshot.pk)))
    assert b"written before" in hypervisor_of(shared_host).console_log(instance.id)


@pytest.mark.parametrize("verb", ["create_snapshot", "revert_snapshot", "delete_snapshot"])
@pytest.mark.parametrize("memory", [False, True])
def test_at_every_call_it_fails_or_its_worker_is_killed(cloud, shared_host, alice, verb, memory):
    instance = boot(alice, cloud)
    base = take(alice, instance, "base", memory=memory)
    count = 0

    def act(one: Instance) -> None:
        nonlocal count
        count += 1
        made: dict[str, Any] = {"name": f"try {count}", "memory": memory}
        named: dict[str, Any] = {"start": True} if verb == "revert_snapshot" else {}
        params = made if verb == "create_snapshot" else {"snapshot": target(), **named}
        request(OPERATIONS[verb], one, alice.actor, **params)

    def target() -> str:
        if verb == "revert_snapshot":
            return str(base.pk)
        unused = Snapshot.objects.filter(instance=instance).exclude(pk=base.pk).first()
        return str((unused or take(alice, now(instance), f"spare {count}")).pk)

    if verb == "delete_snapshot":
        take(alice, instance, "spare")
    calls = calls_made(shared_host, lambda: do(instance, act))
    assert calls >= 1
    for fault in each_fault(calls):
        if verb == "delete_snapshot" and Snapshot.objects.filter(instance=instance).count() == 1:
            take(alice, now(instance), f"before {count}")
        instance = strike(shared_host, now(instance), act, fault)
        action = Action.objects.filter(operation=verb).order_by("id").last()
        assert action.state == "done" or fault[0] == "fail", fault
        assert_agrees(shared_host, instance, fault)
        assert_sound(shared_host, instance, fault)
        if action.state == "done":
            assert instance.vm_state == "active", fault
        elif verb == "revert_snapshot":
            assert instance.vm_state in ("active", "stopped"), fault
            instance = do(instance, act)
            assert instance.vm_state == "active", fault
        for unsure in Snapshot.objects.filter(instance=instance).exclude(pk=base.pk):
            do(now(instance), act_of(alice, "delete_snapshot", snapshot=str(unsure.pk)))
        assert hypervisor_of(shared_host).snapshots(instance.id) == {str(base.pk)}, fault


def test_what_failed_leaves_no_row_and_what_stays_on_the_host_has_one(cloud, shared_host, alice):
    instance = boot(alice, cloud)
    hypervisor_of(shared_host).inject(Fault("create_snapshot", error="NoSpace"))
    do(instance, act_of(alice, "create_snapshot", name="one"))
    assert not Snapshot.objects.exists()
    assert "create_snapshot was told to fail" in Action.objects.get(operation="create_snapshot").message
    hypervisor_of(shared_host).inject(Fault("create_snapshot", when="after"))
    hypervisor_of(shared_host).inject(Fault("delete_snapshot"))
    instance = do(instance, act_of(alice, "create_snapshot", name="one"))
    left = Snapshot.objects.get()
    assert (left.state, left.current) == ("error", False)
    hypervisor_of(shared_host).heal()
    with pytest.raises(errors.Conflict, match="cannot be used: it is error"):
        request(OPERATIONS["revert_snapshot"], instance, alice.actor, snapshot=str(left.pk))
    do(instance, act_of(alice, "delete_snapshot", snapshot=str(left.pk)))
    assert not Snapshot.objects.exists()
    assert hypervisor_of(shared_host).snapshots(instance.id) == set()


def test_a_revert_that_fails_leaves_it_off_and_can_be_repeated(cloud, shared_host, alice):
    instance = boot(alice, cloud)
    snapshot = take(alice, instance, "one")
    hypervisor_of(shared_host).inject(Fault("revert_snapshot"))
    instance = do(instance, act_of(alice, "revert_snapshot", snapshot=str(snapshot.pk)))
    assert (instance.vm_state, instance.power_state, current(instance)) == ("stopped", 4, None)
    assert instance.faults.get().message == "revert_snapshot was told to fail"
    assert_sound(shared_host, instance)
    hypervisor_of(shared_host).heal()
    instance = do(instance, act_of(alice, "revert_snapshot", snapshot=str(snapshot.pk), start=True))
    assert (instance.vm_state, current(instance)) == ("active", "one")


def test_a_revert_that_is_cut_off_knows_no_place_any_more(cloud, shared_host, alice, root, monkeypatch):
    instance = boot(alice, cloud)
    one = take(alice, instance, "one")
    take(alice, instance, "two")
    driver = type(hypervisor_of(shared_host))
    real = driver.revert_snapshot

    def cut_off(self: Any, *args: Any) -> None:
        real(self, *args)
        reset_state(root.actor, now(instance), state="active")

    monkeypatch.setattr(driver, "revert_snapshot", cut_off)
    action = request(OPERATIONS["revert_snapshot"], instance, alice.actor, snapshot=str(one.pk))
    assert current(instance) == "two"
    perform(action.pk, "compute")
    action.refresh_from_db()
    assert (action.state, current(instance)) == ("cancelled", None)
    assert tree(instance) == {"one": None, "two": "one"}


def test_deleting_what_is_being_made_cancels_it(cloud, shared_host, alice):
    instance = boot(alice, cloud)
    other = take(alice, instance, "other")
    making = request(OPERATIONS["create_snapshot"], instance, alice.actor, name="one", memory=True)
    with pytest.raises(errors.Conflict, match="another snapshot is being made"):
        request(OPERATIONS["delete_snapshot"], instance, alice.actor, snapshot=str(other.pk))
    making.refresh_from_db()
    assert (making.state, now(instance).task_state) == ("queued", "snapshot_creating")
    request(OPERATIONS["delete_snapshot"], instance, alice.actor, snapshot=making.params["snapshot"])
    making.refresh_from_db()
    assert (making.state, making.message) == ("cancelled", "Delete snapshot came in between")
    instance = finish(instance)
    assert (instance.vm_state, tree(instance)) == ("active", {"other": None})
    assert_agrees(shared_host, instance)


def test_a_worker_that_was_at_it_leaves_nothing_when_it_is_cancelled(cloud, shared_host, alice, monkeypatch):
    instance = boot(alice, cloud)
    making = request(OPERATIONS["create_snapshot"], instance, alice.actor, name="one")
    driver = type(hypervisor_of(shared_host))
    real = driver.create_snapshot

    def cancelled_meanwhile(self: Any, *args: Any) -> str:
        described = real(self, *args)
        request(OPERATIONS["delete_snapshot"], instance, alice.actor, snapshot=making.params["snapshot"])
        return described

    monkeypatch.setattr(driver, "create_snapshot", cancelled_meanwhile)
    perform(making.pk, "compute")
    making.refresh_from_db()
    assert making.state == "cancelled"
    instance = finish(instance)
    assert not Snapshot.objects.exists()
    assert hypervisor_of(shared_host).snapshots(instance.id) == set()
    assert_sound(shared_host, instance)


@pytest.mark.parametrize("begun", [False, True])
def test_a_cancelled_one_leaves_nothing(cloud, shared_host, alice, monkeypatch, begun):
    instance = boot(alice, cloud)
    making = request(OPERATIONS["create_snapshot"], instance, alice.actor, name="one", memory=True)
    driver = type(hypervisor_of(shared_host))
    real = driver.create_snapshot

    def cancelled_meanwhile(self: Any, *args: Any) -> str:
        described = real(self, *args)
        cancel_action(alice.actor, instance, making.request_id)
        return described

    if begun:
        monkeypatch.setattr(driver, "create_snapshot", cancelled_meanwhile)
    else:
        cancel_action(alice.actor, instance, making.request_id)
    perform(making.pk, "compute")
    instance = finish(instance)
    making.refresh_from_db()
    assert (making.state, making.message, instance.vm_state) == ("cancelled", "cancelled by alice", "active")
    assert not Snapshot.objects.exists()
    assert hypervisor_of(shared_host).snapshots(instance.id) == set()
    assert_sound(shared_host, instance)


def test_what_a_deletion_or_an_administrator_cuts_off(cloud, shared_host, alice, root):
    instance = boot(alice, cloud)
    request(OPERATIONS["create_snapshot"], instance, alice.actor, name="one")
    reset_state(root.actor, now(instance), state="active")
    assert Snapshot.objects.get().state == "error"
    request(OPERATIONS["revert_snapshot"], now(instance), alice.actor, snapshot=str(take(alice, instance, "two").pk))
    reset_state(root.actor, now(instance), state="active")
    assert Snapshot.objects.get(name="two").state == "available"
    request(OPERATIONS["create_snapshot"], now(instance), alice.actor, name="three")
    do(instance, act_of(alice, "delete"))
    assert not Snapshot.objects.exists()
    assert_gone(shared_host, instance)


@pytest.mark.parametrize("verb", ["rebuild", "resize", "shelve"])
def test_what_would_lose_them_is_refused(cloud, shared_host, alice, verb):
    instance = boot(alice, cloud)
    snapshot = take(alice, instance, "one")
    params = {"flavor_id": "1"} if verb == "resize" else {}
    with pytest.raises(errors.Conflict, match=r"while it has in-place snapshots \(1\)"):
        request(OPERATIONS[verb], instance, alice.actor, **params)
    assert (now(instance).vm_state, now(instance).task_state) == ("active", None)
    do(instance, act_of(alice, "delete_snapshot", snapshot=str(snapshot.pk)))
    request(OPERATIONS[verb], now(instance), alice.actor, **params)


def test_rescue_and_soft_deletion_keep_them(cloud, shared_host, alice, settings):
    settings.RECLAIM_SECONDS = 3600
    instance = boot(alice, cloud)
    write(shared_host, instance, b"then")
    snapshot = take(alice, instance, "one")
    write(shared_host, instance, b"now")
    instance = do(instance, act_of(alice, "rescue"))
    for verb in ("create_snapshot", "revert_snapshot", "delete_snapshot"):
        with pytest.raises(errors.Conflict, match="vm_state rescued"):
            request(OPERATIONS[verb], instance, alice.actor, snapshot=str(snapshot.pk), name="two")
    instance = do(do(instance, act_of(alice, "unrescue")), act_of(alice, "delete"))
    assert instance.vm_state == "soft-delete"
    instance = do(instance, act_of(alice, "restore"))
    do(instance, act_of(alice, "revert_snapshot", snapshot=str(snapshot.pk)))
    assert read(shared_host, instance) == b"then"


def test_what_is_refused(cloud, shared_host, alice, bob, charlie, settings):
    settings.SNAPSHOTS_PER_INSTANCE = 2
    instance = boot(alice, cloud)
    other = boot(alice, cloud, name="other")
    snapshot = take(alice, instance, "one")
    plain = {"snapshot": str(snapshot.pk)}
    for name in ("", "  ", "x" * 256):
        with pytest.raises(errors.Invalid, match="needs a name"):
            request(OPERATIONS["create_snapshot"], instance, alice.actor, name=name)
    with pytest.raises(errors.Conflict, match="named 'one' already"):
        request(OPERATIONS["create_snapshot"], instance, alice.actor, name="one")
    with pytest.raises(errors.Conflict, match="taken without memory"):
        request(OPERATIONS["revert_snapshot"], instance, alice.actor, memory=True, **plain)
    for verb in ("revert_snapshot", "delete_snapshot"):
        with pytest.raises(errors.NotFound):
            request(OPERATIONS[verb], other, alice.actor, **plain)
        for persona in (bob, charlie):
            with pytest.raises(Forbidden):
                request(OPERATIONS[verb], instance, persona.actor, **plain)
    take(alice, instance, "two")
    with pytest.raises(errors.QuotaExceeded, match="2 of the 2"):
        request(OPERATIONS["create_snapshot"], instance, alice.actor, name="three")
    instance = do(instance, act_of(alice, "stop"))
    with pytest.raises(errors.Conflict, match="no memory to keep"):
        request(OPERATIONS["create_snapshot"], instance, alice.actor, name="three", memory=True)
    assert sorted(Snapshot.objects.values_list("name", flat=True)) == ["one", "two"]


def test_memory_that_does_not_fit_any_more_is_refused_and_the_disks_are_not(cloud, shared_host, alice):
    instance = boot(alice, cloud)
    snapshot = take(alice, instance, "one", memory=True)
    Port.objects.filter(instance=instance).update(mac="fa:16:3e:00:00:01")
    Instance.objects.filter(pk=instance.pk).update(vcpus=2)
    with pytest.raises(errors.Conflict, match="other vCPUs and network cards than when"):
        request(OPERATIONS["revert_snapshot"], instance, alice.actor, snapshot=str(snapshot.pk))
    action = request(
        OPERATIONS["revert_snapshot"], instance, alice.actor, snapshot=str(snapshot.pk), memory=False, start=False
    )
    assert action.params == {"snapshot": str(snapshot.pk), "memory": False, "start": False}


def test_it_waits_for_its_host(cloud, shared_host, alice):
    instance = boot(alice, cloud)
    action = request(OPERATIONS["create_snapshot"], instance, alice.actor, name="one")
    hypervisor_of(shared_host).break_down()
    perform(action.pk, "compute")
    assert Snapshot.objects.get().state == "creating"
    hypervisor_of(shared_host).heal()
    finish(instance)
    assert Snapshot.objects.get().state == "available"
