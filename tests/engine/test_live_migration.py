"""Live migration on fake hosts: the way of a guest, what is refused, and every fault on either side.

Whatever happens, the guest is on exactly one host, the rows say which, and nothing is left on the other.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from compute import allocations
from compute.errors import Conflict, Invalid
from compute.hosts.connections import hypervisor_of
from compute.hosts.storage import identify
from compute.hypervisor.fake.faults import Fault
from compute.hypervisor.interface import Busy, Whereabouts
from compute.models import OPEN_STATES, Action, Change, Host, HostState, Instance, Migration, Snapshot, VmState
from compute.operations import OPERATIONS, crossing, leftovers, migration_control
from compute.operations.calls import DidNotAnswer
from compute.operations.cancellation import cancel_action
from compute.operations.engine import request
from compute.operations.guest import guest_of
from compute.operations.layout import Layout
from compute.operations.reset_state import reset_state
from compute.operations.worker import perform
from portal.identity.actor import SYSTEM
from portal.identity.policy import Forbidden
from tests.conftest import Cloud, Persona
from tests.engine.matrix import boot, calls_to, finish, perform_in_another_process, shared_host, strike

__all__ = ["shared_host"]
pytestmark = pytest.mark.django_db(transaction=True)

PHASES = ("cross_arrive", "cross_copy", "cross_send", "cross_run", "cross_leave")


@dataclass
class Pair:
    """Two hosts, and an instance on the first."""

    here: Host
    there: Host
    alice: Persona
    cloud: Cloud
    more: list[Host] = field(default_factory=list)

    def host(self, name: str, query: str = "", **fields: Any) -> Host:
        """Another host, in the same file."""
        values = {"vcpus": 8, "memory_mb": 8192, "disk_gb": 100, "state": HostState.UP, **fields}
        return Host.objects.create(name=name, uri=f"{self.here.uri.partition('?')[0]}?host={name}{query}", **values)

    def ready(self) -> Instance:
        """One that runs on the first host."""
        Host.objects.exclude(pk=self.here.pk).update(enabled=False)
        instance = boot(self.alice, self.cloud)
        Host.objects.update(enabled=True)
        assert instance.host == self.here, instance.faults.all()
        return instance

    def ask(self, instance: Instance, **params: Any) -> Action:
        """Ask for it."""
        return request(OPERATIONS["live_migration"], Instance.objects.get(pk=instance.pk), SYSTEM, **params)

    def go(self, instance: Instance, **params: Any) -> Instance:
        """Ask for it, and see it to its end."""
        self.ask(instance, **params)
        return finish(instance)


@pytest.fixture
def pair(cloud: Cloud, alice: Persona, shared_host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pair:
    """Two hosts that processes share. A fake guest that stands still does nothing by itself, and is not waited for."""
    monkeypatch.setattr(crossing, "ARRIVAL_SECONDS", 0.02)
    monkeypatch.setattr(crossing, "LOOK_SECONDS", 0.01)
    pair = Pair(shared_host, shared_host, alice, cloud)
    pair.there = pair.host("host-2")
    return pair


@pytest.fixture
def sharing(pair: Pair) -> Pair:
    """The same, with one storage."""
    for host in (pair.here, pair.there):
        host.uri += "&storage=nfs"
        host.save()
    return pair


def last(instance: Instance) -> tuple[Action, Migration]:
    migration = Migration.objects.filter(instance=instance).first()
    assert migration is not None
    return Action.objects.filter(instance=instance, operation="live_migration").latest("id"), migration


def assert_sound(pair: Pair, instance: Instance, about: object = "", shared: bool = False) -> None:
    """One guest, on the instance's host; its volumes there; nothing elsewhere; claims as they must be."""
    instance = Instance.objects.get(pk=instance.pk)
    assert instance.task_state is None, about
    volumes = set(Layout.of(instance).volumes())
    for host in Host.objects.all():
        driver = hypervisor_of(host)
        mine = host.pk == instance.host_id
        with driver._state.change() as state:
            reserved = {mac for macs in state["networks"].values() for mac in macs}
        assert (instance.id in driver.guests()) == mine, (about, host)
        assert set(driver.volumes(prefix=str(instance.id))) == (volumes if mine or shared else set()), (about, host)
        assert ({port.mac for port in instance.ports.all()} <= reserved) == mine, (about, host)
        now = Host.objects.get(pk=host.pk)
        assert {name: getattr(now, name) for name in allocations.CLAIMED} == allocations.of_hosts([host.pk])[host.pk]
    driver = hypervisor_of(instance.host)
    stands = instance.vm_state == "paused"
    assert driver.whereabouts(instance.id) == (Whereabouts.PAUSED if stands else Whereabouts.RUNNING), about
    assert driver.guests()[instance.id].power_state == (3 if stands else 1), about
    assert driver.disks(instance.id) == [disk.volume for disk in Layout.of(instance).disks()], about
    assert not Migration.objects.filter(status__in=("queued", "preparing", "running")).exists(), about


def test_the_guest_goes_to_the_other_host_and_runs_on(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    instance = pair.ready()
    during(monkeypatch, lambda: None)
    memory = instance.memory_mb << 20
    hypervisor_of(pair.here).set_password(instance.id, "root", "kept in memory")
    hypervisor_of(pair.here)._state.write(instance.config_volume, b"the drive as it was")
    hypervisor_of(pair.here)._state.write(instance.root_volume, b"what the guest wrote")
    Host.objects.filter(pk=pair.there.pk).update(console_address="10.0.0.2")
    instance = pair.go(instance)
    action, migration = last(instance)
    assert (instance.host, instance.vm_state, instance.power_state) == (pair.there, "active", 1)
    assert (action.state, action.message) == ("done", "")
    assert (migration.status, migration.source_host, migration.dest_host) == ("completed", pair.here, pair.there)
    assert migration.stats["memory_total_bytes"] == migration.stats["memory_processed_bytes"] == memory
    assert migration.stats["disk_remaining_bytes"] == 0 < migration.stats["disk_total_bytes"]
    assert (action.progress["percent"], instance.progress) == (99, 100)
    assert_sound(pair, instance)
    there = hypervisor_of(pair.there)
    assert there.passwords(instance.id) == {"root": "kept in memory"}
    assert there._state.read(instance.config_volume).startswith(b"the drive as it was\0")
    assert there._state.read(instance.root_volume) == b"what the guest wrote"
    with there._state.change() as state:
        assert state["guests"][str(instance.id)]["listen"] == "10.0.0.2"
        assert state["volumes"][instance.root_volume]["base_of"] == instance.image.base_volume


def test_pages_are_told_of_percent_and_not_too_often(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that tells how far it is a hundred times a second makes one change of it."""
    from compute.hypervisor.fake import migration as fake

    monkeypatch.setattr(fake, "STEPS", 100)
    monkeypatch.setattr(fake, "STEP_SECONDS", 0.0)
    instance = pair.ready()
    before = Change.objects.filter(object_id=str(instance.pk)).count()
    instance = pair.go(instance)
    told = Change.objects.filter(object_id=str(instance.pk)).count() - before
    steps = last(instance)[0].events.count()
    assert instance.host == pair.there and 0 < told <= steps + 3


def test_with_one_storage_the_disks_stay_where_they_are(sharing: Pair) -> None:
    instance = sharing.ready()
    instance = sharing.go(instance, block_migration=None)
    assert instance.host == sharing.there
    assert last(instance)[1].stats["disk_total_bytes"] == 0
    assert not any(call.startswith(("delete_volume", "create_overlay")) and "probe" not in call
                   for call in hypervisor_of(sharing.there).calls())  # fmt: skip
    assert_sound(sharing, instance, shared=True)


def test_a_paused_guest_stays_paused(pair: Pair) -> None:
    instance = pair.ready()
    request(OPERATIONS["pause"], instance, pair.alice.actor)
    instance = pair.go(finish(instance))
    assert (instance.host, instance.vm_state, instance.power_state) == (pair.there, "paused", 3)
    assert_sound(pair, instance)
    instance = pair.go(instance)  # a guest that arrived paused, and nobody settled, does not survive this
    assert (instance.host, instance.vm_state, instance.power_state) == (pair.here, "paused", 3)
    assert_sound(pair, instance)


def test_a_target_that_does_not_settle_a_paused_guest_keeps_it(pair: Pair) -> None:
    instance = pair.ready()
    request(OPERATIONS["pause"], instance, pair.alice.actor)
    finish(instance)
    hypervisor_of(pair.there).inject(Fault("settle_paused"))
    instance = pair.go(instance)
    assert (instance.host, instance.vm_state, instance.power_state) == (pair.there, "paused", 3)
    assert_sound(pair, instance)


@pytest.mark.parametrize("power", ["paused", "active"])
def test_what_is_left_at_the_target_of_an_earlier_stay_is_not_taken_for_the_guest(sharing: Pair, power: str) -> None:
    instance = sharing.ready()
    if power == "paused":
        request(OPERATIONS["pause"], instance, sharing.alice.actor)
        instance = finish(instance)
    hypervisor_of(sharing.there).define(guest_of(instance, sharing.there))
    instance = sharing.go(instance)
    assert (instance.host, instance.vm_state) == (sharing.there, power)
    assert_sound(sharing, instance, shared=True)


def test_it_can_come_back_and_go_again(pair: Pair) -> None:
    instance = pair.ready()
    for host in (pair.there, pair.here, pair.there):
        instance = pair.go(instance)
        assert instance.host == host
        assert_sound(pair, instance)
    assert Migration.objects.filter(instance=instance, status="completed").count() == 3


# what is refused ------------------------------------------------------------------------------------
def test_who_may_and_where_to(pair: Pair, alice: Persona, root: Persona) -> None:
    instance = pair.ready()
    operation = OPERATIONS["live_migration"]
    with pytest.raises(Forbidden):
        request(operation, instance, alice.actor)
    for host, sentence in (("nowhere", "could not be found"), (pair.here.name, "where the server exists")):
        with pytest.raises(Invalid, match=sentence):
            request(operation, instance, root.actor, host=host)
    Host.objects.filter(pk=pair.here.pk).update(state=HostState.DOWN)
    with pytest.raises(Conflict, match="Service is unavailable"):
        request(operation, Instance.objects.get(), root.actor)
    assert not Migration.objects.exists() and Instance.objects.get().task_state is None


def test_a_manager_may_but_not_choose_the_host(pair: Pair, alice: Persona) -> None:
    from portal.identity.models import Assignment, Role

    Assignment.objects.create(user=alice.user, role=Role.objects.get(name="manager"), project=alice.project)
    instance = pair.ready()
    with pytest.raises(Forbidden):
        request(OPERATIONS["live_migration"], instance, alice.actor, host=pair.there.name)
    request(OPERATIONS["live_migration"], instance, alice.actor)
    assert finish(instance).host == pair.there


@pytest.mark.parametrize(
    ("query", "sentence"), [("&cpu=new", "Its CPU lacks"), ("&version=999999", "Its QEMU .* is older")]
)
def test_a_host_that_cannot_run_it_is_passed_over(pair: Pair, query: str, sentence: str) -> None:
    Host.objects.filter(pk=pair.there.pk).update(memory_mb=32_768)  # the best, as it has the most room
    third = pair.host("host-3")
    Host.objects.filter(pk=pair.there.pk).update(uri=pair.there.uri + query)
    instance = pair.go(pair.ready())
    action, migration = last(instance)
    assert (instance.host, migration.dest_host, migration.status) == (third, third, "completed")
    assert list(action.progress["failures"]) == [pair.there.name]
    assert_sound(pair, instance)
    assert action.events.filter(name="check", result="Error").count() == 1


def test_when_a_host_was_asked_for_no_other_is_tried(pair: Pair) -> None:
    pair.host("host-3")
    Host.objects.filter(pk=pair.there.pk).update(uri=pair.there.uri + "&cpu=new")
    instance = pair.go(pair.ready(), host=pair.there.name)
    action, migration = last(instance)
    assert (instance.host, instance.vm_state) == (pair.here, "active")
    assert (action.state, migration.status) == ("error", "error")
    assert "Its CPU lacks what the guest's has" in action.message
    assert_sound(pair, instance)


def test_no_host_is_left(pair: Pair) -> None:
    Host.objects.filter(pk=pair.there.pk).update(vcpus=0)
    instance = pair.go(pair.ready())
    action, migration = last(instance)
    assert (instance.host, action.state, migration.status, migration.dest_host) == (pair.here, "error", "error", None)
    assert instance.faults.get().message == action.message[:255]
    assert_sound(pair, instance)


@pytest.mark.parametrize(("asked", "shared", "goes"), [(True, True, False), (False, False, False), (True, False, True),
                                                       (False, True, True)])  # fmt: skip
def test_whether_disks_are_copied_can_be_said(
    request: pytest.FixtureRequest, asked: bool, shared: bool, goes: bool
) -> None:
    pair = request.getfixturevalue("sharing" if shared else "pair")
    instance = pair.go(pair.ready(), block_migration=asked)
    assert (instance.host == pair.there) == goes
    if not goes:
        assert "same storage" in last(instance)[0].message
    assert_sound(pair, instance, shared=shared)


def test_in_place_snapshots_go_along_only_with_the_same_storage(pair: Pair) -> None:
    instance = pair.ready()
    request(OPERATIONS["create_snapshot"], instance, pair.alice.actor, name="before", memory=False)
    instance = finish(instance)
    with pytest.raises(Conflict, match="in-place snapshots"):
        pair.ask(instance, block_migration=True)
    instance = pair.go(instance)
    assert instance.host == pair.here
    assert "It has in-place snapshots" in last(instance)[0].message
    assert_sound(pair, instance)


def test_in_place_snapshots_with_the_same_storage(sharing: Pair) -> None:
    instance = sharing.ready()
    request(OPERATIONS["create_snapshot"], instance, sharing.alice.actor, name="before", memory=False)
    instance = sharing.go(finish(instance))
    assert instance.host == sharing.there and Snapshot.objects.filter(instance=instance).exists()
    assert_sound(sharing, instance, shared=True)


# its end is asked for -------------------------------------------------------------------------------
def during(monkeypatch: pytest.MonkeyPatch, do: Callable[[], Any]) -> None:
    """Do something once, when the guest is half over; and look at what is wanted each time that the driver asks."""
    monkeypatch.setattr(crossing, "TELL_SECONDS", 0.0)
    whole, calls = crossing.Progress.__call__, itertools.count()

    def call(self: Any, transfer: Any) -> Any:
        if next(calls) == 2:
            do()
        return whole(self, transfer)

    monkeypatch.setattr(crossing.Progress, "__call__", call)


@pytest.mark.parametrize("slow", ["", "&slow=1"])
def test_it_is_aborted(pair: Pair, root: Persona, monkeypatch: pytest.MonkeyPatch, slow: str) -> None:
    Host.objects.filter(pk=pair.here.pk).update(uri=pair.here.uri + slow)
    instance = pair.ready()
    action = pair.ask(instance)

    def abort() -> None:
        now = Instance.objects.get(pk=instance.pk)
        migration_control.abort(root.actor, now, str(Migration.objects.get().pk), waiting=False)

    during(monkeypatch, abort)
    instance = finish(instance)
    action, migration = last(instance)
    assert (action.state, action.message, migration.status) == ("cancelled", "cancelled by root", "cancelled")
    assert (instance.host, instance.vm_state) == (pair.here, "active")
    assert instance.actions.filter(operation="live_migration_cancel", user_name="root").exists()
    assert_sound(pair, instance)


def test_its_state_is_not_reset_before_it_is_settled_where_it_runs(
    pair: Pair, root: Persona, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The target would take the guest that came for one that is left over, and remove it."""
    instance, refused = pair.ready(), []
    pair.ask(instance)

    def reset() -> None:
        with pytest.raises(Conflict, match="while it is live-migrated") as refusal:
            reset_state(root.actor, Instance.objects.get(pk=instance.pk), state=VmState.ERROR)
        refused.append(refusal)

    during(monkeypatch, reset)
    instance = finish(instance)
    assert refused and (instance.host, instance.vm_state, instance.task_state) == (pair.there, "active", None)
    reset_state(root.actor, instance, state=VmState.ERROR)
    assert Instance.objects.get(pk=instance.pk).vm_state == "error"


def test_one_that_waits_is_aborted_before_it_begins(pair: Pair, root: Persona) -> None:
    instance = pair.ready()
    pair.ask(instance)
    migration = Migration.objects.get()
    now = Instance.objects.get()
    with pytest.raises(Invalid, match=f"Migration {migration.pk} state of instance {instance.pk} is queued"):
        migration_control.abort(root.actor, now, str(migration.pk), waiting=False)
    with pytest.raises(Invalid, match="Cannot force complete while"):
        migration_control.force_complete(root.actor, now, str(migration.pk))
    migration_control.abort(root.actor, now, str(migration.pk))
    instance = finish(instance)
    assert (instance.host, last(instance)[1].status, last(instance)[0].state) == (pair.here, "cancelled", "cancelled")
    assert_sound(pair, instance)


def test_an_abort_that_comes_too_late_is_forgotten(pair: Pair, root: Persona) -> None:
    """The guest has crossed, and the worker died before it could write that down."""
    instance = pair.ready()
    action = pair.ask(instance)
    hypervisor_of(pair.there).inject(Fault("cross_run", do="kill", when="after"))
    assert perform_in_another_process(action)
    cancel_action(root.actor, Instance.objects.get(), action.request_id)
    instance = finish(instance)
    action, migration = last(instance)
    assert (action.state, migration.status, instance.host) == ("done", "completed", pair.there)
    assert (action.cancelled_by, action.past_return) == ("", True)
    assert_sound(pair, instance)


def test_it_is_forced_to_its_end(pair: Pair, root: Persona, monkeypatch: pytest.MonkeyPatch) -> None:
    Host.objects.filter(pk=pair.here.pk).update(uri=pair.here.uri + "&slow=1")
    instance = pair.ready()
    pair.ask(instance)

    def force() -> None:
        migration_control.force_complete(root.actor, Instance.objects.get(), str(Migration.objects.get().pk))

    during(monkeypatch, force)
    instance = finish(instance)
    assert (instance.host, last(instance)[1].status, last(instance)[1].forced) == (pair.there, "completed", True)
    assert instance.actions.filter(operation="live_migration_force_complete").exists()
    assert_sound(pair, instance)


@pytest.mark.parametrize(("what", "goes"), [("abort", False), ("force_complete", True)])
def test_its_time_is_limited(pair: Pair, settings: Any, monkeypatch: pytest.MonkeyPatch, what: str, goes: bool) -> None:
    settings.LIVE_MIGRATION_COMPLETION_SECONDS = 1e-6
    settings.LIVE_MIGRATION_TIMEOUT_ACTION = what
    Host.objects.filter(pk=pair.here.pk).update(uri=pair.here.uri + "&slow=1")
    during(monkeypatch, lambda: None)
    instance = pair.go(pair.ready())
    action, migration = last(instance)
    assert (instance.host == pair.there) == goes
    if not goes:
        assert (action.state, migration.status) == ("error", "failed")
        assert action.message.startswith("The guest could not be brought over within the time limit")
    assert_sound(pair, instance)


def test_who_may_end_it(pair: Pair, alice: Persona, bob: Persona, charlie: Persona) -> None:
    instance = pair.ready()
    action = pair.ask(instance)
    number = str(Migration.objects.get().pk)
    for persona in (alice, bob, charlie):
        for end in (migration_control.abort, migration_control.force_complete):
            with pytest.raises(Forbidden):
                end(persona.actor, instance, number)
        with pytest.raises(Forbidden):
            cancel_action(persona.actor, instance, action.request_id)
    assert Action.objects.get(pk=action.pk).cancelled_by == ""


def test_a_deletion_ends_it_and_nothing_stays_anywhere(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    Host.objects.filter(pk=pair.here.pk).update(uri=pair.here.uri + "&slow=1")
    instance = pair.ready()
    pair.ask(instance)
    during(monkeypatch, lambda: request(OPERATIONS["delete"], Instance.objects.get(), pair.alice.actor))
    instance = finish(instance)
    assert instance.vm_state == "deleted"
    for host in (pair.here, pair.there):
        assert hypervisor_of(host).guests() == {}
        assert hypervisor_of(host).volumes(prefix=str(instance.id)) == {}
        assert Host.objects.get(pk=host.pk).instances_used == 0


# every fault ----------------------------------------------------------------------------------------
def brought_back(pair: Pair, instance: Instance) -> Instance:
    """The instance, on the first host again."""
    if Instance.objects.get(pk=instance.pk).host_id != pair.here.pk:
        instance = pair.go(instance, host=pair.here.name)
    assert instance.host == pair.here, last(instance)[0].message
    return instance


def gone(pair: Pair, instance: Instance) -> None:
    """Delete it, and make sure that nothing of it stays."""
    request(OPERATIONS["force_delete"], Instance.objects.get(pk=instance.pk), pair.alice.actor)
    finish(instance)
    for host in Host.objects.all():
        assert hypervisor_of(host).guests() == {} and hypervisor_of(host).volumes(prefix=str(instance.id)) == {}
        assert host.instances_used == 0


def hit(pair: Pair, host: Host, instance: Instance, fault: tuple[str, int, str]) -> Instance:
    """Ask for it while a host is told to fail at one call, and see it to its end."""
    kind, call, when = fault
    if kind != "silent":
        return strike(host, instance, pair.ask, fault)
    hypervisor_of(host).inject(Fault("*", call=call, error="Unreachable", when=when))  # type: ignore[arg-type]
    instance = pair.go(instance)
    hypervisor_of(host).heal()
    return instance


@pytest.mark.parametrize("kind", ["fail", "silent", "kill", "hang"])
@pytest.mark.parametrize("shared", [False, True], ids=["apart", "shared"])
def test_whatever_happens_at_any_call_to_either_host(
    request: pytest.FixtureRequest, shared: bool, kind: str, settings: Any
) -> None:
    settings.STATE_SYNC_SECONDS = 0
    pair = request.getfixturevalue("sharing" if shared else "pair")
    instance, ends = pair.ready(), set()
    calls = calls_to([pair.here, pair.there], lambda: pair.go(instance))
    assert Instance.objects.get().host == pair.there
    for (host, call, changes), when in itertools.product(calls, ("before", "after")):
        if when == "after" and not changes:
            continue  # what only looks leaves the host as it was before
        about = (host.name, kind, call, when)
        instance = hit(pair, host, brought_back(pair, instance), (kind, call, when))
        action, migration = last(instance)
        crossed = instance.host == pair.there
        assert (action.state == "done") == crossed == (migration.status == "completed"), about
        assert crossed or (migration.status in ("failed", "error") and action.message), about
        left_behind_by_a_failure(pair, instance)
        assert_sound(pair, instance, about, shared)
        ends.add(instance.host_id)
    assert ends == ({pair.there.pk} if kind == "kill" else {pair.here.pk, pair.there.pk})
    gone(pair, instance)


def left_behind_by_a_failure(pair: Pair, instance: Instance) -> None:
    """What could not be removed, as the host failed just then, is the watcher's to remove."""
    settled = Instance.objects.get(pk=instance.pk).updated_at
    Instance.objects.filter(pk=instance.pk).update(updated_at="2020-01-01T00:00:00Z")
    for host in (pair.here, pair.there) * 2:  # what is news of the one makes what was seen of the other old
        identify(host, hypervisor_of(host))
    for host in (pair.here, pair.there):
        driver = hypervisor_of(host)
        leftovers.remove(host, driver, driver.guests(), driver.volumes())
        if host.pk != instance.host_id:
            for port in instance.ports.all():
                driver.release(port.network_id, port.mac)
    Instance.objects.filter(pk=instance.pk).update(updated_at=settled)


def taken_up_again(action: Action) -> str:
    """Another worker comes when the lease of the dead one is over; it waits for a host, or ends. Returns its state."""
    while not (now := Action.objects.get(pk=action.pk)).message and now.state in OPEN_STATES:
        perform(action.pk, "transfer")
    return now.state


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_host_that_dies_for_good_in_the_middle(pair: Pair, phase: str, when: str) -> None:
    """The worker dies with it. The operation waits for the host without which nobody knows, or ends without it."""
    instance = pair.ready()
    action = pair.ask(instance)
    target_side = phase in ("cross_arrive", "cross_run")
    struck, other = (pair.there, pair.here) if target_side else (pair.here, pair.there)
    hypervisor_of(struck).inject(Fault(phase, do="kill", when=when))
    assert perform_in_another_process(action)
    hypervisor_of(struck).break_down()
    taken_up_again(action)
    hypervisor_of(struck).heal()
    instance = finish(instance)
    left_behind_by_a_failure(pair, instance)
    assert_sound(pair, instance, (phase, when))
    assert other


@pytest.mark.parametrize("crosses", [False, True])
@pytest.mark.parametrize(
    "why", [Busy("It does not end."), DidNotAnswer("No answer within 60 s.")], ids=["busy", "hangs"]
)
def test_while_nobody_knows_which_host_has_it_that_is_waited_for(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, why: Exception, crosses: bool
) -> None:
    """A crossing that goes on although it was aborted must not be forgotten: the guest could be at the other host."""
    instance = pair.ready()
    action = pair.ask(instance)
    fault = Fault("cross_leave" if crosses else "cross_copy", do="kill", when="before")
    hypervisor_of(pair.here).inject(fault)
    assert perform_in_another_process(action)
    hypervisor_of(pair.here).heal()
    driver = type(hypervisor_of(pair.here))
    verb = "end_migration" if isinstance(why, Busy) else "whereabouts"

    def fail(*_: Any) -> None:
        raise why

    with monkeypatch.context() as patch:
        patch.setattr(driver, verb, fail)
        assert taken_up_again(action) == "running"
        assert Migration.objects.get().status == "running"
    instance = finish(instance)
    assert instance.host == pair.there
    assert_sound(pair, instance)


def test_one_that_is_off_at_the_source_may_run_at_a_target_that_is_silent(pair: Pair) -> None:
    """libvirt at the source was killed when it had cut the guest's power and not yet forgotten it."""
    instance = pair.ready()
    action = pair.ask(instance)
    hypervisor_of(pair.there).inject(Fault("cross_run", do="kill", when="after"))
    assert perform_in_another_process(action)
    hypervisor_of(pair.here).destroy(instance.id)
    assert hypervisor_of(pair.here).whereabouts(instance.id) == Whereabouts.OFF
    hypervisor_of(pair.there).break_down()
    assert taken_up_again(action) == "running"
    hypervisor_of(pair.there).heal()
    instance = finish(instance)
    assert instance.host == pair.there
    assert_sound(pair, instance)
