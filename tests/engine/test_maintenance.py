"""Taking a host out of service, and evening out the load, on fake hosts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from compute.errors import Conflict, Invalid
from compute.hosts.connections import hypervisor_of
from compute.hosts.registration import learn, mark_down, mark_up
from compute.hosts.service import set_enabled
from compute.hypervisor.fake.faults import Fault
from compute.models import (
    OPEN_STATES,
    Action,
    Host,
    HostEvent,
    HostState,
    Instance,
    Relocation,
    RelocationItem,
    Snapshot,
)
from compute.operations import OPERATIONS, rebalance, relocation_steps, relocations, ways_off
from compute.operations.create import BootRequest, create
from compute.operations.engine import request
from compute.operations.pause import Pause
from compute.operations.power import Stop
from compute.operations.shelve import Shelve
from compute.operations.suspend import Suspend
from compute.operations.worker import perform
from compute.reconciliation import differences
from portal.identity.actor import SYSTEM
from portal.identity.policy import Forbidden

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def hosts(cloud: Any, tmp_path: Path, settings: Any) -> list[Host]:
    """Three, of which the first has everything."""
    settings.SHELVED_OFFLOAD_SECONDS = -1
    place = f"fake://{tmp_path}/hosts.sqlite3?memory=2048&vcpus=8&host=host-"
    Host.objects.update(uri=f"{place}1")
    for number in (2, 3):
        Host.objects.create(name=f"host-{number}", uri=f"{place}{number}", state=HostState.UP)
    for host in Host.objects.all():
        learn(host)
    Host.objects.update(reserved_memory_mb=0, memory_ratio=1.0)
    return list(Host.objects.order_by("name"))


@pytest.fixture
def several(cloud: Any, hosts: list[Host], alice: Any) -> list[Instance]:
    """Six that run on the first host."""
    Host.objects.exclude(name="host-1").update(enabled=False)
    wanted = BootRequest(name="web", flavor_id="42", image_id=str(cloud.image.id), min_count=6, max_count=6)
    create(alice.actor, wanted)
    work()
    Host.objects.update(enabled=True)
    return list(Instance.objects.order_by("name"))


def work() -> None:
    """What the workers do, until nothing is open."""
    for _ in range(20):
        actions = list(Action.objects.filter(state__in=OPEN_STATES).order_by("id"))
        if not actions:
            return
        for action in actions:
            perform(action.pk, action.progress.get("lane", OPERATIONS[action.operation].lane))
    raise AssertionError("an operation never ends")


def see_to_the_end() -> Relocation:
    """The watcher and the workers, until it is over."""
    for _ in range(80):
        RelocationItem.objects.update(try_at=timezone.now())
        if not relocation_steps.advance():
            return Relocation.objects.first()  # type: ignore[return-value]  # there is one
        work()
    raise AssertionError("it never ends")


def ask(operation: type, instance: Instance) -> None:
    request(operation, Instance.objects.get(pk=instance.pk), SYSTEM)
    work()


def kinds(instance: Instance) -> list[str]:
    rows = Action.objects.filter(instance=instance).order_by("id")
    return list(rows.values_list("operation", flat=True))[1:]


def test_a_host_is_emptied_each_in_its_way(hosts, several, root):
    runs, off, paused, shelved, locked, _ = several
    ask(Stop, off)
    ask(Pause, paused)
    ask(Shelve, shelved)
    Instance.objects.filter(pk=locked.pk).update(locked=True)
    made = relocations.drain_host(root.actor, hosts[0], reason="new disks")
    host = Host.objects.get(name="host-1")
    assert (host.enabled, host.maintenance, host.disabled_reason) == (False, True, "new disks")
    after = see_to_the_end()
    assert (after.pk, after.state) == (made.pk, "done")
    assert not Instance.objects.filter(host=hosts[0]).exists()
    states = {one.pk: (one.vm_state, one.task_state) for one in Instance.objects.all()}
    assert states == {
        runs.pk: ("active", None), off.pk: ("stopped", None), paused.pk: ("paused", None),
        shelved.pk: ("shelved_offloaded", None), locked.pk: ("active", None), several[5].pk: ("active", None),
    }  # fmt: skip
    assert kinds(runs) == kinds(locked) == ["live_migration"]
    assert kinds(off)[-2:] == ["migrate", "confirmResize"]
    assert Instance.objects.get(pk=locked.pk).locked
    assert hypervisor_of(hosts[0]).guests() == {}
    assert differences() == []
    used = sorted(Host.objects.exclude(name="host-1").values_list("instances_used", flat=True))
    assert used == [2, 3]  # spread


def test_so_many_at_once_and_no_more(hosts, several, root):
    relocations.drain_host(root.actor, hosts[0], at_once=3)
    for _ in range(3):
        relocation_steps.advance()
        assert RelocationItem.objects.filter(state="moving").count() == 3
    for wrong in (0, 101):
        with pytest.raises(Invalid, match="From 1 to 100"):
            relocations.drain_host(root.actor, hosts[1], at_once=wrong)


def test_what_cannot_be_moved_says_why_and_can_be_tried_again(hosts, several, root):
    ask(Suspend, several[0])
    Instance.objects.filter(pk=several[1].pk).update(vm_state="rescued")
    Instance.objects.filter(pk=several[2].pk).update(vm_state="error")
    relocations.drain_host(root.actor, hosts[0])
    after = see_to_the_end()
    assert after.state == "incomplete"
    said = {one.instance_id: one.message for one in RelocationItem.objects.filter(state="failed")}
    assert "Resume it first" in said[several[0].pk] and "Unrescue it first" in said[several[1].pk]
    assert "It is in error" in said[several[2].pk] and len(said) == 3
    Instance.objects.filter(vm_state__in=("rescued", "error")).update(vm_state="active")
    ask(OPERATIONS["resume"], several[0])
    relocations.retry(root.actor, after)
    assert see_to_the_end().state == "done"


def test_what_does_not_go_live_is_shut_down_only_where_that_was_said(hosts, several, root):
    for host in hosts:
        hypervisor_of(host).inject(Fault("migrate", call=1, times=10**6))
    relocations.drain_host(root.actor, hosts[0])
    after = see_to_the_end()
    if after.state == "done":
        pytest.fail("the fault did not strike: the verb is called otherwise")
    assert set(Instance.objects.values_list("vm_state", "host__name")) == {("active", "host-1")}
    relocations.retry(root.actor, after, shut_down=True)
    assert see_to_the_end().state == "done"
    assert kinds(several[0])[-2:] == ["migrate", "confirmResize"]
    assert set(Instance.objects.values_list("vm_state", flat=True)) == {"active"}
    assert differences() == []


def test_it_is_brought_back_and_what_drains_it_stops(hosts, several, root):
    made = relocations.drain_host(root.actor, hosts[0], at_once=1)
    relocation_steps.advance()
    set_enabled(root.actor, hosts[0], enabled=True)
    made.refresh_from_db()
    host = Host.objects.get(name="host-1")
    assert (made.state, host.enabled, host.maintenance) == ("stopped", True, False)
    work()
    assert relocation_steps.advance() == 0
    assert Instance.objects.filter(host=hosts[0]).count() == 5


def test_a_drain_that_goes_on_takes_the_host_out_of_service_again(hosts, several, root):
    made = relocations.drain_host(root.actor, hosts[0], at_once=1, reason="new disks")
    set_enabled(root.actor, Host.objects.get(name="host-1"), enabled=True)
    made.refresh_from_db()
    relocations.retry(root.actor, made)
    host = Host.objects.get(name="host-1")
    assert (host.enabled, host.maintenance, host.disabled_reason) == (False, True, "It is being serviced.")
    Host.objects.filter(pk=host.pk).update(disabled_reason="new disks")
    relocations.stop(root.actor, made)
    relocations.retry(root.actor, made)
    assert Host.objects.get(name="host-1").disabled_reason == "new disks"
    assert see_to_the_end().state == "done"


def test_one_that_was_adopted_stays_and_that_is_said_beforehand(hosts, several, root):
    Instance.objects.filter(pk=several[0].pk).update(adopted={"name": "legacy", "disks": [], "delete_disks": []})
    said = {one.name: way for one, way in ways_off.all_off(hosts[0])}
    assert [name for name, way in said.items() if way.operation is None] == [several[0].name]
    relocations.drain_host(root.actor, hosts[0])
    assert see_to_the_end().state == "incomplete"
    (failed,) = RelocationItem.objects.filter(state="failed")
    assert (failed.instance, failed.message) == (
        several[0],
        "It was adopted, and its definition and disks stay on its host.",
    )


def test_newcomers_that_were_on_their_way_go_too(hosts, several, root):
    relocations.drain_host(root.actor, hosts[0])
    RelocationItem.objects.filter(instance=several[5]).delete()
    assert see_to_the_end().state == "done"
    assert not Instance.objects.filter(host=hosts[0]).exists()


def test_a_host_that_goes_down_is_waited_for(hosts, several, root):
    mark_down(hosts[1].pk, "gone")
    with pytest.raises(Conflict, match="is down"):
        relocations.drain_host(root.actor, Host.objects.get(pk=hosts[1].pk))
    mark_up(Host.objects.get(pk=hosts[1].pk))
    relocations.drain_host(root.actor, hosts[0], at_once=1)
    mark_down(hosts[0].pk, "gone")
    relocation_steps.advance()
    assert not RelocationItem.objects.exclude(state="waiting").exists()
    mark_up(Host.objects.get(pk=hosts[0].pk))
    assert see_to_the_end().state == "done"


def test_only_administrators_drain(hosts, several, alice):
    with pytest.raises(Forbidden):
        relocations.drain_host(alice.actor, hosts[0])
    with pytest.raises(Forbidden):
        rebalance.propose(alice.actor)
    with pytest.raises(Forbidden):
        rebalance.apply(alice.actor, "x")
    assert Host.objects.get(name="host-1").enabled


# evening out ----------------------------------------------------------------------------------------
def test_the_load_is_evened_out_and_then_left_alone(hosts, several, root):
    found = rebalance.propose(root.actor)
    assert [move.source.name for _, move in found.moves] == ["host-1"] * len(found.moves) and found.moves
    made = rebalance.apply(root.actor, found.key)
    with pytest.raises(Conflict, match="evened out already"):
        rebalance.apply(root.actor, found.key)
    relocation_steps.advance()
    assert RelocationItem.objects.filter(state="moving").count() == 1
    assert see_to_the_end().state == "done"
    for instance, move in found.moves:
        instance.refresh_from_db()
        assert (instance.host_id, instance.vm_state) == (move.target.id, "active")
    assert made.items.count() == len(found.moves)
    again = rebalance.propose(root.actor)
    assert again.moves == [] and "even enough" in again.plan.sentence
    with pytest.raises(Conflict, match="even enough"):
        rebalance.apply(root.actor, again.key)
    assert differences() == []


def test_another_load_is_another_proposal(hosts, several, root):
    found = rebalance.propose(root.actor)
    moving = found.moves[0][0]
    Instance.objects.filter(pk=moving.pk).update(locked=True)
    with pytest.raises(Conflict, match="another by now"):
        rebalance.apply(root.actor, found.key)
    assert not Relocation.objects.exists()


def test_what_must_stay_is_not_proposed(hosts, several, root, settings):
    Instance.objects.filter(pk__in=[one.pk for one in several[:2]]).update(locked=True)
    Snapshot.objects.create(instance=several[2], name="before", state="available")
    Instance.objects.filter(pk=several[3].pk).update(task_state="rebooting")
    ask(Stop, several[4])
    Instance.objects.filter(pk=several[0].pk).update(locked=False, adopted={"name": "legacy"})
    settings.REBALANCE_ABOVE = settings.REBALANCE_TO = 0.0
    found = rebalance.propose(root.actor)
    assert [one.pk for one, _ in found.moves] == [several[5].pk]


def test_what_it_moved_stays_for_a_while(hosts, several, root, settings):
    rebalance.apply(root.actor, rebalance.propose(root.actor).key)
    see_to_the_end()
    moved = set(RelocationItem.objects.values_list("instance", flat=True))
    settings.REBALANCE_ABOVE = settings.REBALANCE_TO = 0.0
    Host.objects.filter(name="host-2").update(memory_mb_used=2048)
    assert not moved & {one.pk for one, _ in rebalance.propose(root.actor).moves}
    settings.REBALANCE_QUIET_SECONDS = 0
    assert moved & {one.pk for one, _ in rebalance.propose(root.actor).moves}


def test_the_history_of_a_host_tells_it(hosts, several, root):
    relocations.drain_host(root.actor, hosts[0], reason="new disks")
    see_to_the_end()
    said = HostEvent.objects.filter(kind="drain").order_by("id").values_list("message", "user_name")
    assert list(said) == [
        ("Its instances (6) are to be moved off: new disks", "root"),
        ("The drain is over: 6 left, 0 stayed.", ""),
    ]
